//! TLS: encrypted connections, callers known by their certificates, and certificates that expire and are replaced under
//! load.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use token_registry::proto::{CheckSessionRequest, DeleteUserRequest};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::sleep;
use tonic::{Code, Status};

use crate::callers::digest;
use crate::support::certificates::{Authority, Files, Identity};
use crate::support::postgres::Database;
use crate::support::process::{Process, refused_start, run};
use crate::support::wire::{self, exchange_on, framed};
use crate::support::{assert_refused, fresh_database, metrics, patiently, until};

const CHECK: &str = "/tokenregistry.v1.WhitelistService/CheckSession";
const DELETE: &str = "/tokenregistry.v1.UserService/DeleteUser";

/// A registry with TLS, in files of its own.
struct Secured {
    files: Files,
    authority: Authority,
    address: SocketAddr,
    server: Process,
    _database: Database,
}

impl Secured {
    async fn start() -> Self {
        Self::start_with(None, false, &[]).await
    }

    /// With these callers, if any; whether certificates of callers are asked for; and further settings.
    async fn start_with(callers: Option<&str>, asks: bool, settings: &[(&str, &str)]) -> Self {
        Self::start_of(Authority::new(), callers, asks, settings).await
    }

    /// As [`Self::start_with`], with certificates of this authority.
    async fn start_of(
        authority: Authority,
        callers: Option<&str>,
        asks: bool,
        settings: &[(&str, &str)],
    ) -> Self {
        let database = fresh_database().await;
        let files = Files::new(&authority.issue("localhost"), &authority);
        let mut environment = vec![
            ("TOKEN_REGISTRY_TLS_CERTIFICATE", files.text("tls.crt")),
            ("TOKEN_REGISTRY_TLS_KEY", files.text("tls.key")),
        ];
        if asks {
            environment.push(("TOKEN_REGISTRY_TLS_CLIENT_CA", files.text("ca.crt")));
        }
        if let Some(callers) = callers {
            std::fs::write(files.path("callers.toml"), callers).unwrap();
            environment.push(("TOKEN_REGISTRY_CALLERS", files.text("callers.toml")));
        }
        let mut environment: Vec<_> =
            environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
        environment.extend(settings);
        let server = Process::serve(&database.url, &environment);
        let address = server.serving().await;
        Self { files, authority, address, server, _database: database }
    }

    /// How a call ends on a connection of its own, by somebody with this certificate and key.
    async fn call(&self, path: &str, shown: Option<&Identity>, key: Option<&str>) -> Option<Status> {
        let (mut sender, _) = self.authority.connect(self.address, shown).await.ok()?;
        let message = match path {
            DELETE => framed(&DeleteUserRequest { user_id: "ada".into() }),
            _ => question(),
        };
        let bearer = key.map(|key| format!("Bearer {key}"));
        let headers: Vec<_> = bearer.iter().map(|bearer| ("authorization", bearer.as_str())).collect();
        exchange_on(&mut sender, path, &headers, message).await.ok().map(|exchange| exchange.status())
    }

    /// Whether a new connection is served with this certificate.
    async fn shows(&self, identity: &Identity) -> bool {
        self.authority.connect(self.address, None).await.unwrap().1 == identity.der()
    }
}

fn question() -> Vec<u8> {
    framed(&CheckSessionRequest { user_id: "ada".into(), session: "laptop".into() })
}

#[tokio::test]
async fn with_a_certificate_calls_are_encrypted_and_plain_ones_are_not_served() {
    let secured = Secured::start().await;
    assert_eq!(secured.call(CHECK, None, None).await.unwrap().code(), Code::Ok);
    // Who speaks HTTP/2 without TLS gets no answer.
    let stream = TcpStream::connect(secured.address).await.unwrap();
    let plain = patiently(async {
        let (mut sender, connection) = h2::client::handshake(stream).await?;
        tokio::spawn(connection);
        exchange_on(&mut sender, CHECK, &[], question()).await
    });
    assert!(plain.await.is_err(), "it was answered");
    // Who believes another authority doesn't connect.
    assert!(Authority::new().connect(secured.address, None).await.is_err());
}

#[tokio::test]
async fn callers_are_known_by_the_names_in_their_certificates() {
    let key = "a key";
    let callers = format!(
        "[api]\nroles = ['checker']\n\
         certificates = ['spiffe://example.org/ns/prod/sa/api', 'api.example.org']\n\
         [operator]\nroles = ['admin', 'checker']\nkeys_sha256 = ['{}']",
        digest(key)
    );
    let secured = Secured::start_with(Some(&callers), true, &[]).await;
    let issue = |name: &str| secured.authority.issue(name);
    for name in ["spiffe://example.org/ns/prod/sa/api", "api.example.org"] {
        let shown = issue(name);
        assert_eq!(secured.call(CHECK, Some(&shown), None).await.unwrap().code(), Code::Ok, "{name}");
        let refused = secured.call(DELETE, Some(&shown), None).await.unwrap();
        assert_refused::<()>(Err(refused), Code::PermissionDenied, "PERMISSION_DENIED");
    }
    // Of our authority, but nobody's here; and nobody at all.
    let (stranger, similar) = (issue("spiffe://example.org/ns/prod/sa/api/x"), issue("example.org"));
    for shown in [Some(&stranger), Some(&similar), None] {
        let refused = secured.call(CHECK, shown, None).await.unwrap();
        assert_refused::<()>(Err(refused), Code::Unauthenticated, "UNAUTHENTICATED");
    }
    // A key does without a certificate, and comes before one.
    let api = issue("api.example.org");
    assert_eq!(secured.call(DELETE, None, Some(key)).await.unwrap().code(), Code::Ok);
    assert_eq!(secured.call(DELETE, Some(&api), Some(key)).await.unwrap().code(), Code::Ok);
    let refused = secured.call(CHECK, Some(&api), Some("another key")).await.unwrap();
    assert_refused::<()>(Err(refused), Code::Unauthenticated, "UNAUTHENTICATED");
    // The same name by another authority is nothing, and neither is one that is over.
    let forged = Authority::new().issue("api.example.org");
    assert!(secured.call(CHECK, Some(&forged), None).await.is_none(), "another authority's certificate");
    let over = secured.authority.issue_until("api.example.org", SystemTime::now() - Duration::from_hours(1));
    assert!(secured.call(CHECK, Some(&over), None).await.is_none(), "an expired certificate");
}

#[tokio::test]
async fn without_a_file_of_callers_a_certificate_has_to_be_shown() {
    let secured = Secured::start_with(None, true, &[]).await;
    let anybody = secured.authority.issue("anybody.example.org");
    assert_eq!(secured.call(DELETE, Some(&anybody), None).await.unwrap().code(), Code::Ok);
    assert!(secured.call(CHECK, None, None).await.is_none(), "nobody");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_expires_is_replaced_under_load_and_no_call_fails() {
    let secured = Arc::new(Secured::start_with(None, false, &[metrics::LISTEN]).await);
    let done = Arc::new(AtomicBool::new(false));
    // Those who call all the time on the connection that they have, and one who connects anew for each call.
    let on_one = async |secured: &Secured| {
        let (mut sender, shown) = secured.authority.connect(secured.address, None).await.unwrap();
        let done = Arc::clone(&done);
        let calling = tokio::spawn(async move {
            let mut calls = 0;
            while !done.load(Ordering::Relaxed) {
                let answer = exchange_on(&mut sender, CHECK, &[], question()).await.unwrap();
                assert_eq!(answer.status().code(), Code::Ok);
                calls += 1;
                sleep(Duration::from_millis(2)).await;
            }
            calls
        });
        (calling, shown)
    };
    let (over, connecting) = (Arc::clone(&done), Arc::clone(&secured));
    let on_new = tokio::spawn(async move {
        let mut calls = 0;
        while !over.load(Ordering::Relaxed) {
            assert_eq!(connecting.call(CHECK, None, None).await.unwrap().code(), Code::Ok);
            calls += 1;
            sleep(Duration::from_millis(10)).await;
        }
        calls
    });
    let (on_first, _) = on_one(&secured).await;

    // One that is good for a moment only, in whole seconds as certificates have it.
    let soon = SystemTime::UNIX_EPOCH
        + Duration::from_secs(
            SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() + 20,
        );
    let short = secured.authority.issue_until("localhost", soon);
    secured.files.replace(&short, &secured.authority);
    until(async || secured.shows(&short).await).await;
    let (on_short, shown) = on_one(&secured).await;
    assert_eq!(shown, short.der());
    let scraped = metrics::get(metrics::metrics_of(&secured.server).await, "/metrics").await;
    let told = metrics::value(&scraped, "token_registry_certificate_expires_timestamp_seconds");
    assert_eq!(told, Some(soon.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()), "{scraped}");

    // A certificate without its key is no certificate: nothing changes until the key is there too.
    let next = secured.authority.issue("localhost");
    let torn = Identity { key: short.key.clone(), ..next.clone() };
    secured.files.replace(&torn, &secured.authority);
    until(async || secured.server.said().contains("certificates stay as they were")).await;
    assert!(secured.shows(&short).await);
    secured.files.replace(&next, &secured.authority);
    until(async || secured.shows(&next).await).await;
    // All go on when the one that some of them began with is over.
    until(async || SystemTime::now() > soon + Duration::from_secs(1)).await;
    assert_eq!(secured.call(CHECK, None, None).await.unwrap().code(), Code::Ok);
    done.store(true, Ordering::Relaxed);
    for calling in [on_first, on_short, on_new] {
        assert!(calling.await.unwrap() > 0);
    }
}

#[tokio::test]
async fn an_authority_that_is_replaced_counts_for_new_connections() {
    let secured = Secured::start_with(None, true, &[]).await;
    let (ours, other) = (secured.authority.issue("a.example.org"), Authority::new());
    let theirs = other.issue("a.example.org");
    assert!(secured.call(CHECK, Some(&theirs), None).await.is_none());
    secured.files.replace(&secured.authority.issue("localhost"), &other);
    until(async || secured.call(CHECK, Some(&theirs), None).await.is_some()).await;
    assert!(secured.call(CHECK, Some(&ours), None).await.is_none(), "the authority before is still taken");
}

#[tokio::test]
async fn a_certificate_that_is_revoked_is_refused_from_the_next_connection_on() {
    let (directory, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    let (hour, now) = (Duration::from_hours(1), SystemTime::now());
    let file = directory.path().join("ca.crl");
    std::fs::write(&file, authority.revocation_list(&[], now + hour)).unwrap();
    let settings = [("TOKEN_REGISTRY_TLS_CLIENT_CRL", file.to_str().unwrap())];
    let secured = Secured::start_of(authority, None, true, &settings).await;
    let list = |revoked: &[&Identity], until| {
        std::fs::write(&file, secured.authority.revocation_list(revoked, until)).unwrap();
    };
    let [stolen, kept] = ["a.example.org", "b.example.org"].map(|name| secured.authority.issue(name));
    let taken = async |shown: &Identity| secured.call(CHECK, Some(shown), None).await.is_some();
    assert!(taken(&stolen).await && taken(&kept).await);
    list(&[&stolen], now + hour);
    until(async || !taken(&stolen).await).await;
    assert!(taken(&kept).await);

    // A file without a list changes nothing, and neither does time: what is on a list that is over is refused still.
    std::fs::write(&file, "").unwrap();
    until(async || secured.server.said().contains("there is no revocation list in it")).await;
    assert!(!taken(&stolen).await && taken(&kept).await);
    list(&[&stolen], now - hour);
    until(async || secured.server.said().contains("a revocation list is over and stays in force")).await;
    assert!(!taken(&stolen).await && taken(&kept).await);
    // Another authority's list says nothing of these: nobody is let in unseen.
    std::fs::write(&file, Authority::new().revocation_list(&[], now + hour)).unwrap();
    until(async || !taken(&kept).await).await;
}

#[tokio::test]
async fn a_revocation_list_is_told_of_before_it_is_over_and_when_it_is() {
    let (directory, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    let file = directory.path().join("ca.crl");
    // In whole seconds, as lists have it.
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    let (soon, later) = (now + 15, now + 3600);
    std::fs::write(&file, authority.revocation_list(&[], at(soon))).unwrap();
    let settings = [("TOKEN_REGISTRY_TLS_CLIENT_CRL", file.to_str().unwrap()), metrics::LISTEN];
    let secured = Secured::start_of(authority, None, true, &settings).await;
    let scraped = metrics::metrics_of(&secured.server).await;
    let told = async || {
        let text = metrics::get(scraped, "/metrics").await;
        metrics::value(&text, "token_registry_revocation_list_expires_timestamp_seconds")
    };
    assert_eq!(told().await, Some(soon));
    // It is read before that, and told of when it comes.
    until(async || secured.server.said().contains("a revocation list is over and stays in force")).await;
    assert!(SystemTime::now() >= at(soon));
    std::fs::write(&file, secured.authority.revocation_list(&[], at(later))).unwrap();
    until(async || told().await == Some(later)).await;
}

#[tokio::test]
async fn a_peer_that_does_not_shake_hands_holds_up_nobody_and_is_let_go() {
    // Long enough for those who do shake hands on a busy machine.
    let settings = [("TOKEN_REGISTRY_MAX_CONNECTIONS", "20"), ("TOKEN_REGISTRY_PEER_TIMEOUT", "5s")];
    let secured = Secured::start_with(None, false, &settings).await;
    let mut silent = Vec::new();
    for _ in 0..19 {
        silent.push(TcpStream::connect(secured.address).await.unwrap());
    }
    assert_eq!(patiently(secured.call(CHECK, None, None)).await.unwrap().code(), Code::Ok);
    // More than there are places: a caller comes when the silent ones had their time.
    for _ in 0..20 {
        silent.push(TcpStream::connect(secured.address).await.unwrap());
    }
    assert_eq!(patiently(secured.call(CHECK, None, None)).await.unwrap().code(), Code::Ok);
    for mut peer in silent {
        let read = patiently(peer.read(&mut [0; 64])).await;
        assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
    }
}

#[test]
fn what_cannot_be_used_ends_the_start() {
    let authority = Authority::new();
    let (identity, other) = (authority.issue("localhost"), authority.issue("localhost"));
    let files = Files::new(&identity, &authority);
    std::fs::write(files.path("other.key"), &other.key).unwrap();
    std::fs::write(files.path("empty"), "").unwrap();
    let serve = |settings: &[(&str, &str)]| refused_start(settings, identity.key.lines().nth(1).unwrap());
    // The file at fault is named.
    for [certificate, key, authorities, said] in [
        ["tls.crt", "other.key", "ca.crt", "can't be used"],
        ["tls.crt", "other.key", "ca.crt", "other.key"],
        ["tls.crt", "nowhere", "ca.crt", "nowhere: "],
        ["tls.crt", "tls.crt", "ca.crt", "tls.crt: "],
        ["empty", "tls.key", "ca.crt", "empty: there is no certificate in it"],
        ["tls.crt", "tls.key", "empty", "empty: there is no certificate in it"],
    ] {
        let (code, err) = serve(&[
            ("TOKEN_REGISTRY_TLS_CERTIFICATE", &files.text(certificate)),
            ("TOKEN_REGISTRY_TLS_KEY", &files.text(key)),
            ("TOKEN_REGISTRY_TLS_CLIENT_CA", &files.text(authorities)),
        ]);
        assert_eq!(code, Some(1), "{err}");
        assert!(err.contains(said), "{said}: {err}");
    }
    // What contradicts itself is a wrong configuration, all of it said at once.
    let (code, err) = serve(&[("TOKEN_REGISTRY_TLS_CERTIFICATE", &files.text("tls.crt"))]);
    assert_eq!(code, Some(64), "{err}");
    assert!(err.contains("tls_certificate: needs tls_key"), "{err}");
    let (code, err) =
        serve(&[("TOKEN_REGISTRY_TLS_CLIENT_CA", "ca.crt"), ("TOKEN_REGISTRY_TLS_KEY", "tls.key")]);
    assert_eq!(code, Some(64), "{err}");
    for said in ["tls_client_ca: needs tls_certificate", "tls_key: needs tls_certificate"] {
        assert!(err.contains(said), "{err}");
    }
    let (code, err) = serve(&[("TOKEN_REGISTRY_TLS_CLIENT_CRL", "ca.crl")]);
    assert_eq!(code, Some(64), "{err}");
    assert!(err.contains("tls_client_crl: needs tls_client_ca"), "{err}");
    let (code, err) = serve(&[
        ("TOKEN_REGISTRY_TLS_CERTIFICATE", &files.text("tls.crt")),
        ("TOKEN_REGISTRY_TLS_KEY", &files.text("tls.key")),
        ("TOKEN_REGISTRY_TLS_CLIENT_CA", &files.text("ca.crt")),
        ("TOKEN_REGISTRY_TLS_CLIENT_CRL", &files.text("empty")),
    ]);
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains("empty: there is no revocation list in it"), "{err}");
}

#[test]
fn the_network_is_served_without_encryption_only_when_that_is_said_in_so_many_words() {
    let nowhere = ("DATABASE_URL", "postgres://nobody@127.0.0.1:1/x");
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:50051"] {
        let listen = ("TOKEN_REGISTRY_LISTEN", address);
        for command in [["config", "check"].as_slice(), &["serve"]] {
            let ended = run(command, &[nowhere, listen]);
            assert_eq!(ended.code, Some(64), "{}", ended.err);
            assert!(
                ended.err.contains(&format!("listen: {address} is open to the network")),
                "{}",
                ended.err
            );
        }
        let said = ("TOKEN_REGISTRY_PLAINTEXT", "everywhere");
        assert_eq!(run(&["config", "check"], &[nowhere, listen, said]).code, Some(0));
    }
    assert_eq!(run(&["config", "check"], &[nowhere, ("TOKEN_REGISTRY_LISTEN", "[::1]:0")]).code, Some(0));
}

#[tokio::test]
async fn plain_calls_from_the_network_are_served_when_that_is_said() {
    let database = fresh_database().await;
    let server = Process::serve(
        &database.url,
        &[("TOKEN_REGISTRY_LISTEN", "0.0.0.0:0"), ("TOKEN_REGISTRY_PLAINTEXT", "everywhere")],
    );
    let port = server.serving().await.port();
    let answer = wire::exchange(([127, 0, 0, 1], port).into(), CHECK, &[], question()).await;
    assert_eq!(answer.status().code(), Code::Ok);
}

#[test]
fn the_command_line_sends_no_key_over_the_network_unencrypted_unless_it_is_told_to() {
    let key = ("TOKEN_REGISTRY_TOKEN", "canary-key");
    let call = |address: &str, more: &[&str], environment: &[(&str, &str)]| {
        let command = ["health", "--timeout", "300ms", "--address", address];
        let ended = run(&[&command, more].concat(), environment);
        assert!(!ended.err.contains("canary"), "{}", ended.err);
        (ended.code, ended.err)
    };
    // Nobody of that name is there.
    for address in ["registry.invalid:50051", "http://registry.invalid:50051"] {
        let (code, err) = call(address, &[], &[key]);
        assert_eq!(code, Some(64), "{err}");
        assert!(err.contains("--plaintext everywhere"), "{err}");
        assert_eq!(call(address, &["--plaintext", "everywhere"], &[key]).0, Some(69));
        // What a server was told is said of its own links.
        assert_eq!(call(address, &[], &[key, ("TOKEN_REGISTRY_PLAINTEXT", "everywhere")]).0, Some(64));
        assert_eq!(call(address, &[], &[]).0, Some(69));
    }
    for address in ["https://registry.invalid:50051", "127.0.0.1:1", "localhost:1", "http://[::1]:1"] {
        let (code, err) = call(address, &[], &[key]);
        assert_eq!(code, Some(69), "{address}: {err}");
    }
}

#[tokio::test]
async fn the_command_line_calls_as_somebody_over_tls() {
    let key = "canary-key-of-an-operator";
    let callers = format!(
        "[operator]\nroles = ['admin', 'issuer']\nkeys_sha256 = ['{}']\n\
         [viewer]\nroles = ['inspector']\ncertificates = ['viewer.example.org']",
        digest(key)
    );
    let secured = Secured::start_with(Some(&callers), true, &[]).await;
    let viewer = secured.authority.issue("viewer.example.org");
    let path = |name: &str| secured.files.text(name);
    std::fs::write(path("viewer.crt"), &viewer.certificate).unwrap();
    std::fs::write(path("viewer.key"), &viewer.key).unwrap();
    std::fs::write(path("token"), format!("{key}\n")).unwrap();
    let address = format!("https://localhost:{}", secured.address.port());
    let (ca, certificate, its_key, token) =
        (path("ca.crt"), path("viewer.crt"), path("viewer.key"), path("token"));
    let calls = |command: &[&str], environment: &[(&str, &str)]| {
        let ended = run(&[command, &["--address", &address]].concat(), environment);
        assert!(!ended.err.contains(key) && !ended.out.contains(key), "{}", ended.err);
        (ended.code, ended.err)
    };
    let deactivate = ["user", "deactivate", "ada", "--yes"];
    let list = ["session", "list", "ada"];
    let believing = ("TOKEN_REGISTRY_CA", ca.as_str());
    // A key in a file or in the environment.
    assert_eq!(calls(&[&deactivate[..], &["--ca", &ca, "--token-file", &token]].concat(), &[]).0, Some(0));
    assert_eq!(calls(&deactivate, &[believing, ("TOKEN_REGISTRY_TOKEN", key)]).0, Some(0));
    // A certificate, by flags or by the environment, and only with what it may do.
    let shown = ["--ca", &ca, "--client-certificate", &certificate, "--client-key", &its_key];
    let showing = [
        believing,
        ("TOKEN_REGISTRY_CLIENT_CERTIFICATE", certificate.as_str()),
        ("TOKEN_REGISTRY_CLIENT_KEY", its_key.as_str()),
    ];
    assert_eq!(calls(&[&list[..], &shown[..]].concat(), &[]).0, Some(0));
    assert_eq!(calls(&list, &showing).0, Some(0));
    assert_eq!(calls(&deactivate, &showing).0, Some(77));
    // Nobody, a wrong key, an authority that isn't believed, and what can't be meant.
    assert_eq!(calls(&list, &[believing]).0, Some(77));
    assert_eq!(calls(&list, &[believing, ("TOKEN_REGISTRY_TOKEN", "wrong")]).0, Some(77));
    std::fs::write(path("other.crt"), Authority::new().pem()).unwrap();
    let (code, err) = calls(&list, &[("TOKEN_REGISTRY_CA", &path("other.crt"))]);
    assert_eq!(code, Some(69), "{err}");
    assert!(err.contains("invalid peer certificate"), "{err}");
    for (more, said) in [
        (["--ca", "nowhere.crt"], "nowhere.crt"),
        (["--token-file", "nowhere.token"], "nowhere.token"),
        (["--client-key", its_key.as_str()], "--client-certificate"),
    ] {
        let (code, err) = calls(&[&list[..], &more[..]].concat(), &[]);
        assert_eq!(code, Some(64), "{err}");
        assert!(err.contains(said), "{said}: {err}");
    }
    let (code, err) = calls(&list, &[believing, ("TOKEN_REGISTRY_TOKEN", "canary-\u{1}")]);
    assert_eq!(code, Some(64), "{err}");
    assert!(!err.contains("canary"), "{err}");
    // A server that is started with the same environment doesn't take these for settings of its own.
    let environment = [believing, ("TOKEN_REGISTRY_TOKEN", key), ("TOKEN_REGISTRY_TOKEN_FILE", "x")];
    assert_eq!(run(&["config", "check"], &environment).code, Some(0));
}
