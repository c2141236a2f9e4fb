//! What becomes of the calls when three times as many come as can be answered.

use std::time::Duration;

use crate::Failure;
use crate::compare::{rates, ratio};
use crate::generator::{Load, Outcome};
use crate::requests::Method;
use crate::spread::Spread;
use crate::stage::{Bench, Contestant, Stage};
use crate::table::Goal::{AtLeast, AtMost};
use crate::table::Row;

/// So many times the best rate comes.
const TIMES: f64 = 3.0;
/// Over so many connections, each of which can have as many requests under way as the server permits.
const CONNECTIONS: usize = 16;
/// Until all of those are under way, and the first of them answered.
const WARM_UP: Duration = Duration::from_secs(1);

/// Lets the best rate, half of it and three times as much take turns.
pub async fn overload(bench: &mut Bench, stage: &mut Stage) -> Result<Vec<Row>, Failure> {
    let mut rows = Vec::new();
    for (names, method, called) in [
        (["overload-check", "overload-tail-check"], Method::Check, "CheckSession"),
        (["overload-rotate", "overload-tail-rotate"], Method::Rotate, "RotateRefreshToken"),
    ] {
        if !bench.plan.wants(&names) {
            continue;
        }
        let best = bench.best_rate(stage, method).await?;
        let (mut at_best, mut at_half, mut flooded) = (Vec::new(), Vec::new(), Vec::new());
        for round in 1..=bench.plan.rounds {
            at_best.push(bench.measure(stage, Contestant::Server(method, 256), round).await?);
            let half = bench.open_load(stage, method, best / 2.0)?;
            let flood = Load {
                rate: Some(best * TIMES),
                connections: CONNECTIONS,
                warm_up: WARM_UP,
                overload: true,
                ..half
            };
            for (load, what, outcomes) in [
                (half, "half of its best rate", &mut at_half),
                (flood, "three times its best rate", &mut flooded),
            ] {
                let outcome = stage.generator.load(load)?;
                bench.keep(format!("{method:?} at {what}"), stage.filled.sessions, round, &outcome, None);
                outcomes.push(outcome);
            }
        }
        let refused: u64 = flooded.iter().map(|outcome| outcome.refused).sum();
        let unsent: u64 = flooded.iter().map(|outcome| outcome.unsent).sum();
        let goodput = ratio(&flooded, &at_best, |outcome| outcome.rate);
        let what = format!("{called} at three times its best rate, answered of it");
        let detail = format!("{}; {refused} refused, {unsent} not sent", rates(&flooded, &at_best));
        rows.push(Row::new(names[0], what, AtLeast(0.9), goodput).detail(detail));

        let p99 =
            |outcomes: &[Outcome]| Spread::of(outcomes.iter().map(|outcome| outcome.p99 / 1000.0)).median;
        let what = format!("p99 of {called} at three times its best rate, of p99 at half of it");
        let detail = format!("{:.1} ms against {:.1} ms", p99(&flooded), p99(&at_half));
        let tail = ratio(&flooded, &at_half, |outcome| outcome.p99);
        rows.push(Row::new(names[1], what, AtMost(5.0), tail).detail(detail));
    }
    Ok(rows)
}
