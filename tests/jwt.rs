//! Callers that are known by JWTs: which tokens are taken, and keys of the issuer that change.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;
use tempfile::TempDir;
use token_registry::proto::CheckSessionRequest;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tonic::{Code, Status};

use crate::support::certificates::Authority;
use crate::support::jwt::{AUDIENCE, ISSUER, SigningKey, claims, encoded, key_set, now, unsigned};
use crate::support::postgres::Database;
use crate::support::process::{Process, refused_start};
use crate::support::wire::{exchange, framed};
use crate::support::{assert_refused, fresh_database, until};

const CHECK: &str = "/tokenregistry.v1.WhitelistService/CheckSession";
const CALLERS: &str =
    "[api]\nroles = ['checker']\nsubjects = ['api']\n[issuer]\nroles = ['issuer']\nsubjects = ['auth']";

/// A registry that takes JWTs.
struct Taking {
    directory: TempDir,
    address: SocketAddr,
    server: Process,
    _database: Database,
}

impl Taking {
    /// With keys from a file.
    async fn from_file(keys: &[&SigningKey], settings: &[(&str, &str)]) -> Self {
        Self::from_set(&key_set(keys), settings).await
    }

    /// With keys that are published so, in a file.
    async fn from_set(set: &str, settings: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("jwks.json");
        std::fs::write(&file, set).unwrap();
        Self::start(directory, file.to_str().unwrap(), settings).await
    }

    async fn start(directory: TempDir, keys: &str, settings: &[(&str, &str)]) -> Self {
        let (callers, database) = (directory.path().join("callers.toml"), fresh_database().await);
        std::fs::write(&callers, CALLERS).unwrap();
        let mut all = vec![
            ("TOKEN_REGISTRY_CALLERS", callers.to_str().unwrap()),
            ("TOKEN_REGISTRY_JWT_KEYS", keys),
            ("TOKEN_REGISTRY_JWT_ISSUER", ISSUER),
            ("TOKEN_REGISTRY_JWT_AUDIENCE", AUDIENCE),
        ];
        all.extend(settings);
        let server = Process::serve(&database.url, &all);
        let address = server.serving().await;
        Self { directory, address, server, _database: database }
    }

    /// How a call with this token ends.
    async fn call(&self, token: &str) -> Status {
        let question = framed(&CheckSessionRequest { user_id: "ada".into(), session: "laptop".into() });
        let bearer = format!("Bearer {token}");
        exchange(self.address, CHECK, &[("authorization", &bearer)], question).await.status()
    }

    async fn takes(&self, token: &str) -> bool {
        let status = self.call(token).await;
        if status.code() == Code::Ok {
            return true;
        }
        assert_refused::<()>(Err(status), Code::Unauthenticated, "UNAUTHENTICATED");
        false
    }
}

/// Claims of which one differs, or is gone.
fn but(name: &str, value: Value) -> Value {
    let mut claims = claims("api");
    match value {
        Value::Null => _ = claims.as_object_mut().unwrap().remove(name),
        value => claims[name] = value,
    }
    claims
}

#[tokio::test]
async fn a_token_is_taken_when_all_of_it_is_right() {
    let (key, other) = (SigningKey::new("one"), SigningKey::new("one"));
    let taking = Taking::from_file(&[&key], &[]).await;
    let header = |more: Value| {
        let mut header = json!({"alg": "ES256", "kid": "one"});
        header.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        header
    };
    for (what, token) in [
        ("a good one", key.token("api")),
        ("the same by another way to write it", key.sign(&but("aud", json!(["billing", AUDIENCE])))),
        ("over, but within the leeway", key.sign(&but("exp", json!(now() - 10)))),
        ("with an end between two seconds", {
            let end: Value = serde_json::from_str(&format!("{}.5", now() + 3600)).unwrap();
            key.sign(&but("exp", end))
        }),
        ("early, but within the leeway", key.sign(&but("nbf", json!(now() + 10)))),
        ("of a type", key.sign_as(&header(json!({"typ": "at+jwt"})), &claims("api"))),
    ] {
        assert!(taking.takes(&token).await, "{what}");
        // Also when it is known already.
        assert!(taking.takes(&token).await, "{what}");
    }
    let good = key.token("api");
    let (message, signature) = good.rsplit_once('.').unwrap();
    let none = json!({"alg": "none", "kid": "one"});
    // HMAC with what everybody knows, the public key.
    let hmac = json!({"alg": "HS256", "kid": "one"});
    let message_of_hmac = unsigned(&hmac, &claims("api"));
    let mut mac = Hmac::<Sha256>::new_from_slice(key.published()["x"].as_str().unwrap().as_bytes()).unwrap();
    mac.update(message_of_hmac.as_bytes());
    for (what, token) in [
        ("no signature", format!("{message}.")),
        ("alg none", format!("{}.", unsigned(&none, &claims("api")))),
        ("alg none with a signature", key.sign_as(&none, &claims("api"))),
        ("HMAC with the public key", format!("{message_of_hmac}.{}", encoded(&mac.finalize().into_bytes()))),
        ("another algorithm of the key", key.sign_as(&header(json!({"alg": "ES384"})), &claims("api"))),
        ("another family", key.sign_as(&header(json!({"alg": "RS256"})), &claims("api"))),
        ("another key of that name", other.token("api")),
        ("other claims under a good signature", {
            let (header, _) = message.split_once('.').unwrap();
            format!("{header}.{}.{signature}", encoded(claims("auth").to_string().as_bytes()))
        }),
        ("without a key's name", key.sign_as(&json!({"alg": "ES256"}), &claims("api"))),
        ("a key that isn't published", key.sign_as(&header(json!({"kid": "two"})), &claims("api"))),
        (
            "what has to be understood",
            key.sign_as(&header(json!({"crit": ["b64"], "b64": true})), &claims("api")),
        ),
        ("over", key.sign(&but("exp", json!(now() - 60)))),
        ("without an end", key.sign(&but("exp", Value::Null))),
        ("an end that is no number", key.sign(&but("exp", json!("tomorrow")))),
        ("early", key.sign(&but("nbf", json!(now() + 60)))),
        ("a beginning that is no number", key.sign(&but("nbf", json!("tomorrow")))),
        ("for another audience", key.sign(&but("aud", json!("billing")))),
        ("for other audiences", key.sign(&but("aud", json!(["billing", "registry.example.org"])))),
        ("for nobody", key.sign(&but("aud", Value::Null))),
        ("of another issuer", key.sign(&but("iss", json!("https://evil.example.org")))),
        ("of no issuer", key.sign(&but("iss", Value::Null))),
        ("of no subject", key.sign(&but("sub", Value::Null))),
        ("a subject that is no text", key.sign(&but("sub", json!(["api"])))),
        ("a subject that is nobody here", key.token("stranger")),
        ("no JWT at all", "a.b.c".to_owned()),
        ("too long", key.sign(&but("padding", json!("x".repeat(9000))))),
    ] {
        assert!(!taking.takes(&token).await, "{what}");
    }
    // The subject's role counts.
    let refused = taking.call(&key.token("auth")).await;
    assert_eq!(refused.code(), Code::Ok, "an issuer may ask too");
    let said = taking.server.said();
    assert!(!said.contains(signature) && !said.contains("eyJ"), "{said}");
}

#[tokio::test]
async fn keys_that_are_not_for_these_signatures_verify_nothing() {
    let keys = ["one", "for encryption", "of another algorithm", "of another curve"].map(SigningKey::new);
    let mut published = keys.each_ref().map(SigningKey::published);
    published[1]["use"] = json!("enc");
    published[2]["alg"] = json!("ES384");
    published[3]["crv"] = json!("P-384");
    let taking = Taking::from_set(&json!({"keys": published}).to_string(), &[]).await;
    for (n, key) in keys.iter().enumerate() {
        assert_eq!(taking.takes(&key.token("api")).await, n == 0, "{}", key.id);
    }
}

#[tokio::test]
async fn another_claim_may_name_the_caller() {
    let key = SigningKey::new("one");
    let taking = Taking::from_file(&[&key], &[("TOKEN_REGISTRY_JWT_CLAIM", "azp")]).await;
    assert!(!taking.takes(&key.token("api")).await);
    let mut other = claims("somebody");
    other["azp"] = json!("api");
    assert!(taking.takes(&key.sign(&other)).await);
}

#[tokio::test]
async fn keys_in_a_file_are_replaced_and_what_is_gone_proves_nothing() {
    let (old, new) = (SigningKey::new("old"), SigningKey::new("new"));
    let taking = Taking::from_file(&[&old], &[]).await;
    let (by_old, by_new) = (old.token("api"), new.token("api"));
    assert!(taking.takes(&by_old).await && !taking.takes(&by_new).await);
    let file = taking.directory.path().join("jwks.json");
    std::fs::write(&file, key_set(&[&old, &new])).unwrap();
    until(async || taking.takes(&by_new).await).await;
    assert!(taking.takes(&by_old).await);
    std::fs::write(&file, key_set(&[&new])).unwrap();
    until(async || !taking.takes(&by_old).await).await;
    // What is no set of keys changes nothing.
    std::fs::write(&file, "{\"keys\": [{\"kty\": \"oct\", \"kid\": \"new\", \"k\": \"canary\"}]}").unwrap();
    until(async || taking.server.said().contains("the keys stay as they were")).await;
    assert!(taking.takes(&by_new).await);
    let said = taking.server.said();
    assert!(said.contains("none of its 1 keys is one to verify") && !said.contains("canary"), "{said}");
}

/// An issuer that publishes its keys over HTTPS.
struct Publisher {
    port: u16,
    /// The certificate of its authority.
    authority: tempfile::NamedTempFile,
    published: Arc<std::sync::Mutex<String>>,
    asked: Arc<AtomicUsize>,
    away: Arc<AtomicBool>,
}

impl Publisher {
    async fn start(keys: &[&SigningKey]) -> Self {
        let authority = Authority::new();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), authority.pem()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let publisher = Self {
            port: listener.local_addr().unwrap().port(),
            authority: file,
            published: Arc::new(std::sync::Mutex::new(key_set(keys))),
            asked: Arc::default(),
            away: Arc::default(),
        };
        let acceptor = TlsAcceptor::from(Arc::new(authority.server("localhost")));
        let (published, asked, away) =
            (Arc::clone(&publisher.published), Arc::clone(&publisher.asked), Arc::clone(&publisher.away));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") && stream.read_buf(&mut request).await.unwrap_or(0) > 0
                {
                }
                assert!(request.starts_with(b"GET /jwks.json HTTP/1.1\r\n"));
                asked.fetch_add(1, Ordering::Relaxed);
                let (status, body) = if away.load(Ordering::Relaxed) {
                    ("503 Service Unavailable", String::new())
                } else {
                    ("200 OK", published.lock().unwrap().clone())
                };
                let answer = format!(
                    "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                    body.len()
                );
                let _ = stream.write_all(answer.as_bytes()).await;
                let _ = stream.shutdown().await;
            }
        });
        publisher
    }

    async fn taking(&self, more: &[(&str, &str)]) -> Taking {
        let url = format!("https://localhost:{}/jwks.json", self.port);
        // Where the system has its roots.
        let mut settings = vec![("SSL_CERT_FILE", self.authority.path().to_str().unwrap())];
        settings.extend(more);
        Taking::start(tempfile::tempdir().unwrap(), &url, &settings).await
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

#[tokio::test]
async fn keys_at_an_address_are_asked_for_when_one_is_not_known_but_not_without_end() {
    let (old, new) = (SigningKey::new("old"), SigningKey::new("new"));
    let publisher = Publisher::start(&[&old]).await;
    let taking = publisher.taking(&[]).await;
    assert!(taking.takes(&old.token("api")).await);
    let before = publisher.asked();
    assert_eq!(before, 1);
    // Tokens that anybody can make up: a fetch in ten seconds, however many come.
    let (made_up, since) = (SigningKey::new("made up").token("api"), Instant::now());
    for _ in 0..100 {
        assert!(!taking.takes(&made_up).await);
    }
    let (asked, took) = (publisher.asked() - before, since.elapsed());
    assert!(asked as u64 <= 2 + took.as_secs() / 10, "{asked} fetches in {took:?}");
    // The issuer signs with a new key from now on: the first token with it brings it.
    *publisher.published.lock().unwrap() = key_set(&[&new]);
    until(async || taking.takes(&new.token("api")).await).await;
    assert!(!taking.takes(&old.token("api")).await);
    // An issuer that is away takes nothing from the keys that are there.
    publisher.away.store(true, Ordering::Relaxed);
    until(async || {
        let _ = taking.takes(&made_up).await;
        taking.server.said().contains("answered 503")
    })
    .await;
    assert!(taking.takes(&new.token("api")).await);
}

#[tokio::test]
async fn an_address_that_is_not_believed_gives_no_keys() {
    let key = SigningKey::new("one");
    let publisher = Publisher::start(&[&key]).await;
    let other = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(other.path(), Authority::new().pem()).unwrap();
    let taking = publisher.taking(&[("SSL_CERT_FILE", other.path().to_str().unwrap())]).await;
    assert!(!taking.takes(&key.token("api")).await);
    assert_eq!(publisher.asked(), 0);
    let said = taking.server.said();
    assert!(said.contains("no JWT is taken") && said.contains("invalid peer certificate"), "{said}");
}

#[test]
fn what_cannot_be_used_ends_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("callers.toml"), CALLERS).unwrap();
    std::fs::write(path("empty.json"), "{\"keys\": []}").unwrap();
    std::fs::write(path("wrong.json"), "canary").unwrap();
    let callers = path("callers.toml");
    let serve = |settings: &[(&str, &str)]| refused_start(settings, "canary");
    for (file, said) in [
        ("empty.json", "none of its 0 keys"),
        ("wrong.json", "not a JSON Web Key Set: line 1"),
        ("nowhere.json", "nowhere.json can't be read"),
    ] {
        let (code, err) = serve(&[
            ("TOKEN_REGISTRY_CALLERS", &callers),
            ("TOKEN_REGISTRY_JWT_KEYS", &path(file)),
            ("TOKEN_REGISTRY_JWT_ISSUER", ISSUER),
            ("TOKEN_REGISTRY_JWT_AUDIENCE", AUDIENCE),
        ]);
        assert_eq!(code, Some(1), "{err}");
        assert!(err.contains(said), "{said}: {err}");
    }
    let (code, err) = serve(&[("TOKEN_REGISTRY_JWT_KEYS", "jwks.json")]);
    assert_eq!(code, Some(64), "{err}");
    for said in ["jwt.keys: needs callers", "jwt.issuer: not set", "jwt.audience: not set"] {
        assert!(err.contains(said), "{said}: {err}");
    }
    for wrong in ["http://issuer.example.org/jwks.json", "https://", "https://ada:canary@issuer.example.org/"]
    {
        let (code, err) = serve(&[("TOKEN_REGISTRY_JWT_KEYS", wrong)]);
        assert_eq!(code, Some(64), "{err}");
    }
}
