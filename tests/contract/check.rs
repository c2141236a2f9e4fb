//! Can a history be put in one order that the specification allows?
//!
//! A history is what many callers asked of one user and were answered, each with the times of both. It is *linearizable*
//! if every call can be given one moment between its two times so that the calls, one after the other at these moments,
//! are all answered as the specification says. That covers the contract's promises about order: what an answered
//! revocation ended is seen ended by everyone who asks later, a jti is swapped once, a value is claimed once, and so on.
//!
//! The unit is the user with all sessions, one-time tokens and API keys, so a call that ends all of them at once is one step that
//! everybody sees whole or not at all. That is more than the contract says (it would allow a list to be read while a
//! revocation of many is half visible), and what the registry does: one statement or one transaction a call. A history
//! that passes proves that this run broke no promise about this user; it says nothing of other runs, of promises across
//! users (there are none) and of time windows, which are kept out of it.
//!
//! **Unknown outcomes.** A call whose caller was told that the outcome is unknown, or nothing at all, may take effect at
//! any moment after it was sent, or never.
//!
//! **A purge** takes what is over, of all users, beside everything else; each thing at a moment of its own
//! (`purge.rs`). No call about one user says when, so from the beginning of the first purge on it may have been.
//!
//! **Names that the server makes** (a minted jti, a version, a challenge, a key) are taken from the answer. Where there is none,
//! every name that turns up elsewhere and is nobody else's for sure is tried, and one that is never seen.
//!
//! **Lists are in the order of their making.** Of two tokens or keys that a list shows it is known from the beginning which
//! one was made first. Explanations that have it the other way round would fail at that list, and many makings at once
//! have more orders than can be followed until then. Nor is it tried to explain a history by what was made and never
//! listed, where the last that was asked is what there is.
//!
//! The search goes through the history in time (Lowe's just-in-time linearization): it keeps every state that the user
//! may be in, with the calls under way that have then taken effect. When a call is answered, each of these must have it
//! take effect with that answer, now or after others that are under way. If none can, the history can't be explained.

use std::collections::HashMap;
use std::rc::Rc;

use super::history::{Event, NEVER};
use super::listed::Listed;
use super::names_seen::NamesSeen;
use super::user::User;
use super::words::Call;

/// What the check of a history says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The specification allows it.
    Allowed,
    /// It doesn't; at the answer of this event the last explanation failed.
    Violation(usize),
    /// There were too many possibilities to look at.
    Undecided,
}

/// How many steps a check takes at most before it gives up: half a second or so.
const STEPS_MAX: usize = 200_000;
/// How many calls are under way at most, those of unknown outcome included.
const SLOTS: usize = u128::BITS as usize;

/// Checks the history of a user who was never seen before, and of whom nothing was purged.
pub fn check(history: &[Event]) -> Verdict {
    check_beside_purge(history, NEVER)
}

/// Checks the history of a user who was never seen before. A purge may have taken what was over since `purged_from`.
pub fn check_beside_purge(history: &[Event], purged_from: u64) -> Verdict {
    // A user may come to be known before the call that makes the user known has done the rest, and stays so if the rest
    // fails: a step of its own, for as long as the call is under way. Not while the user is known anyway.
    let is_deletion = |event: &&Event| event.call == Call::DeleteUser;
    let known_until = match history.first() {
        Some(Event { call: Call::CreateUser, answer: Some(_), .. }) => {
            history.iter().filter(is_deletion).map(|event| event.began).min().unwrap_or(NEVER)
        }
        _ => 0,
    };
    let creators = history.iter().filter(|event| event.call.may_create_user() && event.ended > known_until);
    let steps = creators.map(|event| Event { call: Call::CreateUser, answer: None, ..event.clone() });
    let with_steps: Vec<_> = history.iter().cloned().chain(steps).collect();
    Search::new(&with_steps, purged_from).run()
}

/// One way to explain what was answered so far.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Explanation {
    user: Rc<User>,
    /// The calls under way that have taken effect, by slot.
    done: u128,
}

/// Explanations, without those that can do nothing that another can't.
#[derive(Default)]
struct Explanations {
    /// By state and by the answered calls that have taken effect: which calls of unknown outcome have.
    by_state: HashMap<Explanation, Vec<u128>>,
}

struct Search<'a> {
    history: &'a [Event],
    /// From when on what is over may be gone.
    purged_from: u64,
    names: NamesSeen,
    listed: Listed,
    /// The calls under way.
    slots: Vec<Option<usize>>,
    /// The slots of calls whose outcome is unknown.
    unknown: u128,
    steps: usize,
}

impl Explanations {
    /// Adds an explanation; false if one like it, with no more calls used up, is there.
    fn add(&mut self, found: &Explanation, unknown: u128) -> bool {
        let key = Explanation { user: Rc::clone(&found.user), done: found.done & !unknown };
        let used = found.done & unknown;
        let others = self.by_state.entry(key).or_default();
        if others.iter().any(|other| other & used == *other) {
            return false;
        }
        others.retain(|other| other & used != used);
        others.push(used);
        true
    }

    fn into_vec(self) -> Vec<Explanation> {
        let all = self.by_state.into_iter().flat_map(|(key, used)| {
            used.into_iter()
                .map(move |used| Explanation { user: Rc::clone(&key.user), done: key.done | used })
        });
        all.collect()
    }
}

impl<'a> Search<'a> {
    fn new(history: &'a [Event], purged_from: u64) -> Self {
        let names = NamesSeen::of(history);
        let listed = Listed::of(history, purged_from);
        Self { history, purged_from, names, listed, slots: Vec::new(), unknown: 0, steps: 0 }
    }

    fn run(mut self) -> Verdict {
        // What begins at the moment of another's end may have been beside it.
        let mut moments: Vec<(u64, bool, usize)> = Vec::with_capacity(self.history.len() * 2);
        for (n, event) in self.history.iter().enumerate() {
            moments.push((event.began, false, n));
            moments.push((event.ended, true, n));
        }
        moments.sort_unstable();
        let mut explanations = vec![Explanation { user: Rc::default(), done: 0 }];
        for (time, is_end, n) in moments {
            if time == NEVER {
                break;
            }
            if is_end {
                explanations = self.end(explanations, n);
                if explanations.is_empty() {
                    return if self.steps > STEPS_MAX { Verdict::Undecided } else { Verdict::Violation(n) };
                }
            } else if !self.begin(&mut explanations, n) {
                return Verdict::Undecided;
            }
            if self.steps > STEPS_MAX {
                return Verdict::Undecided;
            }
        }
        Verdict::Allowed
    }

    fn slot_of(&self, n: usize) -> usize {
        self.slots.iter().position(|slot| *slot == Some(n)).expect("it has begun")
    }

    fn begin(&mut self, explanations: &mut [Explanation], n: usize) -> bool {
        let slot = self.slots.iter().position(Option::is_none).unwrap_or(self.slots.len());
        if slot == SLOTS {
            return false;
        }
        if slot == self.slots.len() {
            self.slots.push(None);
        }
        self.slots[slot] = Some(n);
        if self.history[n].answer.is_none() {
            self.unknown |= 1 << slot;
        }
        for explanation in explanations {
            self.settle(explanation);
        }
        true
    }

    /// Lets take effect what is under way and was answered as the present state says and changes nothing: later would
    /// be no better.
    fn settle(&mut self, explanation: &mut Explanation) {
        for slot in 0..self.slots.len() {
            let Some(n) = self.slots[slot].filter(|_| explanation.done & (1 << slot) == 0) else { continue };
            let event = &self.history[n];
            let Some(answer) = &event.answer else { continue };
            if event.call.changed_nothing(answer) {
                self.steps += 1;
                let made = self.names.made(event, n, &explanation.user)[0];
                let (after, given) = explanation.user.step(&event.call, made);
                if given == *answer && after == *explanation.user {
                    explanation.done |= 1 << slot;
                }
            }
        }
    }

    /// The explanations that are left when a call was answered, or can have no effect any more.
    fn end(&mut self, explanations: Vec<Explanation>, n: usize) -> Vec<Explanation> {
        let slot = self.slot_of(n);
        let bit = 1_u128 << slot;
        let mut left = Explanations::default();
        let mut seen = Explanations::default();
        let mut open = Vec::new();
        let is_known = self.history[n].answer.is_some();
        for explanation in explanations {
            if explanation.done & bit != 0 || !is_known {
                left.add(&Explanation { done: explanation.done & !bit, ..explanation }, self.unknown & !bit);
            } else if seen.add(&explanation, self.unknown) {
                open.push(explanation);
            }
        }
        while let Some(explanation) = open.pop() {
            for next in self.next(&explanation) {
                if next.done & bit != 0 {
                    left.add(&Explanation { done: next.done & !bit, ..next }, self.unknown);
                } else if seen.add(&next, self.unknown) {
                    open.push(next);
                }
            }
            if self.steps > STEPS_MAX {
                return Vec::new();
            }
        }
        self.slots[slot] = None;
        self.unknown &= !bit;
        left.into_vec()
    }

    /// All that can come of one more call's effect.
    fn next(&mut self, explanation: &Explanation) -> Vec<Explanation> {
        let mut all = Vec::new();
        for slot in 0..self.slots.len() {
            let Some(n) = self.slots[slot].filter(|_| explanation.done & (1 << slot) == 0) else { continue };
            let event = &self.history[n];
            for before in self.befores(&explanation.user, event) {
                for made in self.names.made(event, n, &before) {
                    self.steps += 1;
                    let (after, given) = before.step(&event.call, made);
                    let is_possible = match &event.answer {
                        Some(answer) => given == *answer,
                        None => after != *before,
                    } && !self.listed.rules_out(made.name, &before, &after);
                    if is_possible {
                        let mut next =
                            Explanation { user: Rc::new(after), done: explanation.done | 1 << slot };
                        self.settle(&mut next);
                        all.push(next);
                    }
                }
            }
        }
        all
    }
}

impl Search<'_> {
    /// How a user may have been when a call took effect: as is known, or without what a purge took.
    fn befores(&self, user: &Rc<User>, event: &Event) -> Vec<Rc<User>> {
        let mut all = vec![Rc::clone(user)];
        if event.ended >= self.purged_from {
            all.extend(user.purged(&event.call, event.answer.as_ref()).into_iter().map(Rc::new));
        }
        all
    }
}
