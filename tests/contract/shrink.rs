//! The part of a history that shows why the whole can't be explained.
//!
//! Leaving out a call that was answered and changed something would be cheating: what others saw of it would look like
//! a violation. So such a call is only ever *weakened*: taken as one whose outcome is unknown, at any time or never. If
//! what is left still can't be explained, the call doesn't matter. Calls that changed nothing can be left out.

use std::time::{Duration, Instant};

use super::check::{Verdict, check_beside_purge};
use super::history::{Event, NEVER};

/// How long it is tried to cut a history down: a tangled one is then shown with more calls than it needs.
const TIME_MAX: Duration = Duration::from_secs(10);

/// A history cut down.
pub struct Shrunk {
    /// What can't be explained; the last answer is where the last explanation fails.
    pub essence: Vec<Event>,
    /// How many calls were left out, or are of no consequence whatever became of them.
    pub others: usize,
}

/// Cuts a history down that can't be explained, also not by a purge that began at `purged_from`.
pub fn shrink(history: &[Event], purged_from: u64) -> Shrunk {
    let until = Instant::now() + TIME_MAX;
    let is_violation =
        |history: &[Event]| matches!(check_beside_purge(history, purged_from), Verdict::Violation(_));
    let mut left = history.to_vec();
    if let Verdict::Violation(n) = check_beside_purge(&left, purged_from)
        && let Some(failing) = history.get(n)
    {
        left = up_to(&left, failing.ended);
    }
    leave_out(&mut left, until, is_violation);
    for n in (0..left.len()).rev() {
        if left[n].answer.is_none() {
            continue;
        }
        if Instant::now() > until {
            break;
        }
        let known = left[n].clone();
        weaken(&mut left[n]);
        if !is_violation(&left) {
            left[n] = known;
        }
    }
    leave_out(&mut left, until, is_violation);
    let mut essence: Vec<_> = left.into_iter().filter(|event| event.answer.is_some()).collect();
    essence.sort_by_key(|event| (event.began, event.ended));
    let others = history.len() - essence.len();
    Shrunk { essence, others }
}

fn changed_nothing(event: &Event) -> bool {
    event.call.is_question() || event.answer.as_ref().is_some_and(|answer| event.call.changed_nothing(answer))
}

fn weaken(event: &mut Event) {
    event.answer = None;
    event.ended = NEVER;
}

/// What was known at a moment: calls that were under way may yet do anything.
fn up_to(history: &[Event], moment: u64) -> Vec<Event> {
    let begun = history.iter().filter(|event| event.began <= moment);
    let known = begun.filter(|event| event.ended <= moment || !changed_nothing(event)).cloned();
    known
        .map(|mut event| {
            if event.ended > moment {
                weaken(&mut event);
            }
            event
        })
        .collect()
}

/// Leaves out calls that changed nothing, many at once and then one by one, while a violation is left.
fn leave_out(history: &mut Vec<Event>, until: Instant, is_violation: impl Fn(&[Event]) -> bool) {
    let mut size = history.len().max(1);
    while size > 0 {
        let mut start = 0;
        while start < history.len() && Instant::now() <= until {
            let end = (start + size).min(history.len());
            let mut n = 0;
            let fewer: Vec<_> = history
                .iter()
                .filter(|event| {
                    n += 1;
                    !(start + 1..=end).contains(&n) || !changed_nothing(event)
                })
                .cloned()
                .collect();
            if fewer.len() < history.len() && is_violation(&fewer) {
                *history = fewer;
            } else {
                start = end;
            }
        }
        size /= 2;
    }
}
