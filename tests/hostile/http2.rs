//! HTTP/2 as bytes: frames and headers that no library would send.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// One frame. Its length is what it is; `kind`, `flags` and `stream` are what the caller says.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short frame").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// `SETTINGS` with these.
pub fn settings(settings: &[(u16, u32)]) -> Vec<u8> {
    let payload: Vec<u8> = settings
        .iter()
        .flat_map(|(key, value)| [&key.to_be_bytes()[..], &value.to_be_bytes()].concat())
        .collect();
    frame(SETTINGS, 0, 0, &payload)
}

/// What `PRIORITY` says of a stream that depends on this one. Of itself, it is an error of the stream alone, which the
/// receiver has to reset.
pub fn depends_on(stream: u32) -> Vec<u8> {
    [&stream.to_be_bytes()[..], &[16]].concat()
}

/// HPACK's integer with a prefix of so many bits, after the bits of `first`.
fn integer(first: u8, bits: u8, value: usize) -> Vec<u8> {
    let most = (1_usize << bits) - 1;
    if value < most {
        return vec![first | u8::try_from(value).expect("less than the prefix holds")];
    }
    let mut bytes = vec![first | u8::try_from(most).expect("at most eight bits")];
    let mut rest = value - most;
    while rest >= 128 {
        bytes.push(u8::try_from(rest % 128).expect("seven bits") | 128);
        rest /= 128;
    }
    bytes.push(u8::try_from(rest).expect("seven bits"));
    bytes
}

/// A header as HPACK has it: literal, not indexed.
pub fn header(name: &str, value: &str) -> Vec<u8> {
    [&[0][..], &integer(0, 7, name.len()), name.as_bytes(), &integer(0, 7, value.len()), value.as_bytes()]
        .concat()
}

/// The same, put into the peer's dynamic table.
pub fn indexed_header(name: &str, value: &str) -> Vec<u8> {
    let mut bytes = header(name, value);
    bytes[0] = 0x40;
    bytes
}

/// The headers of a call.
pub fn call_headers(path: &str) -> Vec<u8> {
    [
        header(":method", "POST"),
        header(":scheme", "http"),
        header(":path", path),
        header(":authority", "registry"),
        header("content-type", "application/grpc"),
        header("te", "trailers"),
    ]
    .concat()
}

/// A message as gRPC frames it.
pub fn framed(flag: u8, message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).expect("a short message");
    [&[flag][..], &length.to_be_bytes(), message].concat()
}

/// A connection to attack with. What the server says is read and thrown away, unless the attack is not to read.
pub struct Connection {
    reading: Option<OwnedReadHalf>,
    writing: OwnedWriteHalf,
}

impl Connection {
    /// TCP alone.
    pub async fn plain(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (reading, writing) = stream.into_split();
        Ok(Self { reading: Some(reading), writing })
    }

    /// With the preface and these settings sent.
    pub async fn open(address: SocketAddr, with: &[(u16, u32)]) -> io::Result<Self> {
        let mut connection = Self::plain(address).await?;
        connection.send(&[PREFACE, &settings(with)].concat()).await?;
        Ok(connection)
    }

    /// Begins to read, and to answer what keeps a connection alive: settings and pings.
    pub fn polite(mut self) -> Polite {
        let reading = self.reading.take().expect("it isn't read yet");
        let writing = Arc::new(Mutex::new(self.writing));
        let window = Arc::new(AtomicI64::new(65_535));
        let answering = tokio::spawn(answer(reading, Arc::clone(&writing), Arc::clone(&window)));
        Polite { writing, window, answering }
    }

    /// Sends bytes; an error means that the server closed.
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.writing.write_all(bytes).await
    }

    /// Reads until the server closes.
    pub async fn closed(&mut self) {
        let Some(reading) = &mut self.reading else { return };
        let mut bytes = vec![0; 16 * 1024];
        while reading.read(&mut bytes).await.is_ok_and(|read| read > 0) {}
    }

    /// Reads what is there and throws it away, so that the server's answers don't hold it up.
    pub fn drain(&mut self) {
        let Some(reading) = &mut self.reading else { return };
        let mut bytes = [0; 16 * 1024];
        while reading.try_read(&mut bytes).is_ok_and(|read| read > 0) {}
    }
}

/// A connection that is read and keeps itself alive.
pub struct Polite {
    writing: Arc<Mutex<OwnedWriteHalf>>,
    window: Arc<AtomicI64>,
    answering: JoinHandle<()>,
}

impl Polite {
    /// Sends bytes; an error means that the server closed.
    pub async fn send(&self, bytes: &[u8]) -> io::Result<()> {
        self.writing.lock().await.write_all(bytes).await
    }

    /// Takes so many bytes of `DATA` out of the connection's window, once they are in it.
    pub async fn take_window(&self, bytes: usize) {
        let bytes = i64::try_from(bytes).expect("few bytes");
        while self.window.load(Ordering::Relaxed) < bytes && !self.is_closed() {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        self.window.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Whether the server has closed.
    pub fn is_closed(&self) -> bool {
        self.answering.is_finished()
    }
}

impl Drop for Polite {
    fn drop(&mut self) {
        self.answering.abort();
    }
}

async fn answer(mut reading: OwnedReadHalf, writing: Arc<Mutex<OwnedWriteHalf>>, window: Arc<AtomicI64>) {
    let mut head = [0; 9];
    while reading.read_exact(&mut head).await.is_ok() {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let mut payload = vec![0; usize::try_from(length).expect("24 bits")];
        if reading.read_exact(&mut payload).await.is_err() {
            return;
        }
        let ack = match (head[3], head[4] & ACK) {
            (SETTINGS, 0) => frame(SETTINGS, ACK, 0, &[]),
            (PING, 0) => frame(PING, ACK, 0, &payload),
            (WINDOW_UPDATE, _) if stream == 0 => {
                let more = <[u8; 4]>::try_from(&payload[..]).map_or(0, u32::from_be_bytes);
                window.fetch_add(i64::from(more), Ordering::Relaxed);
                continue;
            }
            _ => continue,
        };
        if writing.lock().await.write_all(&ack).await.is_err() {
            return;
        }
    }
}
