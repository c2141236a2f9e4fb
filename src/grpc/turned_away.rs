//! Refusals for overload in the log: a line a second at most, since they come by the hundred thousand. Metrics count them
//! all, and a line each is there at `DEBUG`.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::status::OVERLOADED;

const EVERY: Duration = Duration::from_secs(1);

/// What wasn't said yet.
#[derive(Debug, Default)]
pub(super) struct TurnedAway(Mutex<Unsaid>);

#[derive(Debug, Default)]
struct Unsaid {
    calls: u64,
    /// When the last line was written.
    said: Option<Instant>,
}

impl TurnedAway {
    /// One more; a line of it and those before it, unless there was one a moment ago.
    pub(super) fn one(&self) {
        if let Some(calls) = self.due(Instant::now()) {
            tracing::warn!(outcome = OVERLOADED, calls, "calls were refused; those since the last such line");
        }
    }

    /// Counts one, and answers how many are to be said now.
    fn due(&self, now: Instant) -> Option<u64> {
        let mut unsaid = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        unsaid.calls += 1;
        if unsaid.said.is_some_and(|said| now < said + EVERY) {
            return None;
        }
        unsaid.said = Some(now);
        Some(std::mem::take(&mut unsaid.calls))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_a_line_a_second_that_counts_all() {
        let (turned_away, start) = (TurnedAway::default(), Instant::now());
        let said: Vec<_> =
            (0..=4000).filter_map(|n| turned_away.due(start + Duration::from_micros(n * 500))).collect();
        assert_eq!(said, [1, 2000, 2000]);
    }
}
