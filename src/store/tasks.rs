//! Work that one replica does at a time: a lease in a row.

use std::time::Duration;

use super::statements::{CLAIM_TASK, FINISH_TASK};
use super::{Call, Effect, Store};
use crate::registry::Failure;

/// How long a replica that doesn't renew its lease keeps others away.
const LEASE: Duration = Duration::from_mins(1);
/// How long the bookkeeping of a task may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Work that one replica does at a time.
#[derive(Debug, Clone, Copy)]
pub(super) enum Task {
    /// The purge.
    Purge,
    /// The count for the statistics.
    Statistics,
}

impl Task {
    fn name(self) -> &'static str {
        match self {
            Self::Purge => "purge",
            Self::Statistics => "statistics",
        }
    }
}

impl Store {
    /// Takes a task that is due, or keeps it; says whether this replica has it now.
    pub(super) async fn claim(&self, task: Task) -> Result<bool, Failure> {
        let (task, replica, lease) = (task.name(), self.replica.as_str(), LEASE.as_secs_f64());
        self.run(&Call::within(PATIENCE), Effect::Writes, |c| async move {
            Ok(c.row(&CLAIM_TASK, &[&task, &replica, &lease]).await?.is_some())
        })
        .await
    }

    /// Gives a task back, which is due again after this time.
    pub(super) async fn finish(&self, task: Task, due_in: Duration) -> Result<(), Failure> {
        let (task, replica, due_in) = (task.name(), self.replica.as_str(), due_in.as_secs_f64());
        self.run(&Call::within(PATIENCE), Effect::Writes, |c| async move {
            c.run(&FINISH_TASK, &[&task, &replica, &due_in]).await?;
            Ok(())
        })
        .await
    }
}
