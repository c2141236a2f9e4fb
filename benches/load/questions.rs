//! The rows about questions: of sessions, one by one and in batches, and of API keys.

use crate::Failure;
use crate::compare::{against, rates, tail};
use crate::requests::{BATCH, Method};
use crate::scripts::Script;
use crate::spread::Spread;
use crate::stage::Contestant::{Bare, Server, Ungathered};
use crate::stage::{Bench, Stage};
use crate::table::Goal::{self, AtLeast};
use crate::table::Row;

/// `CheckSession` beside echo, beside itself ungathered, and beside pgbench.
pub async fn checks(bench: &mut Bench, stage: &mut Stage) -> Result<Vec<Row>, Failure> {
    let mut rows = Vec::new();
    if bench.plan.wants(&["check-echo-256", "check-echo-64", "check-pgbench", "batch", "tail-check", "layer"])
    {
        let best = bench.best(stage, Script::Check).await?;
        let contestants = [
            Server(Method::EchoCheck, 256),
            Server(Method::Check, 256),
            Server(Method::EchoCheck, 64),
            Server(Method::Check, 64),
            Server(Method::Batch, 16),
            Bare(Method::EchoCheck, 256),
            best,
        ];
        let [echo, check, echo_64, check_64, batch, bare, pgbench] = bench.turns(stage, contestants).await?;
        rows.push(against(
            "check-echo-256",
            "CheckSession of echo, 256 in flight",
            AtLeast(0.85),
            &check,
            &echo,
        ));
        rows.push(against(
            "check-echo-64",
            "CheckSession of echo, 64 in flight",
            AtLeast(0.7),
            &check_64,
            &echo_64,
        ));
        #[expect(clippy::cast_precision_loss, reason = "it is 100")]
        let sessions = Spread::of(batch.iter().zip(&check).map(|(b, c)| BATCH as f64 * b.rate / c.rate));
        rows.push(
            Row::new("batch", "sessions by BatchCheckSessions of CheckSession", AtLeast(10.0), sessions)
                .detail(format!("batches: {}", rates(&batch, &check))),
        );
        rows.push(tail("tail-check", "p99 / p50 of CheckSession, 256 in flight", &check));
        rows.push(against("check-pgbench", "CheckSession of pgbench's best", Goal::None, &check, &pgbench));
        rows.push(against("layer", "echo of a tonic server without our layer", Goal::None, &echo, &bare));
    }
    if bench.plan.wants(&["check-ungathered"]) {
        let what = "CheckSession of the ungathered server";
        if stage.ungathered.is_some() {
            let contestants = [Server(Method::Check, 256), Ungathered(Method::Check, 256)];
            let [ours, theirs] = bench.turns(stage, contestants).await?;
            rows.push(against("check-ungathered", what, AtLeast(3.0), &ours, &theirs));
        } else {
            let why = "the server doesn't gather requests yet";
            rows.push(Row::missing("check-ungathered", what, AtLeast(3.0), why));
        }
    }
    Ok(rows)
}

/// `AuthenticateAuthToken` beside echo.
pub async fn authentications(bench: &mut Bench, stage: &mut Stage) -> Result<Vec<Row>, Failure> {
    if !bench.plan.wants(&["authenticate"]) {
        return Ok(Vec::new());
    }
    let contestants = [Server(Method::EchoAuthenticate, 256), Server(Method::Authenticate, 256)];
    let [echo, ours] = bench.turns(stage, contestants).await?;
    let what = "AuthenticateAuthToken of echo, 256 in flight";
    Ok(vec![against("authenticate", what, AtLeast(0.8), &ours, &echo)])
}
