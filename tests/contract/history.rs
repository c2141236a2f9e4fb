//! What many callers asked of one user and were answered, with the times of both.

use super::words::{Answer, Call};

/// A call and what is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Which caller.
    pub who: u16,
    pub call: Call,
    /// None: the outcome is unknown.
    pub answer: Option<Answer>,
    /// When it was sent, in nanoseconds of one clock.
    pub began: u64,
    /// When it was answered. Without an answer: after this it surely takes no effect any more; [`NEVER`] unless the
    /// server's silence was bounded somehow.
    pub ended: u64,
}

/// Later than every time.
pub const NEVER: u64 = u64::MAX;
