//! What a run has: a database, servers on it, and ways to reach them.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::IteratorRandom as _;
use token_registry::proto::maintenance_service_client::MaintenanceServiceClient;
use tokio::sync::mpsc;
use tonic::transport::{Channel, Endpoint};

use crate::contract::caller::Caller;
use crate::contract::history::{Event, NEVER};
use crate::contract::words::{Call, KeyModel, Names};
use crate::database::Database;
use crate::disk::Disk;
use crate::judge::{History, JUDGES, read_again};
use crate::options::{Gathering, Only, Plan};
use crate::proxy::Proxy;
use crate::replica::Replica;
use crate::tally::Tally;

/// How many links callers have to each server.
const CHANNELS: usize = 3;

/// How large the database's disk is, if it is to be full at times.
const DISK_MEGABYTES: usize = 512;

/// How long callers wait for an answer.
const DEADLINE: Duration = Duration::from_secs(2);

/// A run.
pub struct Arena {
    pub plan: Plan,
    pub tally: Tally,
    pub database: Database,
    pub replicas: Vec<Replica>,
    /// Between some callers and the first server.
    pub front: Proxy,
    /// From when until when a primary that was replaced may still have been read.
    unfenced: Mutex<(u64, u64)>,
    /// From when until when there were purges.
    purges: Mutex<Vec<(u64, u64)>>,
    /// When each server last answered, by the tally's clock.
    pub last_answer: Vec<AtomicU64>,
    channels: Vec<Vec<Channel>>,
    /// Histories that wait for a kill, to be read back after it.
    parked: Mutex<Vec<History>>,
    judges: mpsc::Sender<Option<History>>,
    /// Users whose history was checked.
    checked: mpsc::UnboundedSender<String>,
    stop: AtomicBool,
    until: Instant,
    /// Kept for as long as the servers write to them.
    _logs: tempfile::TempDir,
}

/// Histories that are over, until there is `None` for each judge.
pub type Histories = mpsc::Receiver<Option<History>>;
/// Users whose history was checked.
pub type Checked = mpsc::UnboundedReceiver<String>;

/// How many histories wait for a kill at most.
const PARKED_MAX: usize = 400;

impl Arena {
    /// Starts everything, and waits until all servers answer.
    pub async fn open(mut plan: Plan) -> (Self, Histories, Checked) {
        let logs = tempfile::tempdir().expect("a directory for logs");
        let servers = usize::from(plan.replicas);
        let lazy = plan.bug == Some("held-in-memory");
        let with_pgbouncer = servers > 2 && !plan.faults.is_empty();
        let disk =
            plan.fills_disk().then(|| Disk::mount(DISK_MEGABYTES, "the fault of a full disk")).flatten();
        if disk.is_none() {
            plan.faults.retain(|(_, fault)| *fault != Only::FillDisk);
        }
        let database = tokio::task::spawn_blocking(move || Database::start(lazy, with_pgbouncer, disk));
        let database = database.await.expect("PostgreSQL starts");
        let replicas: Vec<_> = (0..servers)
            .map(|n| {
                let url = database.url(database.way(n, servers));
                let gathering = match plan.gathering {
                    Gathering::On => true,
                    Gathering::Off => false,
                    Gathering::Mixed => n % 2 == 0,
                };
                let log = logs.path().join(format!("server-{n}.log"));
                Replica::start(&url, &log, gathering, model_of(n), plan.bug)
            })
            .collect();
        let front = Proxy::of_bytes(replicas[0].address);
        let mut channels: Vec<Vec<_>> = replicas
            .iter()
            .map(|replica| (0..CHANNELS).map(|_| channel(replica.address)).collect())
            .collect();
        channels[0][0] = channel(front.address());
        let last_answer = replicas.iter().map(|_| AtomicU64::new(0)).collect();
        let (judges, histories) = mpsc::channel(256);
        let (checked, deletions) = mpsc::unbounded_channel();
        let until = Instant::now() + plan.time;
        let arena = Self {
            plan,
            tally: Tally::new(),
            database,
            replicas,
            front,
            unfenced: Mutex::new((u64::MAX, 0)),
            purges: Mutex::default(),
            last_answer,
            channels,
            parked: Mutex::default(),
            judges,
            checked,
            stop: AtomicBool::new(false),
            until,
            _logs: logs,
        };
        (arena, histories, deletions)
    }

    /// A caller to each server, to speak about one user.
    pub fn callers(&self, user_id: &str, names: &Arc<Mutex<Names>>, n: usize) -> Vec<Caller> {
        let channels = self.channels.iter().map(|to_server| to_server[n % to_server.len()].clone());
        channels
            .map(|channel| Caller { deadline: DEADLINE, ..Caller::new(channel, user_id, names) })
            .collect()
    }

    /// The models of API keys that there are servers of.
    pub fn models(&self) -> Vec<KeyModel> {
        (0..self.replicas.len().min(2)).map(model_of).collect()
    }

    /// Any of the servers that take such a call.
    pub fn server_for(&self, call: &Call, rng: &mut StdRng) -> usize {
        let takes_it = |server: &usize| call.model().is_none_or(|model| model == model_of(*server));
        (0..self.replicas.len()).filter(takes_it).choose(rng).expect("callers know what servers there are")
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

    /// From now on a primary that was replaced may still be read; until it is told that it isn't any more.
    pub fn is_unfenced(&self) {
        *self.unfenced.lock().unwrap_or_else(PoisonError::into_inner) = (self.tally.now(), u64::MAX);
    }

    /// The primary that was replaced is gone.
    pub fn is_fenced(&self) {
        self.unfenced.lock().unwrap_or_else(PoisonError::into_inner).1 = self.tally.now();
    }

    /// Whether an answer between these times may have come from a primary that was replaced.
    pub fn may_be_stale(&self, began: u64, ended: u64) -> bool {
        let (from, until) = *self.unfenced.lock().unwrap_or_else(PoisonError::into_inner);
        ended >= from && began <= until
    }

    /// A purge begins.
    pub fn is_purged(&self) {
        self.purges.lock().unwrap_or_else(PoisonError::into_inner).push((self.tally.now(), NEVER));
    }

    /// It is over at that time, or was before.
    pub fn is_purged_no_more(&self, when: u64) {
        let mut purges = self.purges.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(purge) = purges.last_mut() {
            purge.1 = when;
        }
    }

    /// From when on a purge may have taken what a history is about.
    pub fn purged_from(&self, history: &[Event]) -> u64 {
        let first = history.iter().map(|event| event.began).min().unwrap_or_default();
        let purges = self.purges.lock().unwrap_or_else(PoisonError::into_inner);
        let beside = purges.iter().filter(|(_, until)| *until >= first).map(|(from, _)| *from);
        beside.min().unwrap_or(NEVER)
    }

    /// An operator's way to a server.
    pub fn operator(&self, server: usize) -> MaintenanceServiceClient<Channel> {
        MaintenanceServiceClient::new(self.channels[server][CHANNELS - 1].clone())
    }

    /// A party is over: its history waits for a kill, or goes to the judges if that takes too long.
    pub async fn park(&self, history: History) {
        let oldest = {
            let mut parked = self.parked.lock().unwrap_or_else(PoisonError::into_inner);
            parked.push(history);
            let is_full = parked.len() > PARKED_MAX || !self.plan.has_kills();
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

    /// A user's history was right: nobody will ask about that user again.
    pub fn is_checked(&self, user_id: String) {
        let _ = self.checked.send(user_id);
    }

    /// Deletes users whose history was checked, so that the database stays small however long the run is.
    pub async fn delete(self: Arc<Self>, mut users: Checked) {
        let mut deletions = tokio::task::JoinSet::new();
        for n in 0.. {
            let Some(user_id) = users.recv().await else { break };
            while deletions.len() >= 4 {
                deletions.join_next().await;
            }
            let callers = self.callers(&user_id, &Arc::default(), n);
            let caller = callers.into_iter().nth(n % self.replicas.len()).expect("as many as servers");
            // One that fails is left: a few more rows.
            deletions.spawn(async move { caller.call(&Call::DeleteUser).await });
        }
    }

    /// Ends the servers.
    pub fn close(&self) {
        for replica in &self.replicas {
            replica.kill();
        }
    }
}

/// Which API keys a server makes: every second one those of 40 digits, as on the way from one model to the other.
fn model_of(server: usize) -> KeyModel {
    if server.is_multiple_of(2) { KeyModel::Prefixed } else { KeyModel::Drf }
}

fn channel(address: SocketAddr) -> Channel {
    Endpoint::from_shared(format!("http://{address}"))
        .expect("an address")
        .connect_timeout(Duration::from_millis(500))
        .tcp_nodelay(true)
        .connect_lazy()
}
