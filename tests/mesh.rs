//! A mesh asks the registry: behind a real Envoy, an application that knows nothing of sessions serves live ones only.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::races::rounds_or;
use crate::support::envoy::{Answer, Backend, Envoy, free_address, get};
use crate::support::load::Load;
use crate::support::process::Process;
use crate::support::sessions::{enable, set_active};
use crate::support::{Registry, fresh_database, until};

const KEY: &[u8] = b"the key by which access tokens are signed in this test";

/// A signed access token with these claims.
fn token(claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(&json!({"alg": "HS256", "kid": "test", "typ": "JWT"})), part(claims));
    let mut mac = Hmac::<Sha256>::new_from_slice(KEY).expect("any key will do");
    mac.update(signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}

fn bearer(claims: &Value) -> Vec<String> {
    vec![format!("authorization: Bearer {}", token(claims))]
}

/// Puts addresses into a configuration: where Envoy listens, and the servers of each cluster.
fn place(config: &mut Value, listens: SocketAddr, clusters: &[&[SocketAddr]]) {
    let address =
        |address: &SocketAddr| json!({"address": address.ip().to_string(), "port_value": address.port()});
    let resources = &mut config["static_resources"];
    resources["listeners"][0]["address"]["socket_address"] = address(&listens);
    for (cluster, servers) in clusters.iter().enumerate() {
        let endpoints =
            &mut resources["clusters"][cluster]["load_assignment"]["endpoints"][0]["lb_endpoints"];
        for (n, server) in servers.iter().enumerate() {
            endpoints[n]["endpoint"]["address"]["socket_address"] = address(server);
        }
    }
}

/// Gives a registry's cluster the patience that a busy machine needs.
fn be_patient_with(cluster: &mut Value) {
    cluster["connect_timeout"] = json!("30s");
    cluster["health_checks"][0]["timeout"] = json!("30s");
}

/// `deploy/envoy/external-authorization.json` with the test's addresses and key.
fn config(listens: SocketAddr, registry: SocketAddr, backend: SocketAddr) -> Value {
    let text = include_str!("../deploy/envoy/external-authorization.json");
    let mut config: Value = serde_json::from_str(text).expect("JSON");
    place(&mut config, listens, &[&[backend], &[registry]]);
    let resources = &mut config["static_resources"];
    be_patient_with(&mut resources["clusters"][1]);
    let manager = &mut resources["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"];
    let asking = &mut manager["http_filters"][1]["typed_config"]["grpc_service"];
    assert!(asking["timeout"].is_string(), "{asking}");
    asking["timeout"] = json!("30s");
    let keys =
        json!({"keys": [{"kty": "oct", "alg": "HS256", "kid": "test", "k": URL_SAFE_NO_PAD.encode(KEY)}]});
    let provider = &mut manager["http_filters"][0]["typed_config"]["providers"]["access_token"];
    provider["local_jwks"] = json!({"inline_string": keys.to_string()});
    config
}

struct Mesh {
    registry: Registry,
    backend: Backend,
    _envoy: Envoy,
    address: SocketAddr,
}

impl Mesh {
    async fn start() -> Self {
        let registry = Registry::start().await;
        let backend = Backend::start().await;
        let address = free_address();
        let envoy = Envoy::start(&config(address, registry.address, backend.address), address).await;
        Self { registry, backend, _envoy: envoy, address }
    }

    async fn get(&self, headers: &[String]) -> Answer {
        get(self.address, "/", headers).await
    }

    /// Asserts that a request is refused before it comes to the application.
    async fn refuses(&self, headers: &[String], code: u16, reason: &str) {
        let before = self.backend.served();
        let answer = self.get(headers).await;
        assert_eq!((answer.code, answer.body.contains(reason)), (code, true), "{answer:?}");
        let asked_to_log_in =
            answer.headers.iter().any(|header| header.starts_with("www-authenticate: Bearer"));
        assert_eq!(asked_to_log_in, code == 401, "{answer:?}");
        assert_eq!(self.backend.served(), before);
    }
}

#[tokio::test]
async fn a_request_of_a_live_session_comes_through_with_its_user_and_of_a_revoked_one_no_more() {
    let mesh = Mesh::start().await;
    mesh.registry.add("ada", "laptop", "one").await.unwrap();
    let ada = bearer(&json!({"iss": "auth", "sub": "ada", "session": "laptop"}));

    let mut forged = ada.clone();
    forged.push("x-token-registry-user: mallory".to_owned());
    let answer = mesh.get(&forged).await;
    assert_eq!(answer.code, 200, "{answer:?}");
    assert!(answer.body.contains("x-token-registry-user: ada\r\n"), "{answer:?}");
    assert!(answer.body.contains("x-token-registry-session: laptop\r\n"), "{answer:?}");
    assert!(answer.body.contains("x-token-registry-session-expires: "), "{answer:?}");
    assert!(!answer.body.contains("mallory"), "{answer:?}");

    mesh.registry.log_out("ada", "laptop").await;
    mesh.refuses(&ada, 401, "SESSION_REVOKED").await;
}

#[tokio::test]
async fn who_has_no_live_session_is_told_why() {
    let mesh = Mesh::start().await;
    mesh.registry.add("ada", "laptop", "one").await.unwrap();
    let of = |session: &str| bearer(&json!({"iss": "auth", "sub": "ada", "session": session}));
    enable(&mesh.registry, "ada", "laptop", false).await.unwrap();
    mesh.refuses(&of("laptop"), 403, "TOKEN_DISABLED").await;
    enable(&mesh.registry, "ada", "laptop", true).await.unwrap();
    assert_eq!(mesh.get(&of("laptop")).await.code, 200);
    mesh.refuses(&of("unknown"), 401, "SESSION_NOT_FOUND").await;
    set_active(&mesh.registry, "ada", false).await;
    mesh.refuses(&of("laptop"), 403, "USER_INACTIVE").await;

    // A token that was verified and names no session.
    mesh.refuses(&bearer(&json!({"iss": "auth", "sub": "ada"})), 401, "NO_VERIFIED_SESSION").await;
    mesh.refuses(&bearer(&json!({"iss": "auth", "sub": "ada", "session": 7})), 401, "NO_VERIFIED_SESSION")
        .await;
    // None at all, or a forged one: Envoy refuses it before it asks.
    assert_eq!(mesh.get(&[]).await.code, 401);
    let mut forged = of("laptop").remove(0);
    forged.pop();
    assert_eq!(mesh.get(&[forged]).await.code, 401);
}

#[tokio::test]
async fn while_the_registry_is_away_nobody_comes_through() {
    let mut mesh = Mesh::start().await;
    mesh.registry.add("ada", "laptop", "one").await.unwrap();
    let ada = bearer(&json!({"iss": "auth", "sub": "ada", "session": "laptop"}));
    assert_eq!(mesh.get(&ada).await.code, 200);
    mesh.registry.stop();
    mesh.registry.ended().await;
    assert_eq!(mesh.get(&ada).await.code, 503);
    assert_eq!(mesh.backend.served(), 1);
}

#[test]
fn envoy_has_no_more_calls_on_a_connection_than_the_registry_carries() {
    let carried = token_registry::server::CALLS_OF_A_CONNECTION.to_string();
    for (config, count) in [
        (include_str!("../deploy/envoy/proxy.json"), 2),
        (include_str!("../deploy/envoy/external-authorization.json"), 1),
    ] {
        let said = config.split("\"max_concurrent_streams\": ").skip(1);
        let said: Vec<_> =
            said.map(|rest| rest.split(|c: char| !c.is_ascii_digit()).next().unwrap()).collect();
        assert_eq!(said, vec![carried.as_str(); count]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_behind_envoy_are_replaced_one_by_one_without_a_failed_call() {
    let database = fresh_database().await;
    let replica = async |listens: SocketAddr| {
        let listens = listens.to_string();
        let replica = Process::serve(&database.url, &[("TOKEN_REGISTRY_LISTEN", &listens)]);
        replica.serving().await;
        replica
    };
    let addresses = [free_address(), free_address()];
    let mut replicas = [replica(addresses[0]).await, replica(addresses[1]).await];
    let address = free_address();
    let mut config: Value = serde_json::from_str(include_str!("../deploy/envoy/proxy.json")).expect("JSON");
    place(&mut config, address, &[&addresses]);
    be_patient_with(&mut config["static_resources"]["clusters"][0]);
    let administration = free_address();
    config["admin"] = json!({"address": {"socket_address": {
        "address": administration.ip().to_string(), "port_value": administration.port()}}});
    let all_healthy = async || {
        let clusters = get(administration, "/clusters", &[]).await.body;
        clusters.matches("health_flags::healthy").count() == addresses.len()
    };
    let _envoy = Envoy::start(&config, address).await;

    let mut load = Load::start(address, 8);
    load.until_acknowledged(100).await;
    load.tally.took();
    load.until_acknowledged(500).await;
    let quiet = Figures::of(&load, 0);
    let replacements = rounds_or(4);
    for round in 0..replacements {
        let n = round % 2;
        replicas[n].terminate();
        let (status, _) = replicas[n].ended();
        assert!(status.success(), "{status}");
        replicas[n] = replica(addresses[n]).await;
        // Until Envoy knows: else the next replacement would leave nobody.
        until(all_healthy).await;
        until(async || replicas[n].said().contains("\"message\":\"answered\"")).await;
    }
    load.until_acknowledged(100).await;
    let replaced = Figures::of(&load, replacements);
    println!("| two replicas behind Envoy, 8 callers | replaced | calls | failed | p50 | p99 | longest |");
    println!("|---|---|---|---|---|---|---|");
    println!("| left alone {quiet}\n| replaced one by one {replaced}");
    assert_eq!((quiet.failed, replaced.failed), (0, 0), "{:#?}", load.tally.errors());
    load.finish().await;
}

/// What became of the calls since they were last looked at.
struct Figures {
    replacements: usize,
    took: Vec<Duration>,
    /// Since the start.
    failed: usize,
}

impl Figures {
    fn of(load: &Load, replacements: usize) -> Self {
        Self { replacements, took: load.tally.took(), failed: load.tally.failed() }
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { replacements, took, failed } = self;
        let calls = took.len();
        let at = |percent: usize| took[(calls - 1) * percent / 100];
        write!(
            f,
            "| {replacements} | {calls} | {failed} | {:.1?} | {:.1?} | {:.1?} |",
            at(50),
            at(99),
            at(100)
        )
    }
}
