//! The rows about what writes.

use crate::Failure;
use crate::compare::{against, tail};
use crate::requests::Method;
use crate::scripts::Script;
use crate::stage::Contestant::Server;
use crate::stage::{Bench, Stage};
use crate::table::Goal::AtLeast;
use crate::table::Row;

/// `RotateRefreshToken` beside pgbench, the seed's way and echo.
pub async fn rotations(bench: &mut Bench, stage: &mut Stage) -> Result<Vec<Row>, Failure> {
    let mut rows = Vec::new();
    if !bench.plan.wants(&["rotate-pgbench", "rotate-echo", "rotate-seed", "tail-rotate"]) {
        return Ok(rows);
    }
    let pgbench = bench.best(stage, Script::Rotate).await?;
    let seed = bench.best(stage, Script::Seed).await?;
    let contestants = [Server(Method::EchoRotate, 256), Server(Method::Rotate, 256), pgbench, seed];
    let [echo, rotate, pgbench, seed] = bench.turns(stage, contestants).await?;
    for (name, what, goal, theirs) in [
        ("rotate-pgbench", "RotateRefreshToken of pgbench's best", AtLeast(3.0), &pgbench),
        ("rotate-seed", "RotateRefreshToken of the seed's way", AtLeast(8.0), &seed),
        ("rotate-echo", "RotateRefreshToken of echo, 256 in flight", AtLeast(0.5), &echo),
    ] {
        rows.push(against(name, what, goal, &rotate, theirs));
    }
    rows.push(tail("tail-rotate", "p99 / p50 of RotateRefreshToken, 256 in flight", &rotate));
    Ok(rows)
}

/// Another writing method beside pgbench with the same statement.
pub async fn writes(bench: &mut Bench, stage: &mut Stage, method: Method) -> Result<Vec<Row>, Failure> {
    let (name, what, script) = match method {
        Method::Add => ("add-pgbench", "AddRefreshToken of pgbench's best", Script::Add),
        Method::Issue => ("issue-pgbench", "IssueGenericToken of pgbench's best", Script::Issue),
        _ => ("consume-pgbench", "ConsumeGenericToken of pgbench's best", Script::Consume),
    };
    if !bench.plan.wants(&[name]) {
        return Ok(Vec::new());
    }
    let best = bench.best(stage, script).await?;
    let [ours, theirs] = bench.turns(stage, [Server(method, 256), best]).await?;
    Ok(vec![against(name, what, AtLeast(2.0), &ours, &theirs)])
}
