//! The rows about requests that come one by one.

use crate::Failure;
use crate::compare::ratio;
use crate::generator::Outcome;
use crate::requests::Method;
use crate::scripts::Script;
use crate::spread::Spread;
use crate::stage::Contestant::{Bare, Pgbench, Server};
use crate::stage::{Bench, Stage};
use crate::table::Goal::{self, AtMost};
use crate::table::Row;

/// What a request costs that comes alone.
pub async fn idle(bench: &mut Bench, stage: &mut Stage) -> Result<Vec<Row>, Failure> {
    let mut rows = Vec::new();
    for (name, what, echo, method, script) in [
        (
            "idle-check",
            "p50 of CheckSession, 1 in flight, of echo's + statement's",
            Method::EchoCheck,
            Method::Check,
            Script::Check,
        ),
        (
            "idle-rotate",
            "p50 of RotateRefreshToken, 1 in flight, of echo's + statement's",
            Method::EchoRotate,
            Method::Rotate,
            Script::Rotate,
        ),
    ] {
        if !bench.plan.wants(&[name]) {
            continue;
        }
        let contestants = [Server(echo, 1), Server(method, 1), Pgbench(script, 1)];
        let [echo, ours, statement] = bench.turns(stage, contestants).await?;
        let parts = echo.iter().zip(&statement).map(|(echo, statement)| echo.p50 + statement.p50);
        let ratio = Spread::of(ours.iter().zip(parts).map(|(ours, parts)| ours.p50 / parts));
        let p50 = |outcomes: &[Outcome]| Spread::of(outcomes.iter().map(|outcome| outcome.p50)).median;
        let detail = format!("{:.0} µs against {:.0} + {:.0} µs", p50(&ours), p50(&echo), p50(&statement));
        rows.push(Row::new(name, what, AtMost(1.1), ratio).detail(detail));
    }
    Ok(rows)
}

/// What a request costs that comes alone, over the same statement in a handler that has nothing else.
pub async fn idle_beside_plain(bench: &mut Bench, stage: &mut Stage) -> Result<Vec<Row>, Failure> {
    if !bench.plan.wants(&["idle-plain"]) {
        return Ok(Vec::new());
    }
    let contestants = [Server(Method::Check, 1), Bare(Method::PlainCheck, 1)];
    let [ours, plain] = bench.turns(stage, contestants).await?;
    let p50 = |outcomes: &[Outcome]| Spread::of(outcomes.iter().map(|outcome| outcome.p50)).median;
    let what = "p50 of CheckSession, 1 in flight, of a plain handler's with the same statement";
    let row = Row::new("idle-plain", what, Goal::None, ratio(&ours, &plain, |outcome| outcome.p50));
    Ok(vec![row.detail(format!("{:.0} µs against {:.0} µs", p50(&ours), p50(&plain)))])
}
