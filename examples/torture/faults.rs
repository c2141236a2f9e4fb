//! What goes wrong while callers call. A new kind of fault is a name in `options.rs` and an arm of [`Faults::inject_one`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::runtime::Handle;

use crate::arena::Arena;
use crate::options::Only;
use crate::tally::{count, get};

/// How long a server may take to answer again, until the run is given up.
const RECOVERY_MAX: Duration = Duration::from_secs(30);

struct Faults<'a> {
    arena: &'a Arena,
    rng: StdRng,
}

/// Injects one fault after the other until the run is over. Everything works again when it returns.
pub fn inject(arena: &Arc<Arena>, runtime: &Handle) {
    let mut faults = Faults { arena, rng: StdRng::seed_from_u64(arena.plan.seed) };
    faults.wait_for_answers(0..arena.replicas.len(), 0);
    if arena.plan.faults.is_empty() {
        return;
    }
    let mut reading = None;
    while arena.goes_on() {
        sleep(arena.plan.pause.mul_f64(faults.rng.random_range(0.2..1.0)));
        let was_a_kill = faults.inject_one();
        if was_a_kill {
            // Beside the load, one at a time.
            if let Some(reading) = reading.take() {
                let _ = runtime.block_on(reading);
            }
            let arena = Arc::clone(arena);
            reading = Some(runtime.spawn(async move { arena.read_back().await }));
        }
    }
    if let Some(reading) = reading {
        let _ = runtime.block_on(reading);
    }
}

impl Faults<'_> {
    /// Answers whether it was a kill.
    fn inject_one(&mut self) -> bool {
        let Arena { plan, tally, cluster, replicas, proxy, .. } = self.arena;
        let server = self.rng.random_range(0..replicas.len());
        let all = 0..replicas.len();
        match plan.faults[self.rng.random_range(0..plan.faults.len())] {
            Only::KillServer => {
                replicas[server].kill();
                count(&tally.server_kills);
                self.be_down_for_a_while();
                let start = tally.now();
                replicas[server].start_again();
                let took = self.wait_for_answers(server..server + 1, start);
                tally.recovery_after_server.fetch_max(took, Relaxed);
                true
            }
            fault @ (Only::KillDatabase | Only::StopDatabase) => {
                if fault == Only::KillDatabase {
                    cluster.kill();
                } else {
                    cluster.stop_immediate();
                }
                count(&tally.database_kills);
                self.be_down_for_a_while();
                cluster.restart();
                let took = self.wait_for_answers(all, tally.now());
                tally.recovery_after_database.fetch_max(took, Relaxed);
                true
            }
            Only::FreezeServer => {
                replicas[server].freeze();
                self.be_frozen_for_a_while();
                replicas[server].thaw();
                self.wait_for_answers(all, tally.now());
                false
            }
            Only::FreezeDatabase => {
                cluster.pause();
                self.be_frozen_for_a_while();
                cluster.resume();
                self.wait_for_answers(all, tally.now());
                false
            }
            _ => {
                if let Some(proxy) = proxy {
                    proxy.cut();
                    count(&tally.cuts);
                    self.be_down_for_a_while();
                    proxy.heal();
                    self.wait_for_answers(all, tally.now());
                }
                false
            }
        }
    }

    fn be_down_for_a_while(&mut self) {
        sleep(Duration::from_millis(self.rng.random_range(0..40)));
    }

    fn be_frozen_for_a_while(&mut self) {
        count(&self.arena.tally.freezes);
        sleep(Duration::from_millis(self.rng.random_range(20..400)));
    }

    /// Waits until each of these servers has answered somebody since; answers how long the last one took.
    fn wait_for_answers(&self, servers: std::ops::Range<usize>, since: u64) -> u64 {
        let Arena { tally, last_answer, .. } = self.arena;
        let has_answered = |answer: &AtomicU64| get(answer) > since;
        let limit = Instant::now() + RECOVERY_MAX;
        while !last_answer[servers.clone()].iter().all(has_answered) {
            if Instant::now() > limit {
                count(&tally.lost_servers);
                self.arena.stop();
                return tally.now() - since;
            }
            // Nobody calls any more.
            if !self.arena.goes_on() {
                return 0;
            }
            sleep(Duration::from_millis(1));
        }
        last_answer[servers].iter().map(get).max().unwrap_or(since) - since
    }
}
