//! What a run has: a database, servers on it, and ways to reach them.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tonic::transport::{Channel, Endpoint};

use crate::contract::caller::Caller;
use crate::contract::words::Names;
use crate::judge::{History, JUDGES, read_again};
use crate::options::{Gathering, Plan};
use crate::postgres::Cluster;
use crate::proxy::Proxy;
use crate::replica::Replica;
use crate::tally::Tally;

/// How many links callers have to each server.
const CHANNELS: usize = 3;

/// How long callers wait for an answer.
const DEADLINE: Duration = Duration::from_secs(2);

/// A run.
pub struct Arena {
    pub plan: Plan,
    pub tally: Tally,
    pub cluster: Cluster,
    pub replicas: Vec<Replica>,
    /// Between the last server and the database, if there are two servers or more.
    pub proxy: Option<Proxy>,
    /// When each server last answered, by the tally's clock.
    pub last_answer: Vec<AtomicU64>,
    channels: Vec<Vec<Channel>>,
    /// Histories that wait for a kill, to be read back after it.
    parked: Mutex<Vec<History>>,
    judges: mpsc::Sender<Option<History>>,
    stop: AtomicBool,
    until: Instant,
    /// Kept for as long as the servers write to them.
    _logs: tempfile::TempDir,
}

/// How many histories wait for a kill at most.
const PARKED_MAX: usize = 400;

impl Arena {
    /// Starts everything, and waits until all servers answer.
    pub async fn open(plan: Plan) -> (Self, mpsc::Receiver<Option<History>>) {
        let logs = tempfile::tempdir().expect("a directory for logs");
        let cluster = tokio::task::spawn_blocking({
            let lazy = plan.bug == Some("held-in-memory");
            move || {
                // What that bug doesn't wait for is then long in coming.
                let lazily: &[_] = &[("wal_writer_delay", "10s"), ("wal_writer_flush_after", "1GB")];
                let settings = [("max_connections", "200")];
                if lazy {
                    Cluster::start(&[&settings[..], lazily].concat())
                } else {
                    Cluster::start(&settings)
                }
            }
        })
        .await
        .expect("PostgreSQL starts");
        let url = cluster.url("postgres");
        let proxy = (plan.replicas > 1).then(|| Proxy::start(cluster.address()));
        let replicas: Vec<_> = (0..plan.replicas)
            .map(|n| {
                let is_last = n + 1 == plan.replicas;
                let url = match &proxy {
                    Some(proxy) if is_last => {
                        url.replace(&cluster.address().to_string(), &proxy.address().to_string())
                    }
                    _ => url.clone(),
                };
                let gathering = match plan.gathering {
                    Gathering::On => true,
                    Gathering::Off => false,
                    Gathering::Mixed => n % 2 == 0,
                };
                Replica::start(&url, &logs.path().join(format!("server-{n}.log")), gathering, plan.bug)
            })
            .collect();
        let channels = replicas.iter().map(|replica| (0..CHANNELS).map(|_| channel(replica)).collect());
        let channels = channels.collect();
        let last_answer = replicas.iter().map(|_| AtomicU64::new(0)).collect();
        let (judges, histories) = mpsc::channel(256);
        let until = Instant::now() + plan.time;
        let arena = Self {
            plan,
            tally: Tally::new(),
            cluster,
            replicas,
            proxy,
            last_answer,
            channels,
            parked: Mutex::default(),
            judges,
            stop: AtomicBool::new(false),
            until,
            _logs: logs,
        };
        (arena, histories)
    }

    /// A caller to each server, to speak about one user.
    pub fn callers(&self, user_id: &str, names: &Arc<Mutex<Names>>, n: usize) -> Vec<Caller> {
        let channels = self.channels.iter().map(|to_server| to_server[n % to_server.len()].clone());
        channels
            .map(|channel| Caller { deadline: DEADLINE, ..Caller::new(channel, user_id, names) })
            .collect()
    }

    /// Whether the run goes on.
    pub fn goes_on(&self) -> bool {
        !self.stop.load(Relaxed) && Instant::now() < self.until
    }

    /// Ends the run early.
    pub fn stop(&self) {
        self.stop.store(true, Relaxed);
    }

    /// Takes note of a server's answer.
    pub fn answered(&self, server: usize, when: u64) {
        self.last_answer[server].fetch_max(when, Relaxed);
    }

    /// A party is over: its history waits for a kill, or goes to the judges if that takes too long.
    pub async fn park(&self, history: History) {
        let oldest = {
            let mut parked = self.parked.lock().unwrap_or_else(PoisonError::into_inner);
            parked.push(history);
            let is_full = parked.len() > PARKED_MAX || self.plan.faults.is_empty();
            is_full.then(|| parked.remove(0))
        };
        if let Some(oldest) = oldest {
            self.judge(oldest).await;
        }
    }

    /// After a kill: everything that was acknowledged before it is read back.
    pub async fn read_back(self: &Arc<Self>) {
        let parked = std::mem::take(&mut *self.parked.lock().unwrap_or_else(PoisonError::into_inner));
        let mut readers = tokio::task::JoinSet::new();
        for history in parked {
            while readers.len() >= 16 {
                readers.join_next().await;
            }
            let arena = Arc::clone(self);
            readers.spawn(async move {
                let history = read_again(&arena, history).await;
                arena.judge(history).await;
            });
        }
        while readers.join_next().await.is_some() {}
    }

    /// At the end: what is still parked.
    pub async fn judge_the_rest(self: &Arc<Self>) {
        self.read_back().await;
        for _ in 0..JUDGES {
            let _ = self.judges.send(None).await;
        }
    }

    async fn judge(&self, history: History) {
        // The judges end early only when they have found enough.
        let _ = self.judges.send(Some(history)).await;
    }

    /// Ends the servers.
    pub fn close(&self) {
        for replica in &self.replicas {
            replica.kill();
        }
    }
}

fn channel(replica: &Replica) -> Channel {
    Endpoint::from_shared(format!("http://{}", replica.address))
        .expect("an address")
        .connect_timeout(Duration::from_millis(500))
        .tcp_nodelay(true)
        .connect_lazy()
}
