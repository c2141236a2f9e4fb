//! The bounds that hold off hostile peers, one by one.

use std::net::SocketAddr;
use std::time::Duration;

use h2::client::{ResponseFuture, SendRequest};
use prost::Message as _;
use prost::bytes::Bytes;
use token_registry::proto::{CheckSessionRequest, ListRefreshTokensRequest};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tonic::{Code, Status};

use super::RICH;
use super::attacks::RICH_USER;
use super::http2::{Connection, HEADERS, PREFACE, frame};
use crate::support::wire::{self, framed};
use crate::support::{Registry, assert_refused, patiently, until};

const CHECK: &str = "/tokenregistry.v1.WhitelistService/CheckSession";
const BATCH: &str = "/tokenregistry.v1.WhitelistService/BatchCheckSessions";
const LIST: &str = "/tokenregistry.v1.WhitelistService/ListRefreshTokens";
/// Longer than any test.
const LONG: Duration = Duration::from_mins(10);
/// What a test waits for.
const SHORT: Duration = Duration::from_millis(300);

/// A connection whose answers have a window of so many bytes.
async fn with_window(address: SocketAddr, window: u32) -> SendRequest<Bytes> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (sender, connection) =
        h2::client::Builder::new().initial_window_size(window).handshake(stream).await.unwrap();
    tokio::spawn(connection);
    sender.ready().await.unwrap()
}

/// Asks for a page of 500, and doesn't read it.
async fn ask_for_list(sender: &mut SendRequest<Bytes>) -> ResponseFuture {
    let list = ListRefreshTokensRequest { user_id: RICH_USER.into(), page_size: 500, ..Default::default() };
    let mut ready = sender.clone().ready().await.unwrap();
    let (response, mut stream) = ready.send_request(wire::request(LIST, &[]), false).unwrap();
    stream.send_data(Bytes::from(framed(&list)), true).unwrap();
    response
}

/// How a call was refused at once.
async fn refused_at_once(response: ResponseFuture) -> Option<Status> {
    Status::from_header_map(response.await.ok()?.headers())
}

async fn with_rich_user(peer_timeout: Duration) -> Registry {
    let registry = Registry::start_with(|config| config.peer_timeout = peer_timeout).await;
    registry.sql().await.batch_execute(RICH).await.unwrap();
    registry
}

#[tokio::test]
async fn a_peer_that_does_not_begin_is_let_go_and_one_that_has_begun_is_not() {
    let registry = Registry::start_with(|config| config.peer_timeout = SHORT).await;
    let mut begun = wire::connect(registry.address).await;
    let mut silent = Connection::plain(registry.address).await.unwrap();
    let mut half = Connection::plain(registry.address).await.unwrap();
    half.send(PREFACE).await.unwrap();
    let mut halves = Connection::plain(registry.address).await.unwrap();
    halves.send(&[PREFACE, &frame(HEADERS, 0, 1, &[])[..8]].concat()).await.unwrap();
    patiently(async {
        silent.closed().await;
        half.closed().await;
        halves.closed().await;
    })
    .await;
    // It has said no more than its opening in all this time.
    let (response, mut stream) = begun.send_request(wire::request(CHECK, &[]), false).unwrap();
    let check = CheckSessionRequest { user_id: "ada".into(), session: "laptop".into() };
    stream.send_data(Bytes::from(framed(&check)), true).unwrap();
    patiently(response).await.unwrap();
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_for_a_place() {
    let registry = Registry::start_with(|config| config.max_connections = 1).await;
    let check = framed(&CheckSessionRequest { user_id: "ada".into(), session: "laptop".into() });
    let mut first = wire::connect(registry.address).await;
    wire::exchange_on(&mut first, CHECK, &[], check.clone()).await.unwrap();
    let mut second = wire::connect(registry.address).await;
    let asked = check.clone();
    let waiting = tokio::spawn(async move { wire::exchange_on(&mut second, CHECK, &[], asked).await });
    // All of these are asked later, and answered.
    for _ in 0..50 {
        wire::exchange_on(&mut first, CHECK, &[], check.clone()).await.unwrap();
    }
    assert!(!waiting.is_finished());
    drop(first);
    patiently(waiting).await.unwrap().unwrap();
}

#[tokio::test]
async fn connections_that_say_nothing_give_their_places_back() {
    let registry = Registry::start_with(|config| {
        config.peer_timeout = SHORT;
        config.max_connections = 2;
    })
    .await;
    let silent = [TcpStream::connect(registry.address).await, TcpStream::connect(registry.address).await];
    patiently(registry.add("ada", "laptop", "one")).await.unwrap();
    drop(silent);
}

#[tokio::test]
async fn a_request_that_does_not_come_whole_is_refused() {
    let registry = Registry::start_with(|config| config.peer_timeout = SHORT).await;
    let mut sender = wire::connect(registry.address).await;
    let (response, mut stream) = sender.send_request(wire::request(CHECK, &[]), false).unwrap();
    stream.send_data(Bytes::from_static(&[0, 0, 0, 1, 0, 0x0a]), false).unwrap();
    let status = patiently(refused_at_once(response)).await.expect("a refusal");
    assert_refused::<()>(Err(status), Code::InvalidArgument, "INVALID_REQUEST");
}

#[tokio::test]
async fn requests_that_are_not_whole_hold_so_much_memory_and_no_more() {
    let registry = Registry::start_with(|config| config.peer_timeout = LONG).await;
    let message = vec![0; 1_000_000];
    let held = Bytes::from([&[0, 0, 0x0f, 0x42, 0x40][..], &message[1..]].concat());
    let (mut senders, mut held_calls, mut answers) = (Vec::new(), Vec::new(), JoinSet::new());
    for _ in 0..10 {
        let sender = wire::connect(registry.address).await;
        for _ in 0..10 {
            let mut ready = sender.clone().ready().await.unwrap();
            let (response, mut stream) = ready.send_request(wire::request(BATCH, &[]), false).unwrap();
            stream.send_data(held.clone(), false).unwrap();
            held_calls.push(stream);
            answers.spawn(refused_at_once(response));
        }
        senders.push(sender);
    }
    // A hundred of them are more than may be; those that are refused give back what they held.
    let status = patiently(answers.join_next()).await.unwrap().unwrap().expect("a refusal");
    assert_refused::<()>(Err(status), Code::Unavailable, "OVERLOADED");
    // What is small gets in.
    registry.add("ada", "laptop", "one").await.unwrap();
}

#[tokio::test]
async fn an_answer_that_nobody_takes_ends_its_connection() {
    let registry = with_rich_user(SHORT).await;
    for window in [0, 1, 40_000] {
        let mut sender = with_window(registry.address, window).await;
        let response = ask_for_list(&mut sender).await;
        let mut body = patiently(response).await.unwrap().into_body();
        // What the window lets through, and then the end: not of the answer, but of the connection.
        let end = patiently(async {
            loop {
                match body.data().await {
                    Some(Ok(_)) => {}
                    other => break other,
                }
            }
        });
        assert!(matches!(end.await, Some(Err(_))), "with a window of {window}");
    }
    // A caller who reads has all of it.
    let list = ListRefreshTokensRequest { user_id: RICH_USER.into(), page_size: 500, ..Default::default() };
    let listed = registry.whitelist.clone().list_refresh_tokens(list).await.unwrap().into_inner();
    assert_eq!(listed.tokens.len(), 500);
    assert!(listed.encoded_len() > 100_000);
}

#[tokio::test]
async fn long_answers_that_nobody_takes_are_few() {
    let registry = with_rich_user(LONG).await;
    let mut sender = with_window(registry.address, 0).await;
    let mut answers = Vec::new();
    for _ in 0..32 {
        // One after the other, so that the pool suffices.
        let response = patiently(ask_for_list(&mut sender).await).await.unwrap();
        assert!(response.headers().get("grpc-status").is_none(), "{response:?}");
        answers.push(response);
    }
    let refused = patiently(refused_at_once(ask_for_list(&mut sender).await)).await.expect("a refusal");
    assert_refused::<()>(Err(refused), Code::Unavailable, "OVERLOADED");
    // Others are answered, and one place is enough for the next.
    registry.add("ada", "laptop", "one").await.unwrap();
    answers.pop();
    until(async || {
        let response = patiently(ask_for_list(&mut sender).await).await.unwrap();
        response.headers().get("grpc-status").is_none()
    })
    .await;
}
