//! More servers before one database, and a second database behind it: what an operator who grows may expect.

use crate::Failure;
use crate::cluster::Cluster;
use crate::compare::{rates, ratio};
use crate::cpu::Moment;
use crate::generator::{Load, Outcome};
use crate::process::Server;
use crate::requests::Method;
use crate::spread::Spread;
use crate::stage::{Bench, Contestant, Stage};
use crate::table::Goal;
use crate::table::Row;

/// As many for one server as for three.
const CONNECTIONS: usize = 6;

/// One, two and three servers on the same database take turns, under the same load.
pub fn replicas(bench: &mut Bench, stage: &mut Stage) -> Result<Vec<Row>, Failure> {
    if !bench.plan.wants(&["replicas-check", "replicas-rotate"]) {
        return Ok(Vec::new());
    }
    let others = [Server::start(&stage.filled, false)?, Server::start(&stage.filled, false)?];
    let addresses = [others[0].ready.registry, others[1].ready.registry];
    let mut rows = Vec::new();
    for (name, method, called) in [
        ("replicas-check", Method::Check, "CheckSession"),
        ("replicas-rotate", Method::Rotate, "RotateRefreshToken"),
    ] {
        if !bench.plan.wants(&[name]) {
            continue;
        }
        let load = bench.load(stage, Contestant::Server(method, 256)).ok_or("a server takes load")?;
        let load = Load { connections: CONNECTIONS, ..load };
        let mut outcomes = [const { Vec::new() }; 3];
        for round in 1..=bench.plan.rounds {
            for (more, outcomes) in outcomes.iter_mut().enumerate() {
                let others = std::array::from_fn(|n| (n < more).then(|| addresses[n]));
                let who = format!("{method:?} by {} replicas", more + 1);
                outcomes.push(measure(bench, stage, who, Load { others, ..load }, round)?);
            }
        }
        let [one, two, three] = &outcomes;
        for (replicas, several) in [(2, two), (3, three)] {
            let what = format!("{called} by {replicas} replicas of one, 256 in flight");
            let row = Row::new(name, what, Goal::None, ratio(several, one, |outcome| outcome.rate));
            rows.push(row.detail(rates(several, one)));
        }
    }
    Ok(rows)
}

/// Commits that wait for a standby on the same machine, and commits that don't.
pub async fn standby(bench: &mut Bench, cluster: &Cluster, stage: &mut Stage) -> Result<Vec<Row>, Failure> {
    if !bench.plan.wants(&["standby-rotate"]) {
        return Ok(Vec::new());
    }
    let _standby = cluster.start_standby();
    let mut rows = Vec::new();
    for in_flight in [256, 1] {
        let load = bench.load(stage, Contestant::Server(Method::Rotate, in_flight)).ok_or("a server")?;
        let (mut alone, mut synchronous) = (Vec::new(), Vec::new());
        for round in 1..=bench.plan.rounds {
            for (waits, outcomes) in [(false, &mut alone), (true, &mut synchronous)] {
                cluster.commit_synchronously(waits).await?;
                let what = if waits { "with a synchronous standby" } else { "with an asynchronous standby" };
                let who = format!("Rotate at {in_flight} {what}");
                outcomes.push(measure(bench, stage, who, load, round)?);
            }
        }
        cluster.commit_synchronously(false).await?;
        let what =
            format!("RotateRefreshToken with a synchronous standby, of asynchronous, {in_flight} in flight");
        let p50 =
            |outcomes: &[Outcome]| Spread::of(outcomes.iter().map(|outcome| outcome.p50 / 1000.0)).median;
        let detail = format!(
            "{}; p50 {:.2} ms against {:.2} ms",
            rates(&synchronous, &alone),
            p50(&synchronous),
            p50(&alone)
        );
        let measured = ratio(&synchronous, &alone, |outcome| outcome.rate);
        rows.push(Row::new("standby-rotate", what, Goal::None, measured).detail(detail));
    }
    Ok(rows)
}

/// Of the servers, the first one's processor time is counted.
fn measure(
    bench: &mut Bench,
    stage: &mut Stage,
    who: String,
    load: Load,
    round: u32,
) -> Result<Outcome, Failure> {
    let (server, generator, backend) = (stage.server.id(), stage.generator.id(), stage.filled.backend);
    let before = Moment::now(server, generator, backend);
    let outcome = stage.generator.load(load)?;
    let cpu = before.until(&Moment::now(server, generator, backend), outcome.answered);
    bench.keep(who, stage.filled.sessions, round, &outcome, cpu);
    Ok(outcome)
}
