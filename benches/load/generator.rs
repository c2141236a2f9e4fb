//! The process that makes load: one thread, a few connections, told by lines of JSON on standard input.

use std::collections::HashMap;
use std::io::{BufRead as _, Write as _};
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use serde::{Deserialize, Serialize};

use crate::Failure;
use crate::http2::{Connection, Event};
use crate::requests::{Keys, Method};

/// Connections that a load uses at most, unless told otherwise.
pub const CONNECTIONS: usize = 4;
/// Requests under way on one connection that the registry permits. Beyond, it would refuse them, and end the connection.
const STREAMS: usize = token_registry::server::CALLS_OF_A_CONNECTION as usize;
/// How long answers are waited for after the end.
const DRAIN: Duration = Duration::from_secs(12);

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub enum Order {
    Load(Load),
    /// Opens connections and leaves them open, until the next order.
    Idle {
        address: SocketAddr,
        connections: usize,
    },
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Load {
    pub address: SocketAddr,
    /// Further servers that it is spread over, a connection each in turn.
    pub others: [Option<SocketAddr>; 2],
    pub method: Method,
    /// At most so many connections.
    pub connections: usize,
    /// Closed loop: so many requests are always under way.
    pub in_flight: usize,
    /// Open loop: so many a second, at even distances, however long the answers take.
    pub rate: Option<f64>,
    pub warm_up: Duration,
    pub length: Duration,
    /// No more requests than these.
    pub limit: Option<u64>,
    /// More comes than can be carried out: the server may refuse requests, and where a connection has as many under way
    /// as it may, a further one isn't sent.
    pub overload: bool,
}

/// What came of a load.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Outcome {
    /// Right answers a second.
    pub rate: f64,
    /// Right answers, warm-up included.
    pub answered: u64,
    /// Wrong answers and none.
    pub errors: u64,
    /// Of an overload: requests that were refused, and those that weren't sent.
    pub refused: u64,
    pub unsent: u64,
    /// Latencies, in microseconds.
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
}

/// Follows orders until there are no more.
pub fn generate(sessions: u64, secrets: u64, rotate_all: bool) -> Result<(), Failure> {
    let mut keys = Keys::new(sessions, secrets, rotate_all);
    let mut idle = Vec::new();
    for line in std::io::stdin().lock().lines() {
        idle.clear();
        let outcome = match serde_json::from_str(&line?)? {
            Order::Load(load) => run(&load, &mut keys)?,
            Order::Idle { address, connections } => {
                // Each has asked once: a connection that never did would cost less than a real one.
                for _ in 0..connections {
                    let mut lane = Lane::open(address, Method::Check)?;
                    lane.send(&mut keys, Method::Check, Instant::now());
                    lane.settle(&mut keys, Method::Check)?;
                    idle.push(lane);
                }
                Outcome::default()
            }
        };
        println!("{}", serde_json::to_string(&outcome)?);
        std::io::stdout().flush()?;
    }
    Ok(())
}

struct Waiting {
    since: Instant,
    key: u64,
    /// Whether the message was the right one, once it has come.
    right: Option<bool>,
}

/// A connection and who waits on it.
struct Lane {
    connection: Connection,
    waiting: HashMap<u32, Waiting>,
}

/// An answer: whether its message was the right one, if it had any, and since when it was waited for.
type Answer = (Option<bool>, Instant);

impl Lane {
    fn open(address: SocketAddr, method: Method) -> Result<Self, Failure> {
        Ok(Self { connection: Connection::open(address, method.path())?, waiting: HashMap::new() })
    }

    /// Answers whether there was anything left to ask.
    fn send(&mut self, keys: &mut Keys, method: Method, since: Instant) -> bool {
        let Some((key, message)) = keys.next(method) else { return false };
        let stream = self.connection.request(&message);
        self.waiting.insert(stream, Waiting { since, key, right: None });
        true
    }

    fn receive(
        &mut self,
        buffer: &mut [u8],
        keys: &mut Keys,
        method: Method,
        answers: &mut Vec<Answer>,
    ) -> Result<(), Failure> {
        let Self { connection, waiting } = self;
        connection.receive(buffer, |stream, event| match event {
            Event::Message(bytes) => {
                if let Some(waiting) = waiting.get_mut(&stream) {
                    waiting.right = Some(keys.answered(method, waiting.key, Some(bytes)));
                }
            }
            Event::End => {
                if let Some(waiting) = waiting.remove(&stream) {
                    if waiting.right.is_none() {
                        keys.answered(method, waiting.key, None);
                    }
                    answers.push((waiting.right, waiting.since));
                }
            }
        })?;
        Ok(())
    }

    /// Waits for all answers.
    fn settle(&mut self, keys: &mut Keys, method: Method) -> Result<Vec<Answer>, Failure> {
        let mut answers = Vec::new();
        let until = Instant::now() + DRAIN;
        while !self.waiting.is_empty() {
            self.connection.flush()?;
            if Instant::now() > until {
                return Err(format!("{} requests were not answered in {DRAIN:?}", self.waiting.len()).into());
            }
            wait(std::slice::from_ref(self), DRAIN)?;
            self.receive(&mut vec![0; 64 * 1024], keys, method, &mut answers)?;
        }
        Ok(answers)
    }
}

/// Waits until a socket can be read or, where something is left to write, written.
fn wait(lanes: &[Lane], at_most: Duration) -> Result<(), Failure> {
    let mut sockets: Vec<_> = lanes
        .iter()
        .map(|lane| {
            let write = lane.connection.has_more_to_write();
            let flags = if write { PollFlags::POLLIN | PollFlags::POLLOUT } else { PollFlags::POLLIN };
            PollFd::new(lane.connection.socket.as_fd(), flags)
        })
        .collect();
    match ppoll(&mut sockets, Some(TimeSpec::from_duration(at_most)), None) {
        Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// What the answers were.
#[derive(Default)]
struct Told {
    right: u64,
    errors: u64,
    refused: u64,
}

impl Told {
    fn count(&mut self, right: Option<bool>, overload: bool) {
        *match right {
            Some(true) => &mut self.right,
            None if overload => &mut self.refused,
            _ => &mut self.errors,
        } += 1;
    }
}

/// The times at which the requests of an open loop are meant to start.
struct Schedule {
    begun: Instant,
    interval: Duration,
    started: u32,
}

impl Schedule {
    fn due(&self) -> Instant {
        self.begun + self.interval * self.started
    }
}

fn run(load: &Load, keys: &mut Keys) -> Result<Outcome, Failure> {
    let method = load.method;
    let connections =
        if load.rate.is_some() { load.connections } else { load.connections.min(load.in_flight) };
    let servers = std::iter::once(load.address).chain(load.others.into_iter().flatten());
    let mut lanes = servers
        .cycle()
        .take(connections)
        .map(|server| Lane::open(server, method))
        .collect::<Result<Vec<_>, _>>()?;
    keys.overload = load.overload;
    let mut histogram = Histogram::<u64>::new_with_bounds(1, 60_000_000_000, 3)?;
    let (mut sent, mut unsent) = (0_u64, 0_u64);
    let mut told = Told::default();
    let limit = load.limit.unwrap_or(u64::MAX);
    let mut buffer = vec![0; 64 * 1024];
    let mut answers = Vec::new();

    let begun = Instant::now();
    let measured_from = begun + load.warm_up;
    let end = measured_from + load.length;
    let mut schedule =
        load.rate.map(|rate| Schedule { begun, interval: Duration::from_secs_f64(1.0 / rate), started: 0 });
    if schedule.is_none() {
        for n in 0..load.in_flight {
            let lane = n % lanes.len();
            sent += u64::from(sent < limit && lanes[lane].send(keys, method, begun));
        }
    }
    let ended = loop {
        let now = Instant::now();
        let under_way: usize = lanes.iter().map(|lane| lane.waiting.len()).sum();
        if now >= end || (under_way == 0 && schedule.is_none()) {
            break now;
        }
        let mut pause = end - now;
        if let Some(schedule) = &mut schedule {
            while schedule.due() <= now {
                let lane = lanes.iter_mut().min_by_key(|lane| lane.waiting.len());
                match lane.filter(|lane| lane.waiting.len() < STREAMS) {
                    Some(lane) => {
                        lane.send(keys, method, schedule.due());
                    }
                    None if load.overload => unsent += 1,
                    // Sent as soon as there is room; it waits since it was due.
                    None => break,
                }
                schedule.started += 1;
            }
            let until_due = schedule.due().saturating_duration_since(now);
            if !until_due.is_zero() {
                pause = pause.min(until_due);
            }
        }
        for lane in &mut lanes {
            lane.connection.flush()?;
        }
        wait(&lanes, pause)?;
        let now = Instant::now();
        for lane in &mut lanes {
            lane.receive(&mut buffer, keys, method, &mut answers)?;
            for (right, since) in answers.drain(..) {
                told.count(right, load.overload);
                if right == Some(true) && now >= measured_from && now < end {
                    histogram.saturating_record(u64::try_from((now - since).as_nanos())?);
                }
                if schedule.is_none() && now < end && sent < limit {
                    sent += u64::from(lane.send(keys, method, now));
                }
            }
        }
    };
    for lane in &mut lanes {
        for (right, _) in lane.settle(keys, method)? {
            told.count(right, load.overload);
        }
    }
    let measured = ended.min(end).saturating_duration_since(measured_from).as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "counts and nanoseconds of minutes")]
    let (count, at) =
        (histogram.len() as f64, |quantile| histogram.value_at_quantile(quantile) as f64 / 1000.0);
    Ok(Outcome {
        rate: if measured > 0.0 { count / measured } else { 0.0 },
        answered: told.right,
        errors: told.errors,
        refused: told.refused,
        unsent,
        p50: at(0.5),
        p90: at(0.9),
        p99: at(0.99),
        p999: at(0.999),
        max: at(1.0),
    })
}
