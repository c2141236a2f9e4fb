//! The bounds that are settings of the HTTP/2 library: that each is set, and holds.

use std::sync::Arc;
use std::time::Duration;

use token_registry::config::Config;
use token_registry::server::transport;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::codegen::http::StatusCode;

use super::http2::{
    ACK, Connection, END_HEADERS, HEADERS, PING, PREFACE, PRIORITY, RST_STREAM, call_headers, depends_on,
    frame, settings,
};
use crate::support::{Registry, patiently, wire};

const CHECK: &str = "/tokenregistry.v1.WhitelistService/CheckSession";
const GOAWAY: u8 = 7;
const REFUSED_STREAM: [u8; 4] = 7_u32.to_be_bytes();
const ENHANCE_YOUR_CALM: [u8; 4] = 11_u32.to_be_bytes();

/// What the server says to all this and a ping after it, until it answers the ping or closes: kind, stream and payload
/// of each frame.
async fn said_to(frames: &[u8]) -> Vec<(u8, u32, Vec<u8>)> {
    let registry = Registry::start().await;
    let mut stream = TcpStream::connect(registry.address).await.unwrap();
    let bytes = [PREFACE, &settings(&[]), frames, &frame(PING, 0, 0, b"the end!")].concat();
    // It may close before it has read all.
    let _ = stream.write_all(&bytes).await;
    let mut said = Vec::new();
    let reading = async {
        let mut head = [0; 9];
        while stream.read_exact(&mut head).await.is_ok() {
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; usize::try_from(length).unwrap()];
            if stream.read_exact(&mut payload).await.is_err() || (head[3], head[4]) == (PING, ACK) {
                break;
            }
            said.push((head[3], u32::from_be_bytes([head[5], head[6], head[7], head[8]]), payload));
        }
    };
    patiently(reading).await;
    said
}

/// Whether the connection was ended because of too much of something.
fn was_calmed(said: &[(u8, u32, Vec<u8>)]) -> bool {
    said.iter().any(|(kind, _, payload)| *kind == GOAWAY && payload[4..8] == ENHANCE_YOUR_CALM)
}

/// So many calls, each with these frames after its headers.
fn calls(count: u32, after: impl Fn(u32) -> Vec<u8>) -> Vec<u8> {
    let streams = (0..count).map(|n| 2 * n + 1);
    let call = |stream| [frame(HEADERS, END_HEADERS, stream, &call_headers(CHECK)), after(stream)].concat();
    streams.flat_map(call).collect()
}

#[tokio::test]
async fn a_stream_beyond_the_100_that_are_granted_is_refused() {
    let said = said_to(&calls(101, |_| Vec::new())).await;
    let refused =
        said.iter().filter(|(kind, ..)| *kind == RST_STREAM).map(|(_, stream, why)| (*stream, &**why));
    assert_eq!(refused.collect::<Vec<_>>(), [(201, &REFUSED_STREAM[..])]);
}

#[tokio::test]
async fn who_makes_the_server_reset_streams_again_and_again_is_let_go() {
    // Few enough that none is refused for being one too many.
    let wrong = |stream| frame(PRIORITY, 0, stream, &depends_on(stream));
    assert!(!was_calmed(&said_to(&calls(90, wrong)).await));
    assert!(was_calmed(&said_to(&calls(300, wrong)).await));
}

#[tokio::test]
async fn who_resets_calls_before_they_are_taken_up_is_let_go() {
    let reset = |stream| frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes());
    assert!(!was_calmed(&said_to(&calls(15, reset)).await));
    assert!(was_calmed(&said_to(&calls(500, reset)).await));
}

#[tokio::test]
async fn headers_over_16_kib_are_refused() {
    let registry = Registry::start().await;
    for (length, status) in [(15_000, StatusCode::OK), (17_000, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE)]
    {
        let long = "y".repeat(length);
        let mut sender = wire::connect(registry.address).await;
        let (response, _) = sender.send_request(wire::request(CHECK, &[("x-long", &long)]), true).unwrap();
        assert_eq!(patiently(response).await.unwrap().status(), status, "{length}");
    }
}

/// Time is the runtime's, which jumps to what is waited for when there is nothing else to do.
#[tokio::test(start_paused = true)]
async fn a_peer_that_answers_no_pings_is_let_go() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (_, health) = tonic_health::server::health_reporter();
    let server = transport(&Arc::default(), &Config::default()).add_service(health);
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    let mut silent = Connection::open(address, &[]).await.unwrap();
    timeout(Duration::from_mins(10), silent.closed()).await.expect("it is closed");
}
