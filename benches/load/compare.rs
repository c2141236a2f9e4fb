//! Outcomes that took turns, compared.

use crate::generator::Outcome;
use crate::spread::Spread;
use crate::table::Goal::{self, AtMost};
use crate::table::Row;

/// Answers a second.
fn rate(outcome: &Outcome) -> f64 {
    outcome.rate
}

/// The ratio of two, round by round.
pub fn ratio(ours: &[Outcome], theirs: &[Outcome], of: impl Fn(&Outcome) -> f64) -> Spread {
    Spread::of(ours.iter().zip(theirs).map(|(ours, theirs)| of(ours) / of(theirs)))
}

/// Both rates, for a person.
pub fn rates(ours: &[Outcome], theirs: &[Outcome]) -> String {
    let median = |outcomes: &[Outcome]| Spread::of(outcomes.iter().map(rate)).median;
    format!("{:.0}/s against {:.0}/s", median(ours), median(theirs))
}

/// A row about our rate and theirs.
pub fn against(name: &'static str, what: &str, goal: Goal, ours: &[Outcome], theirs: &[Outcome]) -> Row {
    Row::new(name, what, goal, ratio(ours, theirs, rate)).detail(rates(ours, theirs))
}

/// A row about how much longer the slowest took.
pub fn tail(name: &'static str, what: &str, outcomes: &[Outcome]) -> Row {
    let of = |quantile: fn(&Outcome) -> f64| Spread::of(outcomes.iter().map(quantile)).median / 1000.0;
    let (p50, p99) = (of(|outcome| outcome.p50), of(|outcome| outcome.p99));
    Row::new(name, what, AtMost(4.0), Spread::of(outcomes.iter().map(|outcome| outcome.p99 / outcome.p50)))
        .detail(format!("p50 {p50:.2} ms, p99 {p99:.2} ms"))
}
