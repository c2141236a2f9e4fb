//! A party: callers of one user, all at once, and everything that they were answered.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::arena::Arena;
use crate::contract::caller::{Caller, Outcome};
use crate::contract::history::{Event, NEVER};
use crate::contract::program::{Known, Theme};
use crate::contract::words::{Answer, Call, Counts, Names, RotationOutcome, Session};
use crate::judge::{History, look_at_everything};
use crate::tally::count;

/// How many calls of unknown outcome a history may have before its party ends: each may yet happen at any time, which
/// is a lot to think of.
const UNKNOWN_MAX: usize = 6;

/// What the callers of a user have between them.
struct Party {
    arena: Arc<Arena>,
    theme: Theme,
    known: Mutex<Known>,
    names: Arc<Mutex<Names>>,
    history: Mutex<Vec<Event>>,
}

/// Keeps parties going, one beside the other, until the run is over.
pub async fn keep_calling(arena: &Arc<Arena>) {
    let mut tables = JoinSet::new();
    for table in 0..u64::from(arena.plan.users) {
        let arena = Arc::clone(arena);
        tables.spawn(async move {
            let mut n = table;
            while arena.goes_on() {
                let history = party(&arena, n).await;
                arena.park(history).await;
                n += u64::from(arena.plan.users);
            }
        });
    }
    while let Some(ended) = tables.join_next().await {
        ended.expect("a party doesn't panic");
    }
}

/// One party.
async fn party(arena: &Arc<Arena>, n: u64) -> History {
    let mut rng = StdRng::seed_from_u64(arena.plan.seed ^ n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let theme = arena.plan.themes[rng.random_range(0..arena.plan.themes.len())];
    // Mostly few callers, now and then a crowd on one user.
    let (seats, calls) = match rng.random_range(0..10) {
        0..4 => (rng.random_range(1..=2), 24),
        4..8 => (rng.random_range(3..=4), 16),
        8 => (rng.random_range(6..=8), 12),
        _ => (rng.random_range(10..=14), 8),
    };
    let party = Arc::new(Party {
        arena: Arc::clone(arena),
        theme,
        known: Mutex::new(Known::of_servers(arena.models())),
        names: Arc::default(),
        history: Mutex::default(),
    });
    let user_id = format!("user-{n}");
    // A user that is made first spares the judge from guessing the credential version; some aren't.
    if rng.random_ratio(9, 10) {
        let callers = arena.callers(&user_id, &party.names, 0);
        let server = rng.random_range(0..callers.len());
        party.carry_out(0, server, &callers[server], &Call::CreateUser, None).await;
    }
    let mut guests = JoinSet::new();
    for who in 0..seats {
        let (party, rng) = (Arc::clone(&party), StdRng::from_rng(&mut rng));
        let callers = arena.callers(&user_id, &party.names, usize::from(who));
        guests.spawn(async move { party.call(who, &callers, rng, calls).await });
    }
    while let Some(gone) = guests.join_next().await {
        gone.expect("a caller doesn't panic");
    }
    let party = Arc::into_inner(party).expect("all callers are gone");
    let mut history = History {
        user_id,
        names: party.names,
        events: party.history.into_inner().unwrap_or_else(PoisonError::into_inner),
    };
    look_at_everything(arena, &mut history, &mut rng).await;
    history
}

impl Party {
    /// What one caller does.
    async fn call(&self, who: u16, callers: &[Caller], mut rng: StdRng, calls: usize) {
        let mut last: Option<(Call, bool)> = None;
        for _ in 0..calls {
            if !self.arena.goes_on() || self.has_too_many_unknown() {
                break;
            }
            if rng.random_ratio(1, 20) {
                let server = rng.random_range(0..callers.len());
                let sessions = self.known.lock().unwrap_or_else(PoisonError::into_inner).open_sessions();
                if !sessions.is_empty() {
                    self.ask_about_all(who, server, &callers[server], &sessions).await;
                    continue;
                }
            }
            // Who wasn't answered mostly asks again; who was, hardly ever.
            let again =
                last.take().filter(|(_, answered)| rng.random_ratio(if *answered { 1 } else { 20 }, 30));
            let call = again.map_or_else(
                || {
                    let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
                    let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
                    known.next(self.theme, &mut rng, &mut names)
                },
                |(call, _)| call,
            );
            let server = self.arena.server_for(&call, &mut rng);
            let patience = rng.random_ratio(1, 100).then(|| Duration::from_micros(rng.random_range(0..6000)));
            let answered = self.carry_out(who, server, &callers[server], &call, patience).await;
            last = Some((call, answered));
            if !answered {
                sleep(Duration::from_millis(rng.random_range(2..20))).await;
            }
        }
    }

    fn has_too_many_unknown(&self) -> bool {
        let history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        history.iter().filter(|event| event.ended == NEVER).count() >= UNKNOWN_MAX
    }

    /// Makes a call, and leaves before its answer if there is an end to the patience. Answers whether it was answered.
    async fn carry_out(
        &self,
        who: u16,
        server: usize,
        caller: &Caller,
        call: &Call,
        patience: Option<Duration>,
    ) -> bool {
        let began = self.arena.tally.now();
        let outcome = match patience {
            None => caller.call(call).await,
            Some(patience) => timeout(patience, caller.call(call)).await.unwrap_or_else(|_| {
                count(&self.arena.tally.left);
                Outcome::Unknown
            }),
        };
        let ended = self.arena.tally.now();
        if let Outcome::Answered(answer) = &outcome {
            self.arena.answered(server, ended);
            self.known.lock().unwrap_or_else(PoisonError::into_inner).learn(call, answer);
        }
        let was_answered = matches!(outcome, Outcome::Answered(_));
        let event = record(&self.arena, who, call.clone(), outcome, began, ended);
        self.history.lock().unwrap_or_else(PoisonError::into_inner).extend(event);
        was_answered
    }

    /// A batch of questions: each is answered as if it were asked alone.
    async fn ask_about_all(&self, who: u16, server: usize, caller: &Caller, sessions: &[Session]) {
        let began = self.arena.tally.now();
        let outcomes = caller.check_sessions(sessions).await;
        let ended = self.arena.tally.now();
        let events = sessions.iter().zip(outcomes).filter_map(|(session, outcome)| {
            if matches!(outcome, Outcome::Answered(_)) {
                self.arena.answered(server, ended);
            }
            record(&self.arena, who, Call::CheckSession { session: *session }, outcome, began, ended)
        });
        let events: Vec<_> = events.collect();
        self.history.lock().unwrap_or_else(PoisonError::into_inner).extend(events);
    }
}

/// What a history keeps of a call; nothing of one that had no effect and told nothing.
pub fn record(
    arena: &Arena,
    who: u16,
    call: Call,
    outcome: Outcome,
    began: u64,
    ended: u64,
) -> Option<Event> {
    let (answer, ended): (Option<Answer>, _) = match outcome {
        Outcome::Answered(answer) => {
            count(&arena.tally.answered);
            if arena.may_be_stale(began, ended) && !is_surely_written(&call, &answer) {
                count(&arena.tally.maybe_stale);
                (None, NEVER)
            } else {
                (Some(answer), ended)
            }
        }
        Outcome::NotApplied => {
            count(&arena.tally.not_applied);
            // What it was for was not done, but its user may have been made known by then.
            return call.may_create_user().then_some(Event {
                who,
                call: Call::CreateUser,
                answer: None,
                began,
                ended,
            });
        }
        Outcome::Unknown => {
            count(&arena.tally.unknown);
            (None, NEVER)
        }
    };
    (answer.is_some() || !call.is_question()).then_some(Event { who, call, answer, began, ended })
}

/// Whether an answer tells of a write of its own. A primary that was replaced and doesn't know it can't acknowledge one,
/// for want of its standby; whatever it can tell from what it reads is not promised to be right (`docs/guarantees.md`).
fn is_surely_written(call: &Call, answer: &Answer) -> bool {
    match answer {
        Answer::Rotated(RotationOutcome::Retried, _) | Answer::User { .. } => false,
        // The copy of a request may be answered from what was read alone.
        Answer::KeyMade(..) => !matches!(call, Call::CreateKey { request: Some(_), .. }),
        Answer::Claimed(_) => !matches!(call, Call::Consume { id: Some(_), .. }),
        Answer::Deleted(counts) => *counts != Counts::default(),
        answer => !call.changed_nothing(answer),
    }
}
