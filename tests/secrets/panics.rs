//! A handler that panics with a secret in its message: the log says where, and not what.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Command, Stdio};
use std::sync::Arc;

use token_registry::config::{Config, LogFormat};
use token_registry::proto::generic_token_service_client::GenericTokenServiceClient;
use token_registry::proto::generic_token_service_server::{GenericTokenService, GenericTokenServiceServer};
use token_registry::proto::{
    CheckGenericTokenRequest, CheckGenericTokenResponse, ConsumeGenericTokenRequest,
    ConsumeGenericTokenResponse, IssueGenericTokenRequest, IssueGenericTokenResponse,
    ListGenericTokensRequest, ListGenericTokensResponse, RevokeGenericTokensRequest,
    RevokeGenericTokensResponse,
};
use token_registry::{connections, server, telemetry};
use tokio::net::TcpListener;
use tonic::{Code, Request, Response, Status};

use super::Canaries;
use crate::support::{channel, patiently};

struct Panicking;

macro_rules! panicking {
    ($($method:ident $request:ident $response:ident,)*) => {
        #[tonic::async_trait]
        impl GenericTokenService for Panicking {
            $(
                async fn $method(&self, request: Request<$request>) -> Result<Response<$response>, Status> {
                    panic!("{request:?}")
                }
            )*
        }
    };
}

panicking! {
    issue_generic_token IssueGenericTokenRequest IssueGenericTokenResponse,
    consume_generic_token ConsumeGenericTokenRequest ConsumeGenericTokenResponse,
    check_generic_token CheckGenericTokenRequest CheckGenericTokenResponse,
    list_generic_tokens ListGenericTokensRequest ListGenericTokensResponse,
    revoke_generic_tokens RevokeGenericTokensRequest RevokeGenericTokensResponse,
}

/// Not a test, but the process that the test below watches: panic hook and log are a process' own.
#[tokio::test]
#[ignore = "run by a_panic_is_logged_without_what_it_says"]
async fn panicking_server() {
    if std::env::var_os("TOKEN_REGISTRY_TEST_PANICS").is_none() {
        return;
    }
    let config = Config { log_format: LogFormat::Json, log_filter: "trace".into(), ..Config::default() };
    let _telemetry = telemetry::start(&config).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("address {}", listener.local_addr().unwrap());
    let metrics = Arc::new(telemetry::Metrics::default());
    server::transport(&metrics, &config)
        .add_service(GenericTokenServiceServer::new(Panicking))
        .serve_with_incoming(connections::incoming(listener, None, &config))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_panic_is_logged_without_what_it_says() {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "secrets::panics::panicking_server", "--ignored", "--nocapture"])
        .env("TOKEN_REGISTRY_TEST_PANICS", "1")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while !line.starts_with("address ") {
        line.clear();
        assert!(out.read_line(&mut line).unwrap() > 0, "it ended");
    }
    let address = line.trim().trim_start_matches("address ").parse().unwrap();

    let mut canaries = Canaries::default();
    let value = canaries.add("a value", "canary-value-in-a-panic");
    let mut client = GenericTokenServiceClient::new(channel(address));
    let mut refusals = String::new();
    // Twice: the connection goes on.
    for _ in 0..2 {
        let consume = ConsumeGenericTokenRequest {
            purpose: "reset".into(),
            value: value.clone(),
            ..Default::default()
        };
        let status = patiently(client.consume_generic_token(consume)).await.unwrap_err();
        assert_eq!(status.code(), Code::Internal, "{status:?}");
        refusals.push_str(status.message());
        refusals.push_str(&String::from_utf8_lossy(status.details()));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(said.matches("this is a bug in token-registry").count(), 2, "{said}");
    assert!(said.contains("\"level\":\"TRACE\""), "nothing is traced");
    canaries.assert_none_in("the log", &said);
    canaries.assert_none_in("a refusal", &refusals);
}
