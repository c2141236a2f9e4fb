//! What happened so far, counted as it happens.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

/// Counts of a run.
pub struct Tally {
    start: Instant,
    /// Calls that were answered.
    pub answered: AtomicU64,
    /// Calls that certainly had no effect.
    pub not_applied: AtomicU64,
    /// Calls whose outcome nobody knows, those that their caller left among them.
    pub unknown: AtomicU64,
    /// Calls whose caller left.
    pub left: AtomicU64,
    /// Calls in histories that were checked.
    pub checked: AtomicU64,
    /// Histories, that is users, that were checked.
    pub histories: AtomicU64,
    /// Histories with too many possibilities to check.
    pub undecided: AtomicU64,
    /// Acknowledged writes of which a later answer was asked for after a kill of the database or a server.
    pub read_back: AtomicU64,
    pub violations: AtomicU64,
    pub server_kills: AtomicU64,
    pub database_kills: AtomicU64,
    pub freezes: AtomicU64,
    pub cuts: AtomicU64,
    /// Links that were slow or swallowed everything for a while.
    pub bad_links: AtomicU64,
    /// Answers cut off in their midst, on their way to a server or a caller.
    pub cut_answers: AtomicU64,
    /// Times that others had taken all of the database's connections.
    pub exhaustions: AtomicU64,
    pub pgbouncer_kills: AtomicU64,
    /// Times that the database's disk was full.
    pub full_disks: AtomicU64,
    /// Times that the database went down for it.
    pub full_disk_crashes: AtomicU64,
    /// Sessions, one-time tokens and API keys that a purge took.
    pub purged: AtomicU64,
    /// Histories that were checked and that a purge was beside.
    pub histories_purged: AtomicU64,
    /// Standbys promoted in the place of a primary that was dead or hung.
    pub promotions_fenced: AtomicU64,
    /// Standbys promoted beside a primary that lived on.
    pub promotions_unfenced: AtomicU64,
    /// Answers that a primary may have given that was replaced, and that are no acknowledged writes: not checked.
    pub maybe_stale: AtomicU64,
    /// Longest time from the database's return to the first answer of every server, in nanoseconds.
    pub recovery_after_database: AtomicU64,
    /// Longest time from a promotion to the first answer of every server, in nanoseconds.
    pub recovery_after_promotion: AtomicU64,
    /// Longest time from the end of a bad link, or of a lack of connections, to the first answer of every server.
    pub recovery_after_link: AtomicU64,
    /// Longest time from a server's start to its first answer, in nanoseconds.
    pub recovery_after_server: AtomicU64,
    /// Servers that never answered again.
    pub lost_servers: AtomicU64,
}

impl Tally {
    pub fn new() -> Self {
        let zero = || AtomicU64::new(0);
        Self {
            start: Instant::now(),
            answered: zero(),
            not_applied: zero(),
            unknown: zero(),
            left: zero(),
            checked: zero(),
            histories: zero(),
            undecided: zero(),
            read_back: zero(),
            violations: zero(),
            server_kills: zero(),
            database_kills: zero(),
            freezes: zero(),
            cuts: zero(),
            bad_links: zero(),
            cut_answers: zero(),
            exhaustions: zero(),
            pgbouncer_kills: zero(),
            full_disks: zero(),
            full_disk_crashes: zero(),
            purged: zero(),
            histories_purged: zero(),
            promotions_fenced: zero(),
            promotions_unfenced: zero(),
            maybe_stale: zero(),
            recovery_after_database: zero(),
            recovery_after_promotion: zero(),
            recovery_after_link: zero(),
            recovery_after_server: zero(),
            lost_servers: zero(),
        }
    }

    /// Nanoseconds since the start: the clock of all histories.
    pub fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Whether nothing was wrong.
    pub fn is_sound(&self) -> bool {
        get(&self.violations) == 0 && get(&self.lost_servers) == 0
    }

    pub fn promotions(&self) -> u64 {
        get(&self.promotions_fenced) + get(&self.promotions_unfenced)
    }

    /// Of servers and database.
    pub fn kills(&self) -> u64 {
        get(&self.server_kills) + get(&self.database_kills)
    }
}

/// One more.
pub fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

/// The count.
pub fn get(counter: &AtomicU64) -> u64 {
    counter.load(Relaxed)
}
