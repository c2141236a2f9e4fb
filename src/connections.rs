//! Connections: how many there may be, how long one may take to say what it is, and an end to one that leaves answers
//! lying.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::ready;
use futures_util::stream::unfold;
use futures_util::task::AtomicWaker;
use futures_util::{Stream, StreamExt as _};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, sleep, timeout};
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;
use tonic::transport::server::Connected;

use crate::access::Place;
use crate::config::Config;
use crate::tls::Tls;

/// What HTTP/2 begins with: the preface, and the head of the first frame.
const OPENING: usize = 24 + 9;
/// Files that a server has open besides connections and the database's: standard streams, listeners, the runtime's.
const OTHER_FILES: usize = 100;
/// How long to wait when no connection can be accepted, mostly for want of files.
const PAUSE: Duration = Duration::from_millis(100);

/// What a connection goes over.
pub type Secured = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// The connections that come to a listener, encrypted where there is a certificate.
///
/// When there are as many as may be, further ones wait in the system's queue for one that ends. Hands are shaken side by
/// side, so a peer that takes its time, or says nothing, holds up no other; but by one task, so that a flood of
/// handshakes takes no more than one processor from the calls.
pub fn incoming(
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
    config: &Config,
) -> impl Stream<Item = io::Result<Connection<Secured>>> {
    let places = Arc::new(Semaphore::new(places(config)));
    let patience = config.peer_timeout;
    let accepted = unfold((listener, places), |(listener, places)| async move {
        // It is never closed.
        let place = Arc::clone(&places).acquire_owned().await.ok()?;
        let stream = loop {
            match listener.accept().await {
                Ok((stream, _)) => break stream,
                Err(error) => {
                    tracing::warn!(%error, "can't accept connections");
                    sleep(PAUSE).await;
                }
            }
        };
        // Without it they are slower, and right.
        let _ = stream.set_nodelay(true);
        Some(((stream, place), (listener, places)))
    });
    let shaken = accepted.map(move |(stream, place)| {
        let tls = tls.clone();
        async move {
            let address = stream.peer_addr().ok();
            let (stream, names) = match tls {
                None => (Either::Left(stream), Vec::new()),
                Some(tls) => match timeout(patience, tls.accept(stream)).await {
                    Ok(Ok((stream, names))) => (Either::Right(Box::new(stream)), names),
                    Ok(Err(error)) => {
                        tracing::debug!(%error, peer = ?address, "a peer and we can't agree on TLS");
                        return None;
                    }
                    Err(_) => return None,
                },
            };
            let peer =
                Peer { address, names: names.into(), hang_up: Arc::default(), place: Place::default() };
            Some(Ok(Connection::new(stream, peer, place, patience)))
        }
    });
    shaken.buffer_unordered(config.max_connections).filter_map(ready)
}

/// How many connections there may be: what is configured, or fewer where the process may not open so many files, since
/// without one the database can't be reached either.
fn places(config: &Config) -> usize {
    let configured = config.max_connections;
    let Some(files) = std::fs::read_to_string("/proc/self/limits").ok().as_deref().and_then(open_files)
    else {
        return configured;
    };
    let possible = files.saturating_sub(OTHER_FILES + config.database_pool_size).max(1);
    if possible < configured {
        tracing::warn!(
            max_connections = possible,
            configured,
            open_files = files,
            "fewer connections than configured: the limit of open files (ulimit -n, LimitNOFILE) allows no more"
        );
    }
    possible.min(configured)
}

/// The soft limit in `Max open files  1024  524288  files`.
fn open_files(limits: &str) -> Option<usize> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Who is at the other end: in the extensions of every request of a connection.
#[derive(Debug, Clone)]
pub struct Peer {
    /// The address, when the system could tell.
    pub address: Option<SocketAddr>,
    /// The names in the certificate that it has shown: of type URI, such as SPIFFE ids, and DNS.
    pub names: Arc<[String]>,
    /// Ends the connection.
    pub hang_up: Arc<HangUp>,
    /// Where a call of the connection waits for its JWT to be verified.
    pub place: Place,
}

/// Ends a connection from elsewhere.
#[derive(Debug, Default)]
pub struct HangUp {
    wanted: AtomicBool,
    waker: AtomicWaker,
}

impl HangUp {
    /// Ends the connection, with all of its calls.
    pub fn now(&self) {
        self.wanted.store(true, Ordering::Release);
        self.waker.wake();
    }

    fn is_wanted(&self, cx: &Context<'_>) -> bool {
        // In this order: who wants it afterwards wakes us.
        self.waker.register(cx.waker());
        self.wanted.load(Ordering::Acquire)
    }
}

/// A peer's connection, which ends by itself when HTTP/2 doesn't begin in time. Once it has, keep-alive pings find out
/// whether anybody is there.
#[derive(Debug)]
pub struct Connection<S> {
    stream: S,
    peer: Peer,
    opening: Option<Opening>,
    /// Given back with the connection.
    _place: OwnedSemaphorePermit,
}

#[derive(Debug)]
struct Opening {
    /// Bytes that are still to come.
    left: usize,
    limit: Pin<Box<Sleep>>,
}

impl<S> Connection<S> {
    fn new(stream: S, peer: Peer, place: OwnedSemaphorePermit, patience: Duration) -> Self {
        let opening = Some(Opening { left: OPENING, limit: Box::pin(sleep(patience)) });
        Self { stream, peer, opening, _place: place }
    }
}

impl<S> Connected for Connection<S> {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Connection<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.peer.hang_up.is_wanted(cx) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        let read = buffer.filled().len() - before;
        if let Some(opening) = &mut self.opening {
            opening.left = opening.left.saturating_sub(read);
            if opening.left == 0 {
                self.opening = None;
            } else if polled.is_pending() && opening.limit.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        // A peer that reads nothing at all keeps us here.
        if self.peer.hang_up.is_wanted(cx) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.peer.hang_up.is_wanted(cx) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_of_open_files_is_read_as_linux_writes_it() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units     \n\
                      Max processes             95741                95741                processes \n\
                      Max open files            1024                 524288               files     \n";
        assert_eq!(open_files(limits), Some(1024));
        assert_eq!(open_files(&limits.replace("1024  ", "unlimited")), None);
        assert_eq!(open_files(""), None);
    }
}
