//! The server around the services: health, reflection, request ids, and an end that breaks nothing off.

use std::time::{Duration, Instant};

use prost::bytes::Bytes;
use token_registry::proto::whitelist_service_client::WhitelistServiceClient;
use token_registry::proto::{AddRefreshTokenRequest, CheckSessionRequest, RotationOutcome};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tonic::{Code, Streaming};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use crate::support::process::Process;
use crate::support::proxy::Proxy;
use crate::support::wire::{self, exchange, framed};
use crate::support::{
    Registry, assert_refused, assert_try_again, channel, connect, fresh_database, patiently, until,
    until_waiting_for_locks,
};

const SERVICES: [&str; 4] = [
    "",
    "tokenregistry.v1.WhitelistService",
    "tokenregistry.v1.GenericTokenService",
    "tokenregistry.v1.UserService",
];
const CHECK_SESSION: &str = "/tokenregistry.v1.WhitelistService/CheckSession";

fn about(service: &str) -> HealthCheckRequest {
    HealthCheckRequest { service: service.into() }
}

async fn health(registry: &Registry, service: &str) -> ServingStatus {
    let mut client = HealthClient::new(channel(registry.address));
    client.check(about(service)).await.unwrap().into_inner().status()
}

async fn assert_health(registry: &Registry, expected: ServingStatus) {
    for service in SERVICES {
        assert_eq!(health(registry, service).await, expected, "{service:?}");
    }
    assert_eq!(health(registry, "liveness").await, ServingStatus::Serving);
}

async fn watch(registry: &Registry, service: &str) -> Streaming<HealthCheckResponse> {
    HealthClient::new(channel(registry.address)).watch(about(service)).await.unwrap().into_inner()
}

async fn next(watched: &mut Streaming<HealthCheckResponse>) -> ServingStatus {
    patiently(watched.message()).await.unwrap().expect("the watch goes on").status()
}

#[tokio::test]
async fn health_follows_the_database_by_itself_and_liveness_does_not() {
    let database = fresh_database().await;
    let target = database.url.parse::<tokio_postgres::Config>().unwrap().get_ports()[0];
    let proxy = Proxy::start(([127, 0, 0, 1], target).into());
    proxy.cut();
    let registry = Registry::launch(&database.url_at(proxy.address()), |_| {}, || {}).await;

    let mut watched = watch(&registry, "").await;
    let mut whitelist = watch(&registry, SERVICES[1]).await;
    let mut alive = watch(&registry, "liveness").await;
    assert_eq!(next(&mut watched).await, ServingStatus::NotServing);
    assert_eq!(next(&mut whitelist).await, ServingStatus::NotServing);
    assert_eq!(next(&mut alive).await, ServingStatus::Serving);
    assert_health(&registry, ServingStatus::NotServing).await;
    assert_try_again(registry.add("ada", "laptop", "one").await, "DATABASE_UNAVAILABLE");
    let question = CheckSessionRequest { user_id: "ada".into(), session: "laptop".into() };
    assert_try_again(
        registry.whitelist.clone().check_session(question.clone()).await,
        "DATABASE_UNAVAILABLE",
    );

    proxy.heal();
    assert_eq!(next(&mut watched).await, ServingStatus::Serving);
    assert_eq!(next(&mut whitelist).await, ServingStatus::Serving);
    assert_health(&registry, ServingStatus::Serving).await;
    registry.add("ada", "laptop", "one").await.unwrap();

    proxy.cut();
    assert_eq!(next(&mut watched).await, ServingStatus::NotServing);
    assert_health(&registry, ServingStatus::NotServing).await;
    assert_try_again(registry.whitelist.clone().check_session(question).await, "DATABASE_UNAVAILABLE");

    proxy.heal();
    assert_eq!(next(&mut watched).await, ServingStatus::Serving);
    registry.rotate("ada", "laptop", "one", "two").await.unwrap();
    drop(alive);
}

#[tokio::test]
async fn a_database_that_swallows_everything_makes_not_serving_too() {
    let database = fresh_database().await;
    let target = database.url.parse::<tokio_postgres::Config>().unwrap().get_ports()[0];
    let proxy = Proxy::start(([127, 0, 0, 1], target).into());
    let url = database.url_at(proxy.address());
    let registry =
        Registry::on(&url, |config| config.database_connect_timeout = Duration::from_secs(3)).await;
    let mut watched = watch(&registry, "").await;
    while next(&mut watched).await != ServingStatus::Serving {}
    proxy.black_hole(true);
    assert_eq!(next(&mut watched).await, ServingStatus::NotServing);
    proxy.black_hole(false);
    assert_eq!(next(&mut watched).await, ServingStatus::Serving);
    registry.add("ada", "laptop", "one").await.unwrap();
}

#[tokio::test]
async fn a_service_that_is_not_here_has_no_health() {
    let registry = Registry::start().await;
    let asked = HealthClient::new(channel(registry.address)).check(about("tokenregistry.v1.NoService")).await;
    assert_eq!(asked.unwrap_err().code(), Code::NotFound);
}

macro_rules! services_by_reflection {
    ($registry:expr, $version:ident) => {{
        use tonic_reflection::pb::$version::ServerReflectionRequest;
        use tonic_reflection::pb::$version::server_reflection_client::ServerReflectionClient;
        use tonic_reflection::pb::$version::server_reflection_request::MessageRequest;
        use tonic_reflection::pb::$version::server_reflection_response::MessageResponse;

        let ask = |message: MessageRequest| {
            let mut client = ServerReflectionClient::new(channel($registry.address));
            async move {
                let request = ServerReflectionRequest { host: String::new(), message_request: Some(message) };
                let asked = client.server_reflection_info(tokio_stream::once(request)).await;
                let answer = asked.unwrap().into_inner().message().await.unwrap().unwrap();
                answer.message_response.unwrap()
            }
        };
        for symbol in
            SERVICES[1..].iter().copied().chain(["tokenregistry.v1.RefreshToken", "google.rpc.ErrorInfo"])
        {
            let answer = ask(MessageRequest::FileContainingSymbol(symbol.to_owned())).await;
            assert!(matches!(answer, MessageResponse::FileDescriptorResponse(_)), "{symbol}: {answer:?}");
        }
        match ask(MessageRequest::ListServices(String::new())).await {
            MessageResponse::ListServicesResponse(listed) => {
                listed.service.into_iter().map(|service| service.name).collect::<Vec<_>>()
            }
            other => panic!("{other:?}"),
        }
    }};
}

#[tokio::test]
async fn reflection_lists_the_services_in_both_of_its_versions() {
    let registry = Registry::start().await;
    for listed in [services_by_reflection!(registry, v1), services_by_reflection!(registry, v1alpha)] {
        for service in SERVICES[1..].iter().chain(&["grpc.health.v1.Health"]) {
            assert!(listed.iter().any(|name| name == service), "{service} is not in {listed:?}");
        }
    }
}

#[tokio::test]
async fn a_question_to_reflection_longer_than_a_name_ends_its_stream() {
    use tonic_reflection::pb::v1::ServerReflectionRequest;
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;

    let registry = Registry::start().await;
    let ask = async |name: String| {
        let message_request = Some(MessageRequest::FileContainingSymbol(name));
        let request = ServerReflectionRequest { host: String::new(), message_request };
        let mut client = ServerReflectionClient::new(channel(registry.address));
        client.server_reflection_info(tokio_stream::once(request)).await?.into_inner().message().await
    };
    assert!(ask("tokenregistry.v1.RefreshToken".into()).await.unwrap().is_some());
    // The library ends the stream without a word; what it can read and doesn't know, it says.
    assert_eq!(ask("x".repeat(4000)).await.unwrap_err().code(), Code::NotFound);
    assert!(ask("x".repeat(5000)).await.unwrap().is_none());
}

#[tokio::test]
async fn a_callers_request_id_comes_back_and_a_bad_one_is_replaced() {
    let registry = Registry::start().await;
    let good = framed(&CheckSessionRequest { user_id: "ada".into(), session: "laptop".into() });
    let bad = framed(&CheckSessionRequest::default());
    for (body, code) in [(good, Code::Ok), (bad, Code::InvalidArgument)] {
        let ask = async |headers: &[(&str, &str)]| {
            let answer = exchange(registry.address, CHECK_SESSION, headers, body.clone()).await;
            assert_eq!(answer.status().code(), code);
            answer.header("x-request-id").expect("x-request-id").to_owned()
        };
        assert_eq!(ask(&[("x-request-id", "the-callers_own.id/7")]).await, "the-callers_own.id/7");
        let minted = [
            ask(&[]).await,
            ask(&[("x-request-id", "")]).await,
            ask(&[("x-request-id", "with a space")]).await,
            ask(&[("x-request-id", &"x".repeat(129))]).await,
        ];
        for (n, id) in minted.iter().enumerate() {
            assert!(id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{id}");
            assert!(!minted[..n].contains(id), "{id} comes twice");
        }
    }
}

#[tokio::test]
async fn framing_that_cannot_be_read_is_the_callers_fault() {
    let registry = Registry::start().await;
    let good = framed(&CheckSessionRequest { user_id: "ada".into(), session: "laptop".into() });
    let longer_than_told = [&[0, 0, 0, 0, 1][..], &good[5..]].concat();
    let shorter_than_told = good[..good.len() - 1].to_vec();
    let compressed_with_nothing = [&[1][..], &good[1..]].concat();
    let bad_flag = [&[7][..], &good[1..]].concat();
    let two_gigabytes = [&[0, 0x7f, 0xff, 0xff, 0xff][..], &good[5..]].concat();
    for body in [
        Vec::new(),
        vec![0],
        longer_than_told,
        shorter_than_told,
        compressed_with_nothing,
        bad_flag,
        two_gigabytes,
    ] {
        let answer = exchange(registry.address, CHECK_SESSION, &[], body.clone()).await;
        assert_refused::<()>(Err(answer.status()), Code::InvalidArgument, "INVALID_REQUEST");
    }
    let answer = exchange(registry.address, CHECK_SESSION, &[], good).await;
    assert_eq!(answer.status().code(), Code::Ok);
    let unknown =
        exchange(registry.address, "/tokenregistry.v1.WhitelistService/NoMethod", &[], Vec::new()).await;
    assert_eq!(unknown.status().code(), Code::Unimplemented);
}

#[tokio::test]
async fn a_call_under_way_is_finished_before_the_end() {
    let mut registry = Registry::start().await;
    registry.add("ada", "laptop", "one").await.unwrap();
    let mut sql = registry.sql().await;
    let watching = registry.sql().await;
    let lock = sql.transaction().await.unwrap();
    lock.execute("select from sessions for update", &[]).await.unwrap();
    let mut watched = watch(&registry, "").await;
    while next(&mut watched).await != ServingStatus::Serving {}
    let rotate = {
        let mut client = registry.whitelist.clone();
        let request = token_registry::proto::RotateRefreshTokenRequest {
            user_id: "ada".into(),
            session: "laptop".into(),
            jti: "one".into(),
            new_jti: Some("two".into()),
            client: None,
        };
        tokio::spawn(async move { client.rotate_refresh_token(request).await })
    };
    until_waiting_for_locks(&watching, 1).await;

    registry.stop();
    // Balancers hear of it first.
    assert_eq!(next(&mut watched).await, ServingStatus::NotServing);
    drop(watched);
    lock.commit().await.unwrap();
    let answer = patiently(rotate).await.unwrap().unwrap().into_inner();
    assert_eq!(answer.outcome(), RotationOutcome::Rotated);
    registry.ended().await;
    assert!(TcpStream::connect(registry.address).await.is_err(), "it still listens");
}

#[tokio::test]
async fn the_process_ends_only_when_the_call_under_way_was_answered() {
    let database = fresh_database().await;
    let mut server = Process::serve(&database.url, &[]);
    let mut client = WhitelistServiceClient::new(channel(server.serving().await));
    let add = AddRefreshTokenRequest {
        user_id: "ada".into(),
        session: "laptop".into(),
        jti: "one".into(),
        ..Default::default()
    };
    client.add_refresh_token(add.clone()).await.unwrap();
    let (mut sql, watching) = (connect(&database.url).await, connect(&database.url).await);
    let lock = sql.transaction().await.unwrap();
    lock.execute("select from users for update", &[]).await.unwrap();
    let under_way = tokio::spawn(async move { client.add_refresh_token(add).await });
    until_waiting_for_locks(&watching, 1).await;
    server.terminate();
    until(async || server.said().contains("finishing what is under way")).await;
    lock.commit().await.unwrap();
    patiently(under_way).await.unwrap().unwrap();
    let (status, said) = server.ended();
    assert_eq!(status.code(), Some(0), "{said}");
}

#[tokio::test]
async fn refusals_for_overload_are_a_line_a_second_and_not_one_each() {
    let database = fresh_database().await;
    let small = [("TOKEN_REGISTRY_DATABASE_POOL_SIZE", "1"), ("TOKEN_REGISTRY_DATABASE_POOL_WAIT", "10ms")];
    let since = Instant::now();
    let mut server = Process::serve(&database.url, &small);
    let registry = Registry::reached_at(server.serving().await, &database.url);
    until(async || registry.add("ada", "laptop", "one").await.is_ok()).await;
    let (mut sql, watching) = (registry.sql().await, registry.sql().await);
    let lock = sql.transaction().await.unwrap();
    lock.execute("select from sessions for update", &[]).await.unwrap();
    let holding = registry.another_client();
    let holding = tokio::spawn(async move {
        loop {
            // The one connection may be looking whether the database is there.
            match holding.rotate("ada", "laptop", "one", "two").await {
                Err(error) if error.code() == Code::Unavailable => {}
                other => break other.map(|_| ()),
            }
        }
    });
    until_waiting_for_locks(&watching, 1).await;
    for n in 0..100 {
        assert_try_again(registry.add(&format!("user-{n}"), "laptop", "one").await, "OVERLOADED");
    }
    lock.commit().await.unwrap();
    holding.await.unwrap().unwrap();
    server.terminate();
    let (_, said) = server.ended();
    let lines = said.lines().filter(|line| line.contains("OVERLOADED"));
    let lines: Vec<serde_json::Value> = lines.map(|line| serde_json::from_str(line).unwrap()).collect();
    let told: u64 = lines.iter().map(|line| line["calls"].as_u64().unwrap()).sum();
    assert!(told >= 1 && lines.len() as u64 <= 1 + since.elapsed().as_secs(), "{lines:?}");
}

#[tokio::test]
async fn peers_that_say_nothing_do_not_hold_up_the_end() {
    let mut registry =
        Registry::start_with(|config| config.shutdown_timeout = Duration::from_millis(200)).await;
    let mut silent = TcpStream::connect(registry.address).await.unwrap();
    // One more that opens a call and never sends its message.
    let mut sender = wire::connect(registry.address).await;
    let (unanswered, mut stream) = sender.send_request(wire::request(CHECK_SESSION, &[]), false).unwrap();
    stream.send_data(Bytes::from_static(&[0]), false).unwrap();
    registry.add("ada", "laptop", "one").await.unwrap();
    registry.stop();
    registry.ended().await;
    drop((unanswered, stream));
    // It is let go: the end of the stream, or a reset.
    let _ = patiently(silent.read(&mut [0; 64])).await;
}
