//! One call's deadline, and whether anything of it has been sent to the database.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// A call under way. Its task has it, and whoever waits for the task: when the wait ends first, what is known here
/// decides between "certainly not applied" and "unknown".
#[derive(Debug, Clone)]
pub struct Call {
    deadline: Instant,
    sent: Arc<AtomicBool>,
}

impl Call {
    /// A call that is to be answered within this time from now.
    #[must_use]
    pub fn within(time: Duration) -> Self {
        Self::until(Instant::now() + time)
    }

    /// A call that is to be answered by then.
    #[must_use]
    pub fn until(deadline: Instant) -> Self {
        Self { deadline, sent: Arc::default() }
    }

    /// When it is to be answered.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Whether a write of this call may have reached the database.
    #[must_use]
    pub fn may_be_applied(&self) -> bool {
        self.sent.load(Ordering::Acquire)
    }

    /// Never taken back: that one statement was turned away says nothing of those before it.
    pub(super) fn mark_sent(&self) {
        self.sent.store(true, Ordering::Release);
    }
}
