//! A client's side of HTTP/2, no more of it than a bench needs, so that the load generator takes little of the
//! processors that it shares with what it measures: requests are written from templates, and answers are looked at
//! only where their message begins and ends.
//!
//! Headers of answers aren't decoded. A gRPC server that refuses a call sends no message, so one that came with its
//! message was carried out.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const FRAME_HEAD: usize = 9;
/// What we let the server send before we tell it to go on; told again when half of it is used.
const WINDOW: u32 = 1 << 30;

/// What happened on a stream.
pub enum Event<'a> {
    /// The answer's message, or its last part.
    Message(&'a [u8]),
    /// The end. Nothing follows.
    End,
}

/// A connection with one method of one service.
pub struct Connection {
    pub socket: TcpStream,
    /// Header block of the first request, which leaves its fields in the peer's table.
    first: Option<Vec<u8>>,
    next_stream: u32,
    received: Vec<u8>,
    out: Vec<u8>,
    /// Requests that the peer has no window for yet, and how much each needs.
    held: VecDeque<(i64, Vec<u8>)>,
    window: i64,
    unacknowledged: u32,
}

impl Connection {
    pub fn open(address: SocketAddr, path: &str) -> io::Result<Self> {
        let socket = TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
        let mut connection = Self {
            socket,
            first: Some(first_headers(path, &address.to_string())),
            next_stream: 1,
            received: Vec::with_capacity(64 * 1024),
            out: PREFACE.to_vec(),
            held: VecDeque::new(),
            window: 65_535,
            unacknowledged: 0,
        };
        // SETTINGS_ENABLE_PUSH 0.
        frame(&mut connection.out, SETTINGS, 0, 0, &[0, 2, 0, 0, 0, 0]);
        frame(&mut connection.out, WINDOW_UPDATE, 0, 0, &(WINDOW - 65_535).to_be_bytes());
        Ok(connection)
    }

    /// Adds a request to what [`Self::flush`] writes; answers its stream.
    pub fn request(&mut self, message: &[u8]) -> u32 {
        let stream = self.next_stream;
        self.next_stream += 2;
        let mut bytes = Vec::with_capacity(message.len() + 64);
        // Entries 65 to 62 of the table, where `first_headers` put its literals: the last one has the lowest number.
        let again = [0x83, 0x86, 0xc1, 0xc0, 0xbf, 0xbe];
        match self.first.take() {
            Some(first) => frame(&mut bytes, HEADERS, END_HEADERS, stream, &first),
            None => frame(&mut bytes, HEADERS, END_HEADERS, stream, &again),
        }
        let length = u32::try_from(message.len()).expect("a message of a bench is short");
        let size = length + 5;
        head(&mut bytes, size, DATA, END_STREAM, stream);
        bytes.push(0);
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(message);
        let size = i64::from(size);
        if self.window >= size && self.held.is_empty() {
            self.window -= size;
            self.out.extend_from_slice(&bytes);
        } else {
            self.held.push_back((size, bytes));
        }
        stream
    }

    /// Writes what the socket takes.
    pub fn flush(&mut self) -> io::Result<()> {
        while !self.out.is_empty() {
            match self.socket.write(&self.out) {
                Ok(written) => drop(self.out.drain(..written)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    pub fn has_more_to_write(&self) -> bool {
        !self.out.is_empty()
    }

    /// Reads once, and tells of each event on each stream.
    pub fn receive(&mut self, buffer: &mut [u8], mut tell: impl FnMut(u32, Event<'_>)) -> io::Result<()> {
        match self.socket.read(buffer) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(read) => self.received.extend_from_slice(&buffer[..read]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
        let received = std::mem::take(&mut self.received);
        let mut rest = received.as_slice();
        while let Some((head, after)) = rest.split_first_chunk::<FRAME_HEAD>() {
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let Some((payload, after)) = after.split_at_checked(length) else { break };
            let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & (u32::MAX >> 1);
            self.frame(head[3], head[4], stream, payload, &mut tell)?;
            rest = after;
        }
        self.received.extend_from_slice(rest);
        self.let_the_held_go();
        Ok(())
    }

    fn frame(
        &mut self,
        kind: u8,
        flags: u8,
        stream: u32,
        payload: &[u8],
        tell: &mut impl FnMut(u32, Event<'_>),
    ) -> io::Result<()> {
        match kind {
            DATA => {
                self.unacknowledged += u32::try_from(payload.len()).expect("a frame has at most 16 MiB");
                if self.unacknowledged > WINDOW / 2 {
                    frame(&mut self.out, WINDOW_UPDATE, 0, 0, &self.unacknowledged.to_be_bytes());
                    self.unacknowledged = 0;
                }
                if flags & PADDED != 0 {
                    return Err(io::Error::other("padding is not expected of the server"));
                }
                if !payload.is_empty() {
                    tell(stream, Event::Message(payload));
                }
            }
            RST_STREAM => tell(stream, Event::End),
            SETTINGS if flags & ACK == 0 => frame(&mut self.out, SETTINGS, ACK, 0, &[]),
            PING if flags & ACK == 0 => frame(&mut self.out, PING, ACK, 0, payload),
            GOAWAY => return Err(io::Error::other("the server ended the connection")),
            WINDOW_UPDATE if stream == 0 => {
                let increment = payload.try_into().map(u32::from_be_bytes).unwrap_or_default();
                self.window += i64::from(increment);
            }
            _ => {}
        }
        if matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0 {
            tell(stream, Event::End);
        }
        Ok(())
    }

    fn let_the_held_go(&mut self) {
        while let Some((size, bytes)) = self.held.pop_front_if(|(size, _)| *size <= self.window) {
            self.window -= size;
            self.out.extend_from_slice(&bytes);
        }
    }
}

fn head(out: &mut Vec<u8>, length: u32, kind: u8, flags: u8, stream: u32) {
    out.extend_from_slice(&length.to_be_bytes()[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
}

fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    head(out, u32::try_from(payload.len()).expect("frames of a bench are short"), kind, flags, stream);
    out.extend_from_slice(payload);
}

/// `:method POST` and `:scheme http` out of the static table, and four literals that enter the dynamic one, as those of
/// a real client do.
fn first_headers(path: &str, authority: &str) -> Vec<u8> {
    let mut block = vec![0x83, 0x86];
    let mut literal = |name: u8, own_name: &str, value: &str| {
        block.push(0x40 | name);
        for text in [own_name, value] {
            if name == 0 || text == value {
                block.push(u8::try_from(text.len()).expect("names of a bench are short"));
                block.extend_from_slice(text.as_bytes());
            }
        }
    };
    literal(4, "", path);
    literal(1, "", authority);
    literal(31, "", "application/grpc");
    literal(0, "te", "trailers");
    block
}
