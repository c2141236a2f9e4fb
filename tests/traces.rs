//! Traces: what a collector gets, in its callers' traces, and nothing that is secret.

use std::fmt::Write as _;

use opentelemetry_proto::tonic::trace::v1::Span;
use token_registry::proto::{AddRefreshTokenRequest, ClientInfo, IssueGenericTokenRequest};
use tonic::Request;

use crate::support::collector::{Collector, SOON};
use crate::support::process::Process;
use crate::support::{Registry, fresh_database, until};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";
/// Spans are not sent before the end.
const LATE: (&str, &str) = ("OTEL_BSP_SCHEDULE_DELAY", "3600000");

fn traced<T>(message: T, flags: &str) -> Request<T> {
    let mut request = Request::new(message);
    let parent = format!("00-{TRACE}-{PARENT}-{flags}");
    request.metadata_mut().insert("traceparent", parent.parse().unwrap());
    request
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

fn add(session: &str) -> AddRefreshTokenRequest {
    AddRefreshTokenRequest {
        user_id: "canary-user".into(),
        session: session.into(),
        jti: "canary-jti".into(),
        client: Some(ClientInfo { user_agent: Some("canary-agent/1.0".into()), ..Default::default() }),
        ..Default::default()
    }
}

// The collector answers while the test waits for the process.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_and_its_round_trips_are_spans_of_its_callers_trace() {
    let database = fresh_database().await;
    let (collector, address) = Collector::start().await;
    let mut server = Process::serve(
        &database.url,
        &[
            ("TOKEN_REGISTRY_TRACES_ENDPOINT", &address),
            ("TOKEN_REGISTRY_TRACES_PERCENT", "0"),
            ("TOKEN_REGISTRY_LOG_FILTER", "info,token_registry=trace"),
            SOON,
            ("TOKEN_REGISTRY_GATHERING", "true"),
        ],
    );
    let registry = Registry::reached_at(server.serving().await, &database.url);
    registry.whitelist.clone().add_refresh_token(traced(add("one"), "01")).await.unwrap();
    // Its caller decides: not this one, and of those who say nothing none either.
    registry.whitelist.clone().add_refresh_token(traced(add("two"), "00")).await.unwrap();
    registry.whitelist.clone().add_refresh_token(add("three")).await.unwrap();
    let refused = traced(AddRefreshTokenRequest { jti: "other".into(), ..add("one") }, "01");
    registry.whitelist.clone().add_refresh_token(refused).await.unwrap_err();
    let issue = IssueGenericTokenRequest {
        user_id: "canary-user".into(),
        purpose: "canary-purpose".into(),
        ..Default::default()
    };
    let value =
        registry.generic.clone().issue_generic_token(traced(issue, "01")).await.unwrap().into_inner().value;
    let mut sessions = tokio::task::JoinSet::new();
    for n in 0..100 {
        let mut client = registry.another_client().whitelist;
        sessions.spawn(async move { client.add_refresh_token(traced(add(&n.to_string()), "01")).await });
    }
    for added in sessions.join_all().await {
        added.unwrap();
    }
    let calls = || -> Vec<Span> {
        collector.spans().into_iter().filter(|span| hex(&span.parent_span_id) == PARENT).collect()
    };
    until(async || calls().len() == 103).await;
    server.terminate();
    let (status, said) = server.ended();
    assert_eq!(status.code(), Some(0), "{said}");

    let spans = collector.spans();
    for span in &spans {
        assert_eq!(hex(&span.trace_id), TRACE, "{span:?}");
    }
    let calls = calls();
    assert_eq!(calls.len(), 103, "{calls:?}");
    let named = |name: &str| calls.iter().filter(|span| span.name == name).count();
    assert_eq!(named("tokenregistry.v1.WhitelistService/AddRefreshToken"), 102);
    assert_eq!(named("tokenregistry.v1.GenericTokenService/IssueGenericToken"), 1);
    let shown = format!("{calls:?}");
    for word in ["SESSION_EXISTS", "rpc.grpc.status_code"] {
        assert!(shown.contains(word), "{word} in {shown}");
    }
    // What a call did at the database is a child of it.
    let below = |span: &&Span| calls.iter().any(|call| call.span_id == span.parent_span_id);
    let trips: Vec<_> = spans.iter().filter(below).map(|span| span.name.as_str()).collect();
    for trip in ["session/add.sql", "session/get_taken.sql", "open_session"] {
        assert!(trips.contains(&trip), "{trip} is not in {trips:?}");
    }

    let everything = format!("{spans:?}");
    for secret in [value.as_str(), "canary"] {
        assert!(!everything.contains(secret), "{secret} in {everything}");
    }
    // The log has lines of its own, and none about these.
    assert!(said.contains("\"outcome\":\"SESSION_EXISTS\""), "{said}");
    assert!(!said.contains("otel.name"), "{said}");
}

// The collector answers while the test waits for the process.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_sent_yet_is_sent_at_the_end() {
    let database = fresh_database().await;
    let (collector, address) = Collector::start().await;
    let mut server = Process::serve(&database.url, &[("TOKEN_REGISTRY_TRACES_ENDPOINT", &address), LATE]);
    let registry = Registry::reached_at(server.serving().await, &database.url);
    registry.whitelist.clone().add_refresh_token(traced(add("one"), "01")).await.unwrap();
    assert!(collector.spans().is_empty());
    server.terminate();
    assert_eq!(server.ended().0.code(), Some(0));
    assert!(collector.spans().iter().any(|span| hex(&span.parent_span_id) == PARENT));
}

// The collector answers while the test waits for the process.
#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_not_there_holds_up_nobody() {
    let database = fresh_database().await;
    let mut server = Process::serve(
        &database.url,
        &[("TOKEN_REGISTRY_TRACES_ENDPOINT", "http://127.0.0.1:1"), ("TOKEN_REGISTRY_TRACES_PERCENT", "100")],
    );
    let registry = Registry::reached_at(server.serving().await, &database.url);
    registry.add("ada", "laptop", "one").await.unwrap();
    registry.rotate("ada", "laptop", "one", "two").await.unwrap();
    server.terminate();
    assert_eq!(server.ended().0.code(), Some(0));
}
