//! Secrets: no log line, no status, no metric, no trace and no row ever carries a one-time value, a key, a password or a user agent, whatever
//! is logged and whatever goes wrong.

mod answers;
mod command_line;
mod panics;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use token_registry::proto::auth_token_service_client::AuthTokenServiceClient;
use token_registry::proto::generic_token_service_client::GenericTokenServiceClient;
use token_registry::proto::whitelist_service_client::WhitelistServiceClient;
use token_registry::proto::{
    AddRefreshTokenRequest, AuthenticateAuthTokenRequest, CheckGenericTokenRequest, ClientInfo,
    ConsumeGenericTokenRequest, CreateAuthTokenRequest, IssueGenericTokenRequest, RotateRefreshTokenRequest,
};
use tonic::Status;
use tonic::transport::Channel;

use crate::support::collector::{Collector, SOON};
use crate::support::metrics;
use crate::support::process::Process;
use crate::support::raw::{call, put_bytes};
use crate::support::{channel, connect, fresh_database};

/// A text, and everything that it may be written as.
fn spellings(secret: &[u8]) -> BTreeSet<String> {
    let hex = secret.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    });
    // As Rust shows bytes: a list of numbers, or text with escapes.
    let list = secret.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let text = String::from_utf8_lossy(secret);
    [hex, list, secret.escape_ascii().to_string(), text.escape_debug().to_string(), text.into_owned()].into()
}

/// Secrets to look for, and what they are.
#[derive(Default)]
struct Canaries(BTreeMap<Vec<u8>, &'static str>);

impl Canaries {
    fn add(&mut self, what: &'static str, secret: impl AsRef<[u8]>) -> String {
        self.0.insert(secret.as_ref().to_vec(), what);
        String::from_utf8_lossy(secret.as_ref()).into_owned()
    }

    fn assert_none_in(&self, place: &str, text: &str) {
        // A trace says the same things over and over, but for the time.
        let untimed = |line| str::split_once(line, "\"level\":").map_or(line, |(_, rest)| rest);
        let lines: BTreeSet<&str> = text.lines().map(untimed).collect();
        let text = Vec::from_iter(lines).join("\n");
        for (secret, what) in &self.0 {
            for spelling in spellings(secret) {
                let found = text.find(&spelling);
                let line = found.and_then(|found| text[found..].lines().next());
                assert_eq!(line, None, "{what} in {place}");
            }
        }
    }
}

/// Everything that the database holds, as text.
async fn dump(url: &str) -> String {
    let sql = connect(url).await;
    let tables = "select tablename::text from pg_tables where schemaname = 'public'";
    let mut dump = String::new();
    for table in sql.query(tables, &[]).await.unwrap() {
        let table: String = table.get(0);
        for row in sql.query(&format!("select t::text from {table} t"), &[]).await.unwrap() {
            let _ = writeln!(dump, "{table}: {}", row.get::<_, String>(0));
        }
    }
    dump
}

struct Caller {
    channel: Channel,
    canaries: Canaries,
    /// Refusals, as the caller sees them.
    refusals: String,
}

impl Caller {
    fn note<T>(&mut self, result: Result<tonic::Response<T>, Status>) -> Option<T> {
        result
            .map_err(|status| writeln!(self.refusals, "{status:?} {}", status.message()))
            .ok()
            .map(tonic::Response::into_inner)
    }

    fn generic(&self) -> GenericTokenServiceClient<Channel> {
        GenericTokenServiceClient::new(self.channel.clone())
    }

    fn auth(&self) -> AuthTokenServiceClient<Channel> {
        AuthTokenServiceClient::new(self.channel.clone())
    }

    fn whitelist(&self) -> WhitelistServiceClient<Channel> {
        WhitelistServiceClient::new(self.channel.clone())
    }

    async fn issue(&mut self, request: IssueGenericTokenRequest) -> Option<String> {
        let answer = self.generic().issue_generic_token(request).await;
        let value = self.note(answer)?.value;
        // Digits alone are in every timestamp.
        if value.len() > 10 {
            self.canaries.add("an issued value", &value);
        }
        Some(value)
    }

    async fn consume(&mut self, value: &str, user_id: Option<&str>) {
        let consume = ConsumeGenericTokenRequest {
            purpose: "reset".into(),
            value: value.into(),
            user_id: user_id.map(str::to_owned),
            ..Default::default()
        };
        let answer = self.generic().consume_generic_token(consume).await;
        self.note(answer);
        let check = CheckGenericTokenRequest {
            purpose: "reset".into(),
            value: value.into(),
            user_id: user_id.map(str::to_owned),
        };
        let answer = self.generic().check_generic_token(check).await;
        self.note(answer);
    }

    async fn authenticate(&mut self, key: &str) {
        let answer =
            self.auth().authenticate_auth_token(AuthenticateAuthTokenRequest { key: key.into() }).await;
        self.note(answer);
    }

    /// API keys, minted and derived, and what is none.
    async fn send_keys(&mut self) {
        for request_id in [None, None, Some("once"), Some("once"), Some("")] {
            let request_id = request_id.map(str::to_owned);
            let create = CreateAuthTokenRequest {
                user_id: "ada".into(),
                replace: true,
                request_id,
                ..Default::default()
            };
            let answer = self.auth().create_auth_token(create).await;
            if let Some(created) = self.note(answer) {
                // Its first characters are its public name.
                self.canaries.add("an API key", &created.key[12..]);
                self.authenticate(&created.key).await;
                self.authenticate(&format!("{}x", created.key)).await;
            }
        }
        for bad in ["trk_canary-of-a-key-that-is-none", "canary-key\nwith-a-control", "canary-key "] {
            self.canaries.add("a malformed key", &bad[..10]);
            self.authenticate(bad).await;
        }
        let not_utf8 = b"canary-key-not-utf8-\xff";
        self.canaries.add("a key that is no text", &not_utf8[..19]);
        let mut message = Vec::new();
        put_bytes(&mut message, 1, not_utf8);
        let path = "/tokenregistry.v1.AuthTokenService/AuthenticateAuthToken";
        let answer = call(&self.channel, path, message).await;
        self.note(answer.map(tonic::Response::new));
    }

    /// Everything that takes or gives a secret, well and badly.
    async fn send_everything(&mut self) {
        self.send_keys().await;
        let client =
            |user_agent: &str| Some(ClientInfo { user_agent: Some(user_agent.into()), ..Default::default() });
        let user_agent =
            self.canaries.add("a user agent", "canary-agent/5309 (canary; of no known device) zq");
        let add = |session: &str| AddRefreshTokenRequest {
            user_id: "ada".into(),
            session: session.into(),
            jti: "one".into(),
            client: client(&user_agent),
            ..Default::default()
        };
        let answer = self.whitelist().add_refresh_token(add("laptop")).await;
        self.note(answer);
        let answer = self.whitelist().add_refresh_token(add("")).await;
        self.note(answer);
        for jti in ["one", "never-seen"] {
            let rotate = RotateRefreshTokenRequest {
                user_id: "ada".into(),
                session: "laptop".into(),
                jti: jti.into(),
                new_jti: None,
                client: client(&user_agent),
            };
            let answer = self.whitelist().rotate_refresh_token(rotate).await;
            self.note(answer);
        }

        let issue = IssueGenericTokenRequest {
            user_id: "ada".into(),
            purpose: "reset".into(),
            keep_existing: true,
            client: client(&user_agent),
            ..Default::default()
        };
        let own_secret = self.canaries.add("a caller's own secret", "canary-secret-of-the-callers-own");
        let own_code = self.canaries.add("a caller's own code", "canary-code-77");
        let kinds = [
            issue.clone(),
            IssueGenericTokenRequest { request_id: Some("once".into()), ..issue.clone() },
            IssueGenericTokenRequest { value: Some(own_secret.clone()), ..issue.clone() },
            IssueGenericTokenRequest {
                value: Some(own_secret),
                request_id: Some("own".into()),
                ..issue.clone()
            },
            IssueGenericTokenRequest { value: Some(own_code.clone()), ..issue.clone() },
            IssueGenericTokenRequest { digits: Some(10), ..issue.clone() },
        ];
        for kind in kinds {
            // And once more: retries, and a value that is there already.
            for _ in 0..2 {
                if let Some(value) = self.issue(kind.clone()).await {
                    self.consume(&value, Some("ada")).await;
                    self.consume(&value, Some("ada")).await;
                    self.consume(&value, None).await;
                }
            }
        }
        let wrong_secret = self.canaries.add("a wrong secret", "canary-secret-that-nobody-has-issued");
        self.consume(&wrong_secret, None).await;
        let wrong_code = self.canaries.add("a wrong code", "canary-wrong-code");
        for _ in 0..7 {
            self.consume(&wrong_code, Some("ada")).await;
        }

        // What is refused as it is read.
        for bad in ["canary-bad\0value-with-a-control", &"canary-too-long-".repeat(100)] {
            self.canaries.add("a bad value", &bad[..bad.len().min(30)]);
            self.issue(IssueGenericTokenRequest { value: Some(bad.into()), ..issue.clone() }).await;
            self.consume(bad, Some("ada")).await;
        }
        self.issue(IssueGenericTokenRequest { value: Some(own_code), digits: Some(6), ..issue }).await;
        let not_utf8 = b"canary-value-not-utf8-\xff";
        self.canaries.add("a value that is no text", &not_utf8[..21]);
        let mut message = Vec::new();
        put_bytes(&mut message, 2, not_utf8);
        let answer =
            call(&self.channel, "/tokenregistry.v1.GenericTokenService/ConsumeGenericToken", message).await;
        self.note(answer.map(tonic::Response::new));
    }
}

async fn server_under_watch(own_key: bool) {
    let database = fresh_database().await;
    let mut canaries = Canaries::default();
    let password = canaries.add("the database's password", "canary-password-of-the-database");
    let keys = [
        canaries.add("the current server key", "canary-server-key-current-canary-server-key"),
        canaries.add("the previous server key", "canary-server-key-previous-canary-server-key"),
    ]
    .join(",");
    // The cluster trusts everybody, and so takes any password.
    let url = database.url.replacen("postgres@", &format!("postgres:{password}@"), 1);
    assert!(url.contains(&password), "{}", database.url);
    let (collector, traces) = Collector::start().await;
    let mut environment = vec![
        ("TOKEN_REGISTRY_LOG_FILTER", "trace"),
        ("TOKEN_REGISTRY_TRACES_ENDPOINT", traces.as_str()),
        ("TOKEN_REGISTRY_TRACES_PERCENT", "100"),
        SOON,
        metrics::LISTEN,
    ];
    let directory = tempfile::tempdir().unwrap();
    let audit = directory.path().join("audit.jsonl");
    // Otherwise its lines are the log's.
    if own_key {
        environment.push(("TOKEN_REGISTRY_AUDIT_LOG", audit.to_str().unwrap()));
    } else {
        environment.push(("TOKEN_REGISTRY_SERVER_KEYS", keys.as_str()));
    }
    let mut server = Process::serve(&url, &environment);
    let channel = channel(server.serving().await);
    let mut caller = Caller { channel, canaries, refusals: String::new() };
    caller.send_everything().await;
    let rows = dump(&database.url).await;

    let sql = connect(&database.url).await;
    // Faults: PostgreSQL's own words for this name the row that it refuses.
    sql.batch_execute(
        "alter table generic_tokens add constraint no_more check (false) not valid;
         alter table auth_tokens add constraint no_more check (false) not valid;
         alter table sessions add constraint no_more check (false) not valid",
    )
    .await
    .unwrap();
    caller.send_everything().await;
    assert!(caller.refusals.contains("Internal"), "no fault was made: {}", caller.refusals);
    let mut own = Vec::new();
    if own_key {
        let key: Vec<u8> = sql.query_one("select key from server_keys", &[]).await.unwrap().get(0);
        caller.canaries.add("the registry's own server key", &key);
        own = key;
    }
    let measured = metrics::get(metrics::metrics_of(&server).await, "/metrics").await;
    server.terminate();
    let (_, said) = server.ended();
    let spans = collector.spans().iter().fold(String::new(), |spans, span| format!("{spans}{span:?}\n"));

    assert!(said.contains("\"level\":\"TRACE\""), "nothing is logged");
    assert!(measured.contains("grpc_method=\"ConsumeGenericToken\""), "nothing is measured: {measured}");
    assert!(spans.contains("GenericTokenService/ConsumeGenericToken"), "nothing is traced: {spans}");
    caller.canaries.assert_none_in("the metrics", &measured);
    caller.canaries.assert_none_in("a trace", &spans);
    caller.canaries.assert_none_in("the log", &said);
    let recorded = if own_key { std::fs::read_to_string(&audit).unwrap() } else { said };
    assert!(recorded.contains("CreateAuthToken"), "nothing is recorded: {recorded}");
    caller.canaries.assert_none_in("the audit log", &recorded);
    caller.canaries.assert_none_in("a refusal", &caller.refusals);
    // Kept there on purpose, so that replicas share it.
    caller.canaries.0.remove(&own);
    caller.canaries.assert_none_in("the database", &rows);
    assert!(
        rows.contains("generic_tokens: ") && rows.contains("auth_tokens: ") && rows.contains("sessions: "),
        "{rows}"
    );
}

// The collector answers while the test waits for the process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_is_logged_stored_or_told_with_configured_keys() {
    server_under_watch(false).await;
}

// The collector answers while the test waits for the process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_is_logged_stored_or_told_with_a_key_of_its_own() {
    server_under_watch(true).await;
}

#[tokio::test]
async fn a_database_that_refuses_the_password_is_not_told_to_the_log_with_it() {
    let mut server = Process::serve(
        "postgres://ada:canary-password@127.0.0.1:1/nothing?application_name=registry",
        &[("TOKEN_REGISTRY_LOG_FILTER", "trace")],
    );
    server.address().await;
    crate::support::until(async || server.said().contains("waiting for the database")).await;
    server.terminate();
    let (_, said) = server.ended();
    assert!(!said.contains("canary-password"), "{said}");
}
