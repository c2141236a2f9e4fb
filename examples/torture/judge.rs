//! Histories are looked at once more, read back after a kill, and checked, by threads that do nothing else.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::time::sleep;

use crate::arena::{Arena, Histories};
use crate::contract::caller::Outcome;
use crate::contract::check::{Verdict, check_beside_purge};
use crate::contract::history::{Event, NEVER};
use crate::contract::program::Known;
use crate::contract::shrink::{Shrunk, shrink};
use crate::contract::words::{Call, Names};
use crate::party::record;
use crate::tally::{count, get};

/// Everything that was asked and answered about one user.
pub struct History {
    pub user_id: String,
    pub names: Arc<Mutex<Names>>,
    pub events: Vec<Event>,
}

/// A history that can't be explained.
pub struct Violation {
    /// When it was found, by the tally's clock.
    pub when: u64,
    pub user_id: String,
    pub names: Arc<Mutex<Names>>,
    pub shrunk: Shrunk,
    pub events: Vec<Event>,
}

/// How many violations end a run.
const ENOUGH: u64 = 3;

/// How many check.
pub const JUDGES: usize = 2;

/// The threads that check.
pub struct Judging {
    threads: Vec<JoinHandle<Vec<Violation>>>,
}

/// Starts the judges of a run.
pub fn judges(arena: &Arc<Arena>, histories: Histories) -> Judging {
    let histories = Arc::new(Mutex::new(histories));
    let threads = (0..JUDGES).map(|_| {
        let (arena, histories) = (Arc::clone(arena), Arc::clone(&histories));
        thread::spawn(move || judge(&arena, &histories))
    });
    Judging { threads: threads.collect() }
}

impl Judging {
    /// Waits until all that was sent is checked.
    pub fn finish(self) -> Vec<Violation> {
        self.threads.into_iter().flat_map(|judge| judge.join().expect("a judge doesn't panic")).collect()
    }
}

fn judge(arena: &Arena, histories: &Mutex<Histories>) -> Vec<Violation> {
    let mut violations = Vec::new();
    loop {
        let next = histories.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
        let Some(Some(history)) = next else { break };
        let purged_from = arena.purged_from(&history.events);
        match check_beside_purge(&history.events, purged_from) {
            Verdict::Allowed => {
                count(&arena.tally.histories);
                if purged_from != NEVER {
                    count(&arena.tally.histories_purged);
                }
                let answered = history.events.iter().filter(|event| event.answer.is_some()).count();
                arena.tally.checked.fetch_add(answered as u64, std::sync::atomic::Ordering::Relaxed);
                arena.is_checked(history.user_id);
            }
            Verdict::Undecided => count(&arena.tally.undecided),
            Verdict::Violation(_) => {
                count(&arena.tally.violations);
                let found = get(&arena.tally.violations);
                let enough = if arena.plan.bug.is_some() { 1 } else { ENOUGH };
                // Before the shrinking, which takes a while.
                if found >= enough {
                    arena.stop();
                }
                if found <= enough {
                    violations.push(Violation {
                        when: arena.tally.now(),
                        user_id: history.user_id,
                        names: history.names,
                        shrunk: shrink(&history.events, purged_from),
                        events: history.events,
                    });
                }
            }
        }
    }
    violations
}

/// Questions about everything of a user, at the end of a party, until all are answered.
pub async fn look_at_everything(arena: &Arena, history: &mut History, rng: &mut StdRng) {
    let mut questions = vec![Call::GetUser, Call::ListSessions, Call::ListKeys];
    questions.extend(Known::purposes().map(|purpose| Call::ListTokens { purpose }));
    let callers = arena.callers(&history.user_id, &history.names, 0);
    for call in questions {
        // Bounds the end of a run whose servers never come back.
        for _ in 0..400 {
            let server = rng.random_range(0..callers.len());
            let began = arena.tally.now();
            let outcome = callers[server].call(&call).await;
            let ended = arena.tally.now();
            let was_answered = matches!(outcome, Outcome::Answered(_));
            history.events.extend(record(arena, u16::MAX, call.clone(), outcome, began, ended));
            if was_answered {
                arena.answered(server, ended);
                break;
            }
            sleep(Duration::from_millis(10)).await;
        }
    }
}

/// Reads everything of a user back, after a kill.
pub async fn read_again(arena: &Arena, mut history: History) -> History {
    let written = history.events.iter().filter(|event| {
        let changed = |answer| !event.call.changed_nothing(answer);
        event.answer.as_ref().is_some_and(changed)
    });
    arena.tally.read_back.fetch_add(written.count() as u64, std::sync::atomic::Ordering::Relaxed);
    let mut rng = StdRng::seed_from_u64(arena.plan.seed);
    look_at_everything(arena, &mut history, &mut rng).await;
    history
}
