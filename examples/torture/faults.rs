//! What goes wrong while callers call. A new kind of fault is a name in `options.rs` and an arm of [`Faults::inject_one`].
//!
//! Times of faults take turns with times of calls alone: under faults callers mostly wait, and what they do to each other
//! without is worth as much.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_postgres::NoTls;

use crate::arena::Arena;
use crate::options::Only;
use crate::purge;
use crate::tally::{count, get};

/// How long a server may take to answer again, until the run is given up.
const RECOVERY_MAX: Duration = Duration::from_secs(30);
/// How long there are faults, and then none.
const PHASE: Duration = Duration::from_secs(10);

struct Faults<'a> {
    arena: &'a Arena,
    runtime: &'a Handle,
    rng: StdRng,
    purging: Option<JoinHandle<()>>,
}

/// Injects one fault after the other until the run is over. Everything works again when it returns.
pub fn inject(arena: &Arc<Arena>, runtime: &Handle) {
    let mut faults = Faults { arena, runtime, rng: StdRng::seed_from_u64(arena.plan.seed), purging: None };
    faults.wait_for_answers(0..arena.replicas.len(), 0);
    if arena.plan.faults.is_empty() {
        return;
    }
    let mut reading: Option<JoinHandle<()>> = None;
    let mut until = Instant::now() + PHASE;
    while arena.goes_on() {
        if Instant::now() > until && arena.plan.bug.is_none() {
            faults.leave_alone_for(PHASE);
            until = Instant::now() + PHASE;
        }
        sleep(arena.plan.pause.mul_f64(faults.rng.random_range(0.2..1.0)));
        let was_a_kill = faults.inject_one(arena);
        // Beside the load, one at a time: what is over meanwhile is read back after the next one.
        if was_a_kill && reading.as_ref().is_none_or(JoinHandle::is_finished) {
            let arena = Arc::clone(arena);
            reading = Some(runtime.spawn(async move { arena.read_back().await }));
        }
    }
    for beside in reading.into_iter().chain(faults.purging) {
        let _ = runtime.block_on(beside);
    }
}

impl Faults<'_> {
    /// Answers whether it was one after which acknowledged writes are read back.
    fn inject_one(&mut self, arena: &Arc<Arena>) -> bool {
        let Arena { tally, database, replicas, .. } = self.arena;
        let server = self.rng.random_range(0..replicas.len());
        let all = 0..replicas.len();
        match self.draw() {
            Only::KillServer => {
                replicas[server].kill();
                count(&tally.server_kills);
                self.wait_between(0..40);
                let start = tally.now();
                replicas[server].start_again();
                let took = self.wait_for_answers(server..server + 1, start);
                tally.recovery_after_server.fetch_max(took, Relaxed);
                return true;
            }
            fault @ (Only::KillDatabase | Only::StopDatabase) => {
                let primary = database.primary();
                if fault == Only::KillDatabase {
                    primary.kill();
                } else {
                    primary.stop_immediate();
                }
                count(&tally.database_kills);
                self.wait_between(0..40);
                primary.restart();
                let took = self.wait_for_answers(all, tally.now());
                tally.recovery_after_database.fetch_max(took, Relaxed);
                return true;
            }
            Only::Promote => {
                self.promote();
                return true;
            }
            Only::FillDisk => {
                self.fill_disk();
                return true;
            }
            Only::FreezeServer => {
                replicas[server].freeze();
                count(&tally.freezes);
                self.wait_between(20..300);
                replicas[server].thaw();
                self.wait_for_answers(all, tally.now());
            }
            Only::FreezeDatabase => {
                database.primary().pause();
                count(&tally.freezes);
                self.wait_between(20..300);
                database.primary().resume();
                self.wait_for_answers(all, tally.now());
            }
            Only::KillPgbouncer => {
                if let Some(pgbouncer) = &database.pgbouncer {
                    pgbouncer.kill_and_restart();
                    count(&tally.pgbouncer_kills);
                    self.recovers_from_a_link(tally.now());
                }
            }
            Only::ExhaustConnections => self.exhaust_connections(),
            // Beside the load, and beside the faults that come next.
            Only::Purge if self.purging.as_ref().is_none_or(JoinHandle::is_finished) => {
                let time = Duration::from_millis(self.rng.random_range(500..2500));
                self.purging = Some(self.runtime.spawn(purge::purge_for(Arc::clone(arena), server, time)));
            }
            Only::Purge => {}
            fault => self.spoil_a_link(fault),
        }
        false
    }

    fn draw(&mut self) -> Only {
        let faults = &self.arena.plan.faults;
        let mut left = self.rng.random_range(0..faults.iter().map(|(weight, _)| weight).sum());
        for (weight, fault) in faults {
            if left < *weight {
                return *fault;
            }
            left -= weight;
        }
        unreachable!("the weights add up")
    }

    /// The link between some servers and the database, or the one between some callers and a server.
    fn spoil_a_link(&mut self, fault: Only) {
        let Arena { tally, database, front, .. } = self.arena;
        let link = &database.link;
        let since = match fault {
            Only::CutLink => {
                link.cut();
                count(&tally.cuts);
                self.wait_between(0..40);
                link.heal();
                tally.now()
            }
            Only::SlowLink => {
                link.slow_down(Duration::from_millis(self.rng.random_range(1..25)));
                count(&tally.bad_links);
                self.wait_between(50..400);
                link.slow_down(Duration::ZERO);
                tally.now()
            }
            Only::BlackHole => {
                link.black_hole(true);
                count(&tally.bad_links);
                self.wait_between(50..400);
                link.black_hole(false);
                tally.now()
            }
            _ => {
                let link = if self.rng.random() { link } else { front };
                let cut = link.unanswered();
                link.cut_after_bytes(self.rng.random_range(0..3000));
                let limit = Instant::now() + Duration::from_secs(1);
                while link.unanswered() == cut && Instant::now() < limit {
                    sleep(Duration::from_millis(1));
                }
                link.let_everything_through();
                tally.cut_answers.fetch_add((link.unanswered() - cut) as u64, Relaxed);
                tally.now()
            }
        };
        self.recovers_from_a_link(since);
    }

    /// A standby takes over.
    fn promote(&mut self) {
        let Arena { tally, database, replicas, .. } = self.arena;
        let standby = database.start_standby(self.runtime);
        // With a standby that has to have every write.
        self.wait_between(50..500);
        let old = database.primary();
        let kind = self.rng.random_range(0..3);
        match kind {
            0 => old.kill(),
            1 => old.pause(),
            _ => self.arena.is_unfenced(),
        }
        if kind == 0 {
            count(&tally.database_kills);
        }
        let old_one = database.promote(standby);
        drop(old);
        let since = tally.now();
        let took = self.wait_for_answers(0..replicas.len(), since);
        if kind == 2 {
            count(&tally.promotions_unfenced);
            // It lives on and knows of nothing, and servers find out.
            self.wait_between(100..1500);
        } else {
            count(&tally.promotions_fenced);
            tally.recovery_after_promotion.fetch_max(took, Relaxed);
        }
        old_one.kill();
        if kind == 2 {
            self.arena.is_fenced();
            let took = self.wait_for_answers(0..replicas.len(), tally.now());
            tally.recovery_after_promotion.fetch_max(took, Relaxed);
        }
    }

    /// The database's disk is full. Without room for its log PostgreSQL goes down, and is started again when there is some.
    fn fill_disk(&mut self) {
        let Arena { tally, database, replicas, .. } = self.arena;
        let Some(disk) = database.disk() else { return };
        let primary = database.primary();
        let url = primary.url("postgres");
        let filling = disk.fill();
        // What is allocated already is used up first.
        let grow = "create table filling as select repeat('x', 2000) as x from generate_series(1, 100000)";
        let witness = self.runtime.block_on(async {
            let (client, connection) = tokio_postgres::connect(&url, NoTls).await.ok()?;
            tokio::spawn(connection);
            let is_refused = client.batch_execute(grow).await.is_err();
            is_refused.then_some(client)
        });
        count(&tally.full_disks);
        self.wait_between(20..500);
        std::fs::remove_file(filling).expect("the filling goes");
        if witness.is_none_or(|client| client.is_closed()) {
            count(&tally.full_disk_crashes);
            primary.restart();
        }
        let took = self.wait_for_answers(0..replicas.len(), tally.now());
        tally.recovery_after_database.fetch_max(took, Relaxed);
    }

    /// Others take every connection that there is.
    fn exhaust_connections(&mut self) {
        let Arena { tally, database, .. } = self.arena;
        let primary = database.primary();
        let url = primary.url("postgres");
        let end = "select pg_terminate_backend(pid) from pg_stat_activity \
                   where application_name = 'token-registry' and backend_type = 'client backend'";
        let taken = self.runtime.block_on(async {
            let (mut taken, mut refused) = (Vec::new(), 0);
            // Each refusal means that a server has some of them.
            while refused < 4 {
                if let Ok((client, connection)) = tokio_postgres::connect(&url, NoTls).await {
                    tokio::spawn(connection);
                    taken.push(client);
                    continue;
                }
                refused += 1;
                if let Some(client) = taken.first() {
                    let _ = client.execute(end, &[]).await;
                }
            }
            taken
        });
        count(&tally.exhaustions);
        self.wait_between(20..200);
        drop(taken);
        self.recovers_from_a_link(tally.now());
    }

    fn recovers_from_a_link(&self, since: u64) {
        let took = self.wait_for_answers(0..self.arena.replicas.len(), since);
        self.arena.tally.recovery_after_link.fetch_max(took, Relaxed);
    }

    /// Lets time pass, of so many milliseconds.
    fn wait_between(&mut self, milliseconds: std::ops::Range<u64>) {
        sleep(Duration::from_millis(self.rng.random_range(milliseconds)));
    }

    fn leave_alone_for(&self, time: Duration) {
        let until = Instant::now() + time;
        while self.arena.goes_on() && Instant::now() < until {
            sleep(Duration::from_millis(50));
        }
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
