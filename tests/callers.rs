//! Who may call what: every method, by every role, by nobody and by strangers; and a file of callers that changes.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use h2::client::SendRequest;
use prost::bytes::Bytes;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use token_registry::grpc::methods;
use token_registry::proto::CheckSessionRequest;
use tonic::Code;

use crate::support::certificates::{Authority, Files};
use crate::support::jwt::{self, AUDIENCE, ISSUER, SigningKey, key_set};
use crate::support::process::{Process, run};
use crate::support::wire::{exchange, exchange_on, framed};
use crate::support::{assert_refused, fresh_database, until};

const ROLES: [&str; 4] = ["checker", "issuer", "admin", "inspector"];

/// Which roles may call a method; `everybody` needs none.
const MAY: &str = "
    WhitelistService/AddRefreshToken            issuer
    WhitelistService/RotateRefreshToken         issuer
    WhitelistService/CheckRefreshToken          checker issuer
    Authorization/Check                         checker
    WhitelistService/CheckSession               checker issuer
    WhitelistService/BatchCheckSessions         checker issuer
    WhitelistService/GetRefreshToken            inspector
    WhitelistService/ListRefreshTokens          inspector
    WhitelistService/SetRefreshTokenEnabled     issuer
    WhitelistService/RevokeSession              issuer admin
    WhitelistService/RevokeUserSessions         admin
    GenericTokenService/IssueGenericToken       issuer
    GenericTokenService/ConsumeGenericToken     issuer
    GenericTokenService/CheckGenericToken       checker issuer
    GenericTokenService/ListGenericTokens       inspector
    GenericTokenService/RevokeGenericTokens     issuer admin
    AuthTokenService/CreateAuthToken            issuer
    AuthTokenService/AuthenticateAuthToken      checker issuer
    AuthTokenService/GetAuthToken               inspector
    AuthTokenService/ListAuthTokens             inspector
    AuthTokenService/DeleteAuthToken            issuer admin
    UserService/CreateUser                      issuer admin
    UserService/GetUser                         issuer inspector
    UserService/SetUserActive                   admin
    UserService/RevokeCredentials               admin
    UserService/DeleteUser                      admin
    MaintenanceService/PurgeExpired             admin
    MaintenanceService/GetStatistics            admin
    ServerReflection/ServerReflectionInfo       inspector
    Health/Check                                everybody
    Health/List                                 everybody
    Health/Watch                                everybody
";

fn key_of(caller: &str) -> String {
    format!("canary-key-of-{caller}")
}

pub fn digest(key: &str) -> String {
    Sha256::digest(key).iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// A file in which each role has a caller of its own, known in three ways.
fn one_caller_a_role() -> String {
    let caller = |role| {
        format!(
            "[{role}]\nroles = ['{role}']\ncertificates = ['{}']\nsubjects = ['{role}@example.org']\n\
             keys_sha256 = ['{}']\n",
            name_of(role),
            digest(&key_of(role))
        )
    };
    ROLES.map(caller).concat()
}

/// What stands in a caller's certificate.
fn name_of(caller: &str) -> String {
    format!("spiffe://example.org/ns/prod/sa/{caller}")
}

/// The code that a call with this key gets. A message that says nothing changes nothing.
async fn call(address: SocketAddr, path: &str, key: Option<&str>) -> Code {
    let bearer = key.map(|key| format!("Bearer {key}"));
    let headers: Vec<_> = bearer.iter().map(|bearer| ("authorization", bearer.as_str())).collect();
    let nothing = vec![0, 0, 0, 0, 0];
    exchange(address, path, &headers, nothing).await.status().code()
}

async fn serve(file: &Path, database_url: &str) -> (Process, SocketAddr) {
    let server = Process::serve(database_url, &[("TOKEN_REGISTRY_CALLERS", file.to_str().unwrap())]);
    let address = server.serving().await;
    (server, address)
}

/// Somebody who calls: a connection, and what is sent with each call.
struct Somebody {
    what: String,
    connection: SendRequest<Bytes>,
    bearer: Option<String>,
}

impl Somebody {
    async fn call(&mut self, path: &str) -> Code {
        let headers: Vec<_> = self.bearer.iter().map(|bearer| ("authorization", bearer.as_str())).collect();
        let nothing = vec![0, 0, 0, 0, 0];
        exchange_on(&mut self.connection, path, &headers, nothing).await.unwrap().status().code()
    }
}

#[tokio::test]
async fn every_method_admits_its_roles_and_nobody_else() {
    let (database, authority, signing) = (fresh_database().await, Authority::new(), SigningKey::new("one"));
    let files = Files::new(&authority.issue("localhost"), &authority);
    std::fs::write(files.path("callers.toml"), one_caller_a_role()).unwrap();
    std::fs::write(files.path("jwks.json"), key_set(&[&signing])).unwrap();
    let mut server = Process::serve(
        &database.url,
        &[
            ("TOKEN_REGISTRY_CALLERS", &files.text("callers.toml")),
            ("TOKEN_REGISTRY_TLS_CERTIFICATE", &files.text("tls.crt")),
            ("TOKEN_REGISTRY_TLS_KEY", &files.text("tls.key")),
            ("TOKEN_REGISTRY_TLS_CLIENT_CA", &files.text("ca.crt")),
            ("TOKEN_REGISTRY_JWT_KEYS", &files.text("jwks.json")),
            ("TOKEN_REGISTRY_JWT_ISSUER", ISSUER),
            ("TOKEN_REGISTRY_JWT_AUDIENCE", AUDIENCE),
        ],
    );
    let address = server.serving().await;
    let somebody = async |what: &str, shown: Option<&str>, bearer: Option<String>| {
        let shown = shown.map(|name| authority.issue(name));
        let (connection, _) = authority.connect(address, shown.as_ref()).await.unwrap();
        Somebody {
            what: what.to_owned(),
            connection,
            bearer: bearer.map(|bearer| format!("Bearer {bearer}")),
        }
    };
    let mut known = Vec::new();
    for role in ROLES {
        let token = signing.token(&format!("{role}@example.org"));
        known.push((role, somebody("key", None, Some(key_of(role))).await));
        known.push((role, somebody("certificate", Some(&name_of(role)), None).await));
        known.push((role, somebody("JWT", None, Some(token)).await));
    }
    let stranger = SigningKey::new("one").token("admin@example.org");
    let unsigned = jwt::unsigned(&json!({"alg": "none", "kid": "one"}), &jwt::claims("admin@example.org"));
    let mut strangers = [
        somebody("nobody", None, None).await,
        somebody("an empty key", None, Some(String::new())).await,
        somebody("a stranger's key", None, Some(key_of("a-stranger"))).await,
        somebody("a stranger's certificate", Some(&name_of("a-stranger")), None).await,
        somebody("a stranger's JWT", None, Some(signing.token("a-stranger@example.org"))).await,
        somebody("a JWT by a stranger", None, Some(stranger)).await,
        somebody("a JWT by nobody", None, Some(format!("{unsigned}."))).await,
        somebody("a stranger's key, with a good certificate", Some(&name_of("admin")), Some("x".into()))
            .await,
    ];
    let may: BTreeMap<&str, Vec<&str>> = MAY
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            Some((words.next()?, words.collect()))
        })
        .collect();
    let mut seen = 0;
    for method in methods::all() {
        let service = method.service.rsplit('.').next().unwrap();
        let may = &may[format!("{service}/{}", method.name).as_str()];
        if method.name == "Watch" {
            continue; // It never ends; Check stands for it.
        }
        let path = format!("/{}/{}", method.service, method.name);
        let everybody = may[..] == ["everybody"];
        for (role, caller) in &mut known {
            let code = caller.call(&path).await;
            assert_ne!(code, Code::Unauthenticated, "{path} by {role}'s {}", caller.what);
            let admitted = code != Code::PermissionDenied;
            assert_eq!(
                admitted,
                everybody || may.contains(role),
                "{path} by {role}'s {}: {code:?}",
                caller.what
            );
            seen += 1;
        }
        for caller in &mut strangers {
            let code = caller.call(&path).await;
            assert_eq!(code == Code::Unauthenticated, !everybody, "{path} by {}: {code:?}", caller.what);
        }
    }
    assert!(seen >= 3 * 4 * 20, "{seen}");
    // What isn't here is told to callers only.
    let unknown = "/tokenregistry.v1.WhitelistService/NoMethod";
    assert_eq!(known[0].1.call(unknown).await, Code::Unimplemented);
    assert_eq!(strangers[0].call(unknown).await, Code::Unauthenticated);

    server.terminate();
    let (_, said) = server.ended();
    assert!(!said.contains("canary-key") && !said.contains("eyJ"), "{said}");
    // Whose call it was is told, and what a caller tried without the role for it.
    assert!(said.contains("\"caller\":\"issuer\""), "{said}");
    let tried = "\"act\":\"DeleteUser\",\"caller\":\"checker\",\"outcome\":\"PERMISSION_DENIED\"";
    assert!(said.contains(tried), "{said}");
}

#[tokio::test]
async fn a_refusal_has_its_reason_and_other_schemes_are_no_keys() {
    let database = fresh_database().await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("callers.toml");
    std::fs::write(&file, one_caller_a_role()).unwrap();
    let (_server, address) = serve(&file, &database.url).await;
    let check = "/tokenregistry.v1.WhitelistService/CheckSession";
    let question = framed(&CheckSessionRequest { user_id: "ada".into(), session: "laptop".into() });
    let ask = async |value: &str| {
        exchange(address, check, &[("authorization", value)], question.clone()).await.status()
    };
    assert_eq!(ask(&format!("bearer {}", key_of("checker"))).await.code(), Code::Ok);
    for wrong in ["Basic YTpi", "Bearer", &key_of("checker"), &format!("Bearer {}x", key_of("checker"))] {
        assert_refused::<()>(Err(ask(wrong).await), Code::Unauthenticated, "UNAUTHENTICATED");
    }
    let admin = format!("Bearer {}", key_of("admin"));
    assert_refused::<()>(Err(ask(&admin).await), Code::PermissionDenied, "PERMISSION_DENIED");
    let nobody = exchange(address, check, &[], question).await.status();
    assert_refused::<()>(Err(nobody), Code::Unauthenticated, "UNAUTHENTICATED");
}

#[tokio::test]
async fn a_file_that_changes_is_read_again_and_a_wrong_one_changes_nothing() {
    let database = fresh_database().await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("callers.toml");
    let with_key = |key: &str| format!("[api]\nroles = ['checker']\nkeys_sha256 = ['{}']\n", digest(key));
    std::fs::write(&file, with_key("first")).unwrap();
    let (server, address) = serve(&file, &database.url).await;
    let check = "/tokenregistry.v1.WhitelistService/CheckSession";
    assert_eq!(call(address, check, Some("first")).await, Code::InvalidArgument);
    assert_eq!(call(address, check, Some("second")).await, Code::Unauthenticated);

    // Renamed into its place, as careful programs do.
    let next = directory.path().join("next");
    std::fs::write(&next, with_key("second")).unwrap();
    std::fs::rename(&next, &file).unwrap();
    until(async || call(address, check, Some("second")).await == Code::InvalidArgument).await;
    assert_eq!(call(address, check, Some("first")).await, Code::Unauthenticated);

    std::fs::write(&file, "[api]\nroles = ['czar']\n").unwrap();
    until(async || server.said().contains("callers stay as they were")).await;
    assert!(server.said().contains("\\\"czar\\\" is no role"), "{}", server.said());
    assert_eq!(call(address, check, Some("second")).await, Code::InvalidArgument);
    std::fs::remove_file(&file).unwrap();
    until(async || server.said().matches("callers stay as they were").count() == 2).await;
    assert_eq!(call(address, check, Some("second")).await, Code::InvalidArgument);
}

#[tokio::test]
async fn callers_by_what_nobody_can_show_here_are_told() {
    let database = fresh_database().await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("callers.toml");
    let key = format!("keys_sha256 = ['{}']\n", digest("first"));
    let api = |more: &str| std::fs::write(&file, format!("[api]\nroles = ['checker']\n{key}{more}")).unwrap();
    api("");
    let (server, _) = serve(&file, &database.url).await;
    assert!(!server.said().contains("nobody can be known by them"), "{}", server.said());
    for (names, key) in [("certificates", "tls_client_ca"), ("subjects", "jwt.keys")] {
        api(&format!("{names} = ['api.example.org']"));
        let said = format!("callers have {names}, but {key} is not set: nobody can be known by them");
        until(async || server.said().contains(&said)).await;
    }
    // At a start, too.
    let (server, _) = serve(&file, &database.url).await;
    assert!(server.said().contains("callers have subjects, but jwt.keys is not set"), "{}", server.said());
}

#[tokio::test]
async fn a_file_that_is_wrong_at_the_start_ends_it() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("callers.toml");
    std::fs::write(&file, "[api]\nroles = ['czar']\nkeys_sha256 = ['canary']\n").unwrap();
    let ended = run(
        &["serve"],
        &[
            ("DATABASE_URL", "postgres://nobody@127.0.0.1:1/nothing"),
            ("TOKEN_REGISTRY_LISTEN", "127.0.0.1:0"),
            ("TOKEN_REGISTRY_CALLERS", file.to_str().unwrap()),
        ],
    );
    assert_eq!(ended.code, Some(1), "{}", ended.err);
    for part in ["is no role", "key 1 of keys_sha256 is not a SHA-256"] {
        assert!(ended.err.contains(part), "{}", ended.err);
    }
    assert!(!ended.err.contains("canary"), "{}", ended.err);
}
