//! A network between the server and its database, or between a client and the server, that fails on demand.

mod messages;

use std::future;
use std::io;
use std::mem;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use messages::Messages;

use super::postgres::free_listener;

/// A TCP proxy on 127.0.0.1, running on a thread of its own, so that a test
/// that blocks does not hold up its network.
///
/// Every method has taken effect when it returns.
pub struct Proxy {
    address: SocketAddr,
    state: Arc<State>,
    black_hole: watch::Sender<bool>,
    orders: mpsc::UnboundedSender<Order>,
    thread: Option<JoinHandle<()>>,
}

/// What the proxy's thread is told to do, with whom to tell when it is done.
enum Order {
    Cut(oneshot::Sender<()>),
    Heal(oneshot::Sender<io::Result<()>>),
}

/// What all connections look at.
struct State {
    /// Where new connections are forwarded to.
    target: Mutex<SocketAddr>,
    trap: Mutex<Option<Trap>>,
    sprung: AtomicUsize,
    /// How many bytes of answers are forwarded before their connection is cut.
    allowance: Mutex<Option<usize>>,
    /// How long all bytes are held back, in microseconds.
    delay: AtomicU64,
}

/// Waits for a request that is to be left without an answer.
enum Trap {
    Any,
    Containing(Vec<u8>),
}

/// The connection of one client.
struct Link {
    state: Arc<State>,
    /// Whether the bytes are PostgreSQL's protocol; no others are looked into.
    is_postgres: bool,
    black_hole: watch::Receiver<bool>,
    /// Bytes have been swallowed. Nothing may be forwarded from then on, as the
    /// sides would take one answer for another, which no network has them do.
    lossy: AtomicBool,
    /// Which request is to be left without an answer, counted from one.
    trapped: AtomicUsize,
    /// Offers to encrypt that the server has yet to refuse, in a byte each that
    /// is no message.
    offers: AtomicUsize,
}

impl Proxy {
    /// A proxy that forwards to the PostgreSQL at `target`, whether or not
    /// anything listens there yet. A client whose connection cannot be
    /// forwarded is reset.
    pub fn start(target: SocketAddr) -> Self {
        Self::start_for(target, true)
    }

    /// As [`Proxy::start`], for any other protocol: there are no traps for its
    /// requests.
    pub fn of_bytes(target: SocketAddr) -> Self {
        Self::start_for(target, false)
    }

    fn start_for(target: SocketAddr, is_postgres: bool) -> Self {
        let (listener, address) = free_listener().expect("a port is free");
        listener.set_nonblocking(true).expect("a listener can be made non-blocking");
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime can be built");
        let listener = {
            let _entered = runtime.enter();
            TcpListener::from_std(listener).expect("the runtime takes a listener")
        };
        let state = Arc::new(State {
            target: Mutex::new(target),
            trap: Mutex::default(),
            sprung: AtomicUsize::default(),
            allowance: Mutex::default(),
            delay: AtomicU64::default(),
        });
        let black_hole = watch::Sender::new(false);
        let (orders, ordered) = mpsc::unbounded_channel();
        let link = Link {
            state: Arc::clone(&state),
            is_postgres,
            black_hole: black_hole.subscribe(),
            lossy: AtomicBool::new(false),
            trapped: AtomicUsize::new(0),
            offers: AtomicUsize::new(0),
        };
        let work = run(listener, address, link, ordered);
        let thread = thread::Builder::new()
            .name("proxy".to_owned())
            .spawn(move || Runtime::block_on(&runtime, work))
            .expect("a thread can be started");
        Self { address, state, black_hole, orders, thread: Some(thread) }
    }

    /// Where clients connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Forwards new connections to another target: an address that moves. Those that are there stay.
    pub fn lead_to(&self, target: SocketAddr) {
        *self.state.target.lock().unwrap_or_else(PoisonError::into_inner) = target;
    }

    /// Resets all connections, and refuses new ones until [`Proxy::heal`].
    pub fn cut(&self) {
        self.order(Order::Cut);
    }

    /// Accepts connections again.
    pub fn heal(&self) {
        self.order(Order::Heal).expect("the port is still free");
    }

    /// Begins or ends to swallow all bytes while connections stay open, closed
    /// ones included: neither side hears of the other's end.
    ///
    /// A connection that has lost bytes cannot be used any more and is reset
    /// at the end. One that has been idle all the while goes on.
    pub fn black_hole(&self, swallowing: bool) {
        self.black_hole.send_replace(swallowing);
    }

    /// Forwards the next request of a client, swallows the server's answer,
    /// and resets the connection once the answer is complete: what was asked
    /// for has been done and the client cannot know.
    ///
    /// To connect, to prepare a statement, to begin a transaction and to
    /// forget a statement are requests as well; a test that means one among
    /// several had better use [`Proxy::cut_after_request_containing`].
    pub fn cut_after_next_request(&self) {
        self.set_trap(Trap::Any);
    }

    /// As [`Proxy::cut_after_next_request`], for the next request that
    /// contains `text`: `COMMIT`, say, or the bytes of a parameter. The text of
    /// a prepared statement is in the request that prepares it, not in those
    /// that execute it.
    pub fn cut_after_request_containing(&self, text: &str) {
        assert!(!text.is_empty(), "an empty text is in every request");
        self.set_trap(Trap::Containing(text.as_bytes().to_vec()));
    }

    /// Forwards so many more bytes of answers, of all connections together, and
    /// resets the one that would get the next: in the midst of an answer, or
    /// before or after one, as it comes. Once; [`Proxy::let_everything_through`]
    /// takes it back.
    pub fn cut_after_bytes(&self, bytes: usize) {
        *self.state.allowance.lock().unwrap_or_else(PoisonError::into_inner) = Some(bytes);
    }

    /// Takes [`Proxy::cut_after_bytes`] back.
    pub fn let_everything_through(&self) {
        *self.state.allowance.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Holds back all bytes, in both directions, for this long; zero is as
    /// fast as before.
    pub fn slow_down(&self, delay: Duration) {
        let micros = u64::try_from(delay.as_micros()).expect("a delay for a test");
        self.state.delay.store(micros, Ordering::SeqCst);
    }

    /// How many requests have been left without an answer so far, or with a
    /// part of one, for a test to see that its failure has taken place.
    pub fn unanswered(&self) -> usize {
        self.state.sprung.load(Ordering::SeqCst)
    }

    fn set_trap(&self, trap: Trap) {
        *self.state.trap.lock().unwrap_or_else(PoisonError::into_inner) = Some(trap);
    }

    fn order<T: Send>(&self, order: impl FnOnce(oneshot::Sender<T>) -> Order) -> T {
        let (done, outcome) = oneshot::channel();
        self.orders.send(order(done)).unwrap_or_else(|_| panic!("the proxy has ended"));
        // A thread, as a runtime's own may not block on a channel of Tokio's.
        thread::scope(|scope| {
            scope.spawn(|| outcome.blocking_recv()).join().expect("the wait for the proxy does not panic")
        })
        .expect("the proxy carries out its orders")
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // The end of the orders ends the thread.
        self.orders = mpsc::unbounded_channel().0;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn run(
    listener: TcpListener,
    address: SocketAddr,
    model: Link,
    mut orders: mpsc::UnboundedReceiver<Order>,
) {
    let mut listener = Some(listener);
    let mut links = JoinSet::new();
    let mut cut = watch::Sender::new(());
    loop {
        tokio::select! {
            biased;
            order = orders.recv() => match order {
                None => break,
                Some(Order::Cut(done)) => {
                    listener = None;
                    // Its end is the signal.
                    cut = watch::Sender::new(());
                    while links.join_next().await.is_some() {}
                    let _ = done.send(());
                }
                Some(Order::Heal(done)) => {
                    let outcome = match listener {
                        Some(_) => Ok(()),
                        None => bind_again(address).await.map(|bound| {
                            listener = Some(bound);
                        }),
                    };
                    let _ = done.send(outcome);
                }
            },
            Some(_) = links.join_next() => {}
            client = accept(listener.as_ref()) => {
                // One that gave up before it was accepted is none.
                if let Ok(client) = client {
                    links.spawn(serve(model.another(), client, cut.subscribe()));
                }
            }
        }
    }
}

/// Listens where it did before. What has taken the port meanwhile is another test's, and goes.
async fn bind_again(address: SocketAddr) -> io::Result<TcpListener> {
    for _ in 0..200 {
        match TcpListener::bind(address).await {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            bound => return bound,
        }
    }
    TcpListener::bind(address).await
}

async fn accept(listener: Option<&TcpListener>) -> io::Result<TcpStream> {
    match listener {
        Some(listener) => listener.accept().await.map(|(client, _)| client),
        None => future::pending().await,
    }
}

/// Forwards a connection until its end, which is a reset for both sides unless
/// they have closed it themselves.
async fn serve(link: Link, mut client: TcpStream, mut cut: watch::Receiver<()>) {
    let target = *link.state.target.lock().unwrap_or_else(PoisonError::into_inner);
    let mut server = tokio::select! {
        biased;
        _ = cut.changed() => return reset(&client),
        connected = TcpStream::connect(target) => match connected {
            Ok(server) => server,
            Err(_) => return reset(&client),
        },
    };
    for side in [&client, &server] {
        // Without it the answers just come later.
        let _ = side.set_nodelay(true);
    }
    let closed = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let forwarding = async {
            tokio::try_join!(link.requests(from_client, to_server), link.answers(from_server, to_client),)
        };
        tokio::select! {
            biased;
            _ = cut.changed() => false,
            () = link.lossy_after_black_hole() => false,
            forwarded = forwarding => forwarded.is_ok(),
        }
    };
    if !closed {
        reset(&client);
        reset(&server);
    }
}

/// Has the connection end with a reset when it is dropped.
fn reset(side: &TcpStream) {
    // One that has ended by itself refuses, which is as good.
    let _ = side.set_zero_linger();
}

impl Link {
    /// The same for another connection.
    fn another(&self) -> Self {
        Self {
            state: Arc::clone(&self.state),
            is_postgres: self.is_postgres,
            black_hole: self.black_hole.clone(),
            lossy: AtomicBool::new(false),
            trapped: AtomicUsize::new(0),
            offers: AtomicUsize::new(0),
        }
    }

    /// Forwards from the client to the server.
    async fn requests(&self, mut from: ReadHalf<'_>, mut to: WriteHalf<'_>) -> io::Result<()> {
        let mut buffer = vec![0; 64 * 1024];
        let mut messages = Messages::of_client();
        let mut asked = 0;
        let mut caught = false;
        loop {
            let read = self.read(&mut from, &mut buffer).await?;
            if read == 0 {
                return to.shutdown().await;
            }
            self.delay().await;
            if !self.is_postgres {
                to.write_all(&buffer[..read]).await?;
                continue;
            }
            // Before the end of the request is forwarded, so that its answer
            // cannot have come yet.
            messages.take(&buffer[..read], |kind, message, _| {
                caught |= self.springs_trap(message);
                match kind {
                    // An offer to encrypt, which nothing else is as short as.
                    None if message.len() == 8 => {
                        self.offers.fetch_add(1, Ordering::SeqCst);
                    }
                    // The start, a query, a function's call, or the end of a
                    // series of the extended protocol.
                    None | Some(b'Q' | b'F' | b'S') => {
                        asked += 1;
                        if mem::take(&mut caught) {
                            self.trapped.store(asked, Ordering::SeqCst);
                        }
                    }
                    Some(_) => {}
                }
            });
            to.write_all(&buffer[..read]).await?;
        }
    }

    /// Forwards from the server to the client.
    async fn answers(&self, mut from: ReadHalf<'_>, mut to: WriteHalf<'_>) -> io::Result<()> {
        let mut buffer = vec![0; 64 * 1024];
        let mut messages = Messages::default();
        let mut answered = 0;
        loop {
            let read = self.read(&mut from, &mut buffer).await?;
            self.delay().await;
            let allowed = self.allowed(read);
            if allowed < read {
                to.write_all(&buffer[..allowed]).await?;
                self.state.sprung.fetch_add(1, Ordering::SeqCst);
                return Err(io::ErrorKind::ConnectionReset.into());
            }
            if !self.is_postgres {
                if read == 0 {
                    return to.shutdown().await;
                }
                to.write_all(&buffer[..read]).await?;
                continue;
            }
            let trapped = self.trapped.load(Ordering::SeqCst);
            let refusals = self.offers.swap(0, Ordering::SeqCst).min(read);
            let mut forwarded = if answered + 1 == trapped { 0 } else { read };
            messages.take(&buffer[refusals..read], |kind, _, end| {
                // Ready for the next query: not at the first bytes, as a long
                // answer begins before what was asked for is committed.
                if kind == Some(b'Z') {
                    answered += 1;
                    if answered + 1 == trapped {
                        forwarded = refusals + end;
                    }
                }
            });
            if trapped > 0 && (answered >= trapped || read == 0) {
                self.state.sprung.fetch_add(1, Ordering::SeqCst);
                return Err(io::ErrorKind::ConnectionReset.into());
            }
            if read == 0 {
                return to.shutdown().await;
            }
            to.write_all(&buffer[..forwarded]).await?;
        }
    }

    async fn delay(&self) {
        let delay = self.state.delay.load(Ordering::SeqCst);
        if delay > 0 {
            tokio::time::sleep(Duration::from_micros(delay)).await;
        }
    }

    /// How many of so many bytes of an answer may be forwarded.
    fn allowed(&self, read: usize) -> usize {
        let mut allowance = self.state.allowance.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(left) = *allowance else { return read };
        *allowance = left.checked_sub(read);
        left.min(read)
    }

    /// The next bytes to be forwarded, or none at their end.
    async fn read(&self, from: &mut ReadHalf<'_>, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = from.read(buffer).await;
            if !*self.black_hole.borrow() && !self.lossy.load(Ordering::SeqCst) {
                return read;
            }
            self.lossy.store(true, Ordering::SeqCst);
            if !read.is_ok_and(|read| read > 0) {
                // The end is swallowed as well.
                return future::pending().await;
            }
        }
    }

    /// Whether a message is waited for. No other will be, then.
    fn springs_trap(&self, message: &[u8]) -> bool {
        self.state
            .trap
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take_if(|trap| match trap {
                Trap::Any => true,
                Trap::Containing(text) => message.windows(text.len()).any(|part| part == text),
            })
            .is_some()
    }

    /// Returns when there is no black hole any more and bytes have been lost
    /// in it.
    async fn lossy_after_black_hole(&self) {
        let mut black_hole = self.black_hole.clone();
        while black_hole.changed().await.is_ok() {
            if !*black_hole.borrow_and_update() && self.lossy.load(Ordering::SeqCst) {
                return;
            }
        }
        // The proxy is about to end.
        future::pending::<()>().await;
    }
}
