//! One call's deadline, and whether anything of it has been sent to the database.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::registry::Failure;

/// Nothing was sent yet.
const OPEN: u8 = 0;
/// A write may have reached the database.
const SENT: u8 = 1;
/// Its caller was told that nothing was done, so nothing may be sent any more.
const CLOSED: u8 = 2;

/// Whose call it is, as far as that decides who waits for whom.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Source(pub u64);

/// A call under way. Its task has it, and whoever waits for the task: when the wait ends first, what is known here
/// decides between "certainly not applied" and "unknown".
#[derive(Debug, Clone)]
pub struct Call {
    deadline: Instant,
    source: Source,
    progress: Arc<AtomicU8>,
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
        Self { deadline, source: Source::default(), progress: Arc::new(AtomicU8::new(OPEN)) }
    }

    /// … whose call this is.
    #[must_use]
    pub fn of(self, source: Source) -> Self {
        Self { source, ..self }
    }

    /// Whose call it is.
    #[must_use]
    pub fn source(&self) -> Source {
        self.source
    }

    /// When it is to be answered.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Gives up waiting. True: a write may have reached the database. False: none has, and none will.
    #[must_use]
    pub fn give_up(&self) -> bool {
        let was = self.progress.compare_exchange(OPEN, CLOSED, Ordering::AcqRel, Ordering::Acquire);
        was == Err(SENT)
    }

    /// To be called before a write is sent. Never taken back: that one statement was turned away says nothing of those
    /// before it.
    ///
    /// # Errors
    /// The caller was told in the meantime that nothing was done.
    pub(super) fn mark_sent(&self) -> Result<(), Failure> {
        match self.progress.compare_exchange(OPEN, SENT, Ordering::AcqRel, Ordering::Acquire) {
            Err(CLOSED) => Err(Failure::Overloaded),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_told_that_nothing_was_done_is_not_proved_wrong() {
        let call = Call::within(Duration::ZERO);
        assert!(!call.give_up());
        assert_eq!(call.mark_sent(), Err(Failure::Overloaded));
        assert!(!call.give_up());
    }

    #[test]
    fn what_was_sent_may_be_applied() {
        let call = Call::within(Duration::ZERO);
        assert_eq!(call.mark_sent(), Ok(()));
        assert_eq!(call.mark_sent(), Ok(()));
        assert!(call.give_up());
    }
}
