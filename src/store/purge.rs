//! The purge: what has been over for long goes, in small steps, beside the calls.
//!
//! It walks the primary keys, since no index may tell what is over: a rotation would have to write it. Each step looks at
//! a bounded number of rows and waits for nobody's lock; between steps it rests for several times as long as the step
//! took, so that it takes a small part of the database's time however large the tables are.
//!
//! Rows of `generic_state` and `users` stay: there is one a user (and purpose), however often it is used.

use std::convert::Infallible;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_postgres::types::ToSql;

use super::statements::{
    ESTIMATE_ROWS, PURGE_AUTH_TOKENS, PURGE_CREDENTIAL_CHANGES, PURGE_GENERIC_TOKENS, PURGE_SESSIONS,
};
use super::tasks::Task;
use super::{Call, Effect, StatementError, Store};
use crate::config::PurgeSchedule;
use crate::registry::Failure;
use crate::registry::maintenance::{Purge, PurgePlace, Purged, PurgedKind};

/// A step rests for so many times as long as it took.
const REST: u32 = 4;
/// A step's shortest rest.
const REST_MIN: Duration = Duration::from_millis(2);
/// How often a replica looks whether the purge is due, at most.
const LOOK_EVERY: Duration = Duration::from_mins(1);
/// For how long it purges until it renews its lease.
const STRETCH: Duration = Duration::from_secs(10);

impl Store {
    /// Goes through the tables from a place on until it is through or `until` has come.
    ///
    /// Where the database fails in the midst of it, the answer is how far it came.
    ///
    /// # Errors
    /// Only of the database: nothing was removed, or with `OutcomeUnknown` perhaps something.
    pub async fn purge(
        &self,
        call: &Call,
        purge: &Purge,
        from: Option<PurgePlace>,
        until: Instant,
    ) -> Result<Purged, Failure> {
        let mut place = from.unwrap_or(PurgePlace::start_of(PurgedKind::Sessions));
        let mut purged = Purged::default();
        loop {
            let begun = Instant::now();
            let kind = place.kind;
            let step = match self.purge_step(call, purge, &place).await {
                Ok(step) => step,
                Err(failure) if failure == Failure::OutcomeUnknown || purged.examined == 0 => {
                    return Err(failure);
                }
                Err(_) => return Ok(Purged { next: Some(place), ..purged }),
            };
            purged.examined += step.seen;
            let count = match kind {
                PurgedKind::Sessions => &mut purged.counts.sessions,
                PurgedKind::GenericTokens => &mut purged.counts.generic_tokens,
                PurgedKind::AuthTokens => &mut purged.counts.auth_tokens,
                PurgedKind::CredentialChanges => &mut purged.credential_changes,
            };
            *count += if purge.apply { step.gone } else { step.over };
            self.upkeep.purged(kind, step.gone);
            place = match step.last {
                Some(last) if step.seen >= i64::from(purge.batch_size) => last,
                _ => match kind.next() {
                    Some(kind) => PurgePlace::start_of(kind),
                    None => return Ok(purged),
                },
            };
            if Instant::now() >= until {
                return Ok(Purged { next: Some(place), ..purged });
            }
            sleep((begun.elapsed() * REST).max(REST_MIN)).await;
        }
    }

    async fn purge_step(&self, call: &Call, purge: &Purge, place: &PurgePlace) -> Result<Step, Failure> {
        let statement = match place.kind {
            PurgedKind::Sessions => &PURGE_SESSIONS,
            PurgedKind::GenericTokens => &PURGE_GENERIC_TOKENS,
            PurgedKind::AuthTokens => &PURGE_AUTH_TOKENS,
            PurgedKind::CredentialChanges => &PURGE_CREDENTIAL_CHANGES,
        };
        let has_id = place.kind == PurgedKind::GenericTokens;
        let (limit, older_than) = (i64::from(purge.batch_size), purge.older_than.as_secs_f64());
        let all: [&(dyn ToSql + Sync); 6] =
            [&limit, &older_than, &purge.apply, &place.user_id, &place.name, &place.id];
        let params = if has_id { &all[..] } else { &all[..5] };
        self.run_pinned(call, if purge.apply { Effect::Writes } else { Effect::Reads }, |c| async move {
            let row = c.row(statement, params).await?.ok_or(StatementError::TurnedAway)?;
            let last = match row.try_get(3)? {
                None => None,
                Some(user_id) => {
                    let id = if has_id { row.try_get(5)? } else { 0 };
                    Some(PurgePlace { kind: place.kind, user_id, name: row.try_get(4)?, id })
                }
            };
            Ok(Step { seen: row.try_get(0)?, over: row.try_get(1)?, gone: row.try_get(2)?, last })
        })
        .await
    }

    /// About how many rows a purge looks at from beginning to end.
    ///
    /// # Errors
    /// Only of the database.
    pub async fn rows_estimate(&self, call: &Call) -> Result<i64, Failure> {
        self.run(call, Effect::Reads, |c| async move {
            let row = c.row(&ESTIMATE_ROWS, &[]).await?.ok_or(StatementError::TurnedAway)?;
            Ok(row.try_get(0)?)
        })
        .await
    }

    /// Purges whenever it is due and no other replica is at it, for as long as it is polled.
    pub async fn purge_when_due(&self, schedule: &PurgeSchedule) -> Infallible {
        if schedule.interval.is_zero() {
            return std::future::pending().await;
        }
        loop {
            // Replicas that start together don't all look at the same moment.
            sleep(schedule.interval.min(LOOK_EVERY).mul_f64(rand::random_range(0.5..1.0))).await;
            match self.purge_if_due(schedule).await {
                Ok(None) => {}
                Ok(Some(purged)) => tracing::info!(
                    sessions = purged.counts.sessions,
                    generic_tokens = purged.counts.generic_tokens,
                    auth_tokens = purged.counts.auth_tokens,
                    credential_changes = purged.credential_changes,
                    examined = purged.examined,
                    "purged what was over"
                ),
                Err(failure) => {
                    tracing::warn!(?failure, "the purge broke off; another replica or a later one goes on");
                }
            }
        }
    }

    /// Purges if it is due; `None`: it isn't, or another replica is at it, or has taken over.
    async fn purge_if_due(&self, schedule: &PurgeSchedule) -> Result<Option<Purged>, Failure> {
        let purge = Purge { apply: true, batch_size: schedule.batch_size, older_than: schedule.retention };
        let mut all = Purged::default();
        let mut place = None;
        while self.claim(Task::Purge).await? {
            let until = Instant::now() + STRETCH;
            let purged = self.purge(&Call::until(until + STRETCH), &purge, place, until).await?;
            all.counts.sessions += purged.counts.sessions;
            all.counts.generic_tokens += purged.counts.generic_tokens;
            all.counts.auth_tokens += purged.counts.auth_tokens;
            all.credential_changes += purged.credential_changes;
            all.examined += purged.examined;
            place = purged.next;
            if place.is_none() {
                self.finish(Task::Purge, schedule.interval).await?;
                self.upkeep.purge_finished();
                return Ok(Some(all));
            }
        }
        Ok(None)
    }
}

/// What one step found.
struct Step {
    seen: i64,
    over: i64,
    gone: i64,
    last: Option<PurgePlace>,
}
