//! When API keys were last used: noted in memory by whoever authenticates, and written by one task now and then.
//!
//! An authentication only reads, so that it can be as fast as a read. What was noted and not yet written is lost with
//! the process: the time of last use tells which keys can go, not who was there.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::time::{Instant, sleep};

use super::statements::AUTH_NOTE_USES;
use super::{Call, Effect, Store};
use crate::registry::Failure;

/// How often what was noted is written.
const EVERY: Duration = Duration::from_secs(5);
/// How many keys are noted between two writes at most: what is beyond is noted at its next use.
const NOTED_MAX: usize = 100_000;
/// How many of them one statement writes.
const BATCH: usize = 500;
/// How long one statement may take, with the wait for a connection.
const PATIENCE: Duration = Duration::from_secs(10);

/// Uses that are to be written, by the digests of the keys.
#[derive(Default)]
pub(super) struct Uses {
    noted: Mutex<HashMap<[u8; 32], SystemTime>>,
}

impl Uses {
    /// Notes a use. The first one since the last write stays: the row is a minute behind then, and no more.
    pub(super) fn note(&self, digest: [u8; 32], used: SystemTime) {
        let mut noted = self.lock();
        if noted.len() < NOTED_MAX {
            noted.entry(digest).or_insert(used);
        }
    }

    fn take(&self) -> Vec<([u8; 32], SystemTime)> {
        self.lock().drain().collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<[u8; 32], SystemTime>> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store {
    /// Writes when API keys were used, for as long as it is polled.
    pub async fn write_uses(&self) -> std::convert::Infallible {
        loop {
            sleep(EVERY).await;
            self.write_uses_now().await;
        }
    }

    /// Writes what was noted. What can't be written now is dropped: the next use will be noted again.
    pub async fn write_uses_now(&self) {
        let noted = self.uses.take();
        for batch in noted.chunks(BATCH) {
            if let Err(failure) = self.write_batch(batch).await {
                tracing::debug!(?failure, "times of last use were not written");
                return;
            }
        }
    }

    async fn write_batch(&self, batch: &[([u8; 32], SystemTime)]) -> Result<(), Failure> {
        let (digests, used): (Vec<&[u8]>, Vec<SystemTime>) =
            batch.iter().map(|(digest, used)| (digest.as_slice(), *used)).unzip();
        let (digests, used) = (&digests, &used);
        let call = Call::until(Instant::now() + PATIENCE);
        self.run(&call, Effect::Writes, |c| async move {
            c.run(&AUTH_NOTE_USES, &[digests, used]).await?;
            Ok(())
        })
        .await
    }
}
