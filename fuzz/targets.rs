//! What is fuzzed: each target takes any bytes and panics when a promise is broken. For libFuzzer in `fuzz_targets/`, and
//! for the random driver that needs no nightly compiler (`examples/hostile`, and the tests).

use std::ffi::OsString;
use std::net::IpAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use http::{HeaderMap, Request};
use prost::Message as _;
use prost::bytes::Bytes;
use prost_types::FileDescriptorSet;
use token_registry::client_info;
use token_registry::config::{Config, Flags};
use token_registry::grpc::Registry;
use token_registry::proto::DESCRIPTORS;
use token_registry::registry::Fields;
use token_registry::registry::fields::Zero;
use token_registry::registry::identifiers::{Jti, Purpose, UserId};
use token_registry::registry::page::{AfterSession, open_id};
use token_registry::registry::secrets::ServerKeys;
use token_registry::store::Store;
use token_registry::telemetry::Metrics;
use tonic::body::Body;
use tonic::service::Routes;
use tonic::{Code, Status};
use tower::Service as _;

/// A target: its name, and what it does with bytes.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: &[Target] = &[
    ("requests", requests),
    ("identifiers", identifiers),
    ("addresses", addresses),
    ("user_agents", user_agents),
    ("page_tokens", page_tokens),
    ("configuration", configuration),
];

/// Paths of all methods of the package.
pub static PATHS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let files = FileDescriptorSet::decode(DESCRIPTORS).expect("descriptors").file;
    let services =
        files.iter().filter(|file| file.package() == "tokenregistry.v1").flat_map(|file| &file.service);
    let methods =
        services.flat_map(|service| service.method.iter().map(|method| (service.name(), method.name())));
    methods.map(|(service, method)| format!("/tokenregistry.v1.{service}/{method}")).collect()
});

thread_local! {
    /// A registry whose database is nowhere, and a runtime to run it on.
    static REGISTRY: (Routes, tokio::runtime::Runtime) = {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let config = Config {
            database_url: Some("postgres://nobody@127.0.0.1:1/nothing".to_owned().into()),
            default_deadline: Duration::from_millis(200),
            ..Config::default()
        };
        let metrics = Arc::new(Metrics::default());
        let routes = runtime.block_on(async {
            let store = Arc::new(Store::new(&config, &metrics).expect("a store"));
            Registry::new(store, metrics, &config).routes().prepare()
        });
        (routes, runtime)
    };
}

/// A request to any method: the first byte chooses it, the second says whether the framing is right. All of the server
/// but the socket and the database.
pub fn requests(data: &[u8]) {
    let [method, framing, rest @ ..] = data else { return };
    let path = &PATHS[usize::from(*method) % PATHS.len()];
    let body = if framing % 16 == 0 {
        rest.to_vec()
    } else {
        let length = u32::try_from(rest.len()).unwrap_or(u32::MAX);
        [&[0][..], &length.to_be_bytes(), rest].concat()
    };
    let status = call(path, body);
    // What can't be read is what the layer around the services puts into the caller's words.
    let unreadable = matches!(status.code(), Code::Internal | Code::OutOfRange | Code::ResourceExhausted)
        && status.details().is_empty()
        && !status.message().contains("fault in the registry");
    // Some questions need no database: a malformed key is unknown.
    let said = matches!(
        status.code(),
        Code::Ok | Code::InvalidArgument | Code::Unavailable | Code::DeadlineExceeded
    );
    assert!(unreadable || said, "{path}: {status:?}");
}

fn call(path: &str, body: Vec<u8>) -> Status {
    REGISTRY.with(|(routes, runtime)| {
        runtime.block_on(async {
            let request = Request::post(path)
                .header("content-type", "application/grpc")
                .body(Body::new(Whole(Some(Bytes::from(body)))))
                .expect("a request");
            let answer = routes.clone().call(request).await.expect("an answer");
            status_of(answer.headers()).unwrap_or_else(|| Status::ok(""))
        })
    })
}

fn status_of(headers: &HeaderMap) -> Option<Status> {
    Status::from_header_map(headers)
}

/// A body that is there at once.
struct Whole(Option<Bytes>);

impl http_body::Body for Whole {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Status>>> {
        std::task::Poll::Ready(self.0.take().map(|bytes| Ok(http_body::Frame::data(bytes))))
    }
}

/// Identifiers and durations, as requests are read.
pub fn identifiers(data: &[u8]) {
    let text = String::from_utf8_lossy(data).into_owned();
    let length = text.chars().count();
    let is_right = |max: usize| (1..=max).contains(&length) && !text.chars().any(char::is_control);
    assert_eq!(UserId::parse(text.clone()).is_ok(), is_right(255), "{text:?}");
    assert_eq!(Jti::parse(text.clone()).is_ok(), is_right(255), "{text:?}");
    assert_eq!(Purpose::parse(text.clone()).is_ok(), is_right(64), "{text:?}");
    let number =
        |at: usize| data.get(at..at + 8).map_or(0, |b| i64::from_le_bytes(b.try_into().expect("eight")));
    let nanos =
        |at: usize| data.get(at..at + 4).map_or(0, |b| i32::from_le_bytes(b.try_into().expect("four")));
    let (seconds, nanos) = (number(0), nanos(8));
    let read = Fields::read(|f| {
        f.value("value", text.clone());
        f.page_size("page_size", nanos);
        f.duration("duration", Some((seconds, nanos)), Zero::Refused)
    });
    if let Err(violations) = read {
        // A value is never repeated in what is said of it.
        let said = violations.iter().map(|v| v.problem.as_str()).collect::<String>();
        assert!(length < 60 || !said.contains(&text), "{said}");
    }
}

/// Addresses.
pub fn addresses(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(address) = client_info::parse_address(&text) {
        assert_eq!(client_info::parse_address(&address.to_string()), Ok(address));
        assert_eq!(address, address.to_canonical());
    }
    if let Ok(bytes) = <[u8; 16]>::try_from(data) {
        assert!(client_info::parse_address(&IpAddr::from(bytes).to_string()).is_ok());
    }
}

/// User agents.
pub fn user_agents(data: &[u8]) {
    let device = client_info::parse(&String::from_utf8_lossy(data));
    let texts = [&device.browser, &device.browser_version, &device.os, &device.os_version, &device.device];
    for text in texts.into_iter().chain(&device.device_brand).chain(&device.device_model) {
        assert!(text.chars().count() <= 64 && !text.contains(char::is_control), "{text:?}");
    }
}

/// Page tokens: forged ones, and sealed nonsense.
pub fn page_tokens(data: &[u8]) {
    static KEYS: LazyLock<ServerKeys> =
        LazyLock::new(|| ServerKeys::new(b"a key of the fuzzer".to_vec(), None));
    let text = String::from_utf8_lossy(data);
    let query = ["ListRefreshTokens", "ada", "0"];
    assert_eq!(AfterSession::open(&KEYS, &query, &text), None, "a forged page token is taken");
    let sealed = KEYS.seal(&query, &text);
    // Whatever is in it, it is read or refused.
    let _ = (AfterSession::open(&KEYS, &query, &sealed), open_id(&KEYS, &query, &sealed));
    assert_eq!(KEYS.open(&query, &sealed).as_deref(), Some(&*text));
    let mut forged = sealed.into_bytes();
    let place = data.first().map_or(0, |byte| usize::from(*byte)) % forged.len();
    forged[place] ^= 1 << (data.len() % 7);
    // The last character has bits that mean nothing.
    if place + 1 < forged.len() {
        assert_eq!(
            KEYS.open(&query, &String::from_utf8_lossy(&forged)),
            None,
            "a forged page token is taken"
        );
    }
}

/// Configuration: the first byte chooses between a file and a variable.
pub fn configuration(data: &[u8]) {
    let [choice, rest @ ..] = data else { return };
    let text = String::from_utf8_lossy(rest).replace('\0', "");
    if choice % 2 == 0 {
        let directory = tempfile_directory();
        let path = directory.join(format!("{:?}.toml", std::thread::current().id()));
        std::fs::write(&path, text.as_bytes()).expect("a file");
        let variable = (OsString::from("TOKEN_REGISTRY_CONFIG"), path.into_os_string());
        said(Config::load_from(&Flags::default(), [variable]));
    } else {
        let keys = [
            "LISTEN",
            "DATABASE_URL",
            "SERVER_KEYS",
            "ROTATION_GRACE",
            "PURPOSES",
            "LOG_FILTER",
            "GATHERING",
        ];
        let name = format!("TOKEN_REGISTRY_{}", keys[usize::from(choice / 2) % keys.len()]);
        said(Config::load_from(&Flags::default(), [(OsString::from(name), OsString::from(text))]));
    }
}

fn said(loaded: Result<Config, token_registry::config::ConfigError>) {
    match loaded {
        Ok(config) => assert!(!config.to_toml_hiding_secrets().is_empty()),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

fn tempfile_directory() -> &'static std::path::Path {
    static DIRECTORY: LazyLock<tempfile::TempDir> =
        LazyLock::new(|| tempfile::tempdir().expect("a directory"));
    DIRECTORY.path()
}
