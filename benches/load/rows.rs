//! The rows of the speed table: who is compared with whom.

use serde::Serialize;

use crate::cluster::Cluster;
use crate::compare::against;
use crate::generator::Outcome;
use crate::measurement::Measurement;
use crate::options::Plan;
use crate::pgbench::{CLIENTS, Pgbench};
use crate::process::Generator;
use crate::requests::Method;
use crate::spread::Spread;
use crate::stage::Contestant::Server;
use crate::stage::{Bench, Stage};
use crate::table::Goal::{self, AtMost};
use crate::table::Row;
use crate::{Failure, progress};
use crate::{alone, crowd, overload, purge, questions, replicas, settings, sizes, writes};

/// All rows, in the table's order.
pub const NAMES: &[&str] = &[
    "check-echo-256",
    "check-echo-64",
    "check-ungathered",
    "check-pgbench",
    "rotate-pgbench",
    "rotate-seed",
    "rotate-echo",
    "add-pgbench",
    "issue-pgbench",
    "consume-pgbench",
    "authenticate",
    "batch",
    "idle-check",
    "idle-rotate",
    "idle-plain",
    "tail-check",
    "tail-rotate",
    "open-check",
    "open-rotate",
    "overload-check",
    "overload-tail-check",
    "overload-rotate",
    "overload-tail-rotate",
    "purge-check",
    "purge-rotate",
    "growth-check",
    "growth-rotate",
    "hot",
    "table",
    "memory",
    "connection",
    "crowd",
    "setting-commit",
    "setting-fillfactor",
    "replicas-check",
    "replicas-rotate",
    "standby-rotate",
    "layer",
    "generator",
    "curve",
];

/// Everything measured, as the JSON file has it.
#[derive(Debug, Serialize)]
pub struct Results {
    pub sessions: u64,
    pub seconds: u32,
    pub rounds: u32,
    pub postgresql: String,
    pub processors: usize,
    pub gathered: bool,
    /// The machine's load average before anything was started; none where it isn't known.
    pub load_before: Option<f64>,
    pub rows: Vec<Row>,
    pub measurements: Vec<Measurement>,
}

/// Measures what the plan wants.
pub async fn measure(plan: Plan) -> Result<Results, Failure> {
    let load_before = load_average();
    progress("starting PostgreSQL");
    let cluster = Cluster::start();
    let postgresql = cluster.version().await?;
    // As many as pgbench would need at 30 thousand a second.
    let runs = u64::from(plan.rounds) + CLIENTS.len() as u64;
    let secrets_a_run = u64::from(plan.seconds) * 30_000;
    let secrets = if plan.wants(&["consume-pgbench"]) { secrets_a_run * runs } else { 0 };
    let seed = plan.wants(&["rotate-pgbench", "rotate-seed", "rotate-echo", "tail-rotate"]);
    let pgbench = Pgbench::new(cluster.pgbench.clone(), secrets_a_run)?;
    let mut bench = Bench { plan, pgbench, measurements: Vec::new() };
    let mut stage = Stage::set(&cluster, bench.plan.sessions, secrets, seed, false).await?;

    let mut rows = Vec::new();
    rows.extend(questions::checks(&mut bench, &mut stage).await?);
    rows.extend(writes::rotations(&mut bench, &mut stage).await?);
    for method in [Method::Add, Method::Issue, Method::Consume] {
        rows.extend(writes::writes(&mut bench, &mut stage, method).await?);
    }
    rows.extend(questions::authentications(&mut bench, &mut stage).await?);
    rows.extend(alone::idle(&mut bench, &mut stage).await?);
    rows.extend(alone::idle_beside_plain(&mut bench, &mut stage).await?);
    rows.extend(open_loop(&mut bench, &mut stage).await?);
    rows.extend(overload::overload(&mut bench, &mut stage).await?);
    rows.extend(light_enough(&mut bench, &mut stage).await?);
    curve(&mut bench, &mut stage).await?;
    rows.extend(sizes::memory(&mut bench, &mut stage)?);
    rows.extend(crowd::crowd(&mut bench, &mut stage)?);
    rows.extend(settings::synchronous_commit(&mut bench, &mut stage).await?);
    rows.extend(replicas::replicas(&mut bench, &mut stage)?);
    rows.extend(replicas::standby(&mut bench, &cluster, &mut stage).await?);
    rows.extend(sizes::growth(&mut bench, &cluster, &mut stage).await?);
    let gathered = stage.server.ready.gathered;
    drop(stage);
    rows.extend(sizes::hot(&mut bench, &cluster).await?);
    rows.extend(purge::purge(&mut bench, &cluster).await?);
    rows.extend(settings::fillfactor(&mut bench, &cluster).await?);

    rows.retain(|row| bench.plan.wants(&[row.name]));
    rows.sort_by_key(|row| NAMES.iter().position(|name| *name == row.name));
    Ok(Results {
        sessions: bench.plan.sessions,
        seconds: bench.plan.seconds,
        rounds: bench.plan.rounds,
        postgresql,
        processors: std::thread::available_parallelism().map_or(0, usize::from),
        gathered,
        load_before,
        rows,
        measurements: bench.measurements,
    })
}

fn load_average() -> Option<f64> {
    std::fs::read_to_string("/proc/loadavg").ok()?.split(' ').next()?.parse().ok()
}

/// Requests that come at a fixed rate, half of the best, whether answers come or not.
async fn open_loop(bench: &mut Bench, stage: &mut Stage) -> Result<Vec<Row>, Failure> {
    let mut rows = Vec::new();
    for (name, what, method) in [
        ("open-check", "p99 of CheckSession at half its best rate", Method::Check),
        ("open-rotate", "p99 of RotateRefreshToken at half its best rate", Method::Rotate),
    ] {
        if !bench.plan.wants(&[name]) {
            continue;
        }
        let mut outcomes = Vec::new();
        let half = bench.best_rate(stage, method).await? / 2.0;
        for round in 1..=bench.plan.rounds {
            let load = bench.open_load(stage, method, half)?;
            let outcome = stage.generator.load(load)?;
            bench.keep(format!("{method:?}, open loop"), stage.filled.sessions, round, &outcome, None);
            outcomes.push(outcome);
        }
        let p50 = Spread::of(outcomes.iter().map(|outcome| outcome.p50 / 1000.0)).median;
        let rate = Spread::of(outcomes.iter().map(|outcome| outcome.rate)).median;
        let p99 = Spread::of(outcomes.iter().map(|outcome| outcome.p99 / 1000.0));
        let row = Row::new(name, what, Goal::None, p99).unit("ms");
        rows.push(row.detail(format!("p50 {p50:.2} ms, at {rate:.0}/s")));
    }
    Ok(rows)
}

/// If two generators get more out of the echo than one, then it is the generator that is measured.
async fn light_enough(bench: &mut Bench, stage: &mut Stage) -> Result<Vec<Row>, Failure> {
    if !bench.plan.wants(&["generator"]) {
        return Ok(Vec::new());
    }
    let mut second = Generator::start(&stage.filled, false)?;
    let (mut one, mut two) = (Vec::new(), Vec::new());
    for round in 1..=bench.plan.rounds {
        one.push(bench.measure(stage, Server(Method::EchoCheck, 256), round).await?);
        let load = bench.load(stage, Server(Method::EchoCheck, 128)).ok_or("a server takes load")?;
        let [left, right] = stage.generator.both(&mut second, load)?;
        let rate = left.rate + right.rate;
        let sum = Outcome { rate, errors: left.errors + right.errors, ..left };
        bench.keep("EchoCheck, two generators at 128".into(), stage.filled.sessions, round, &sum, None);
        two.push(sum);
    }
    let what = "echo by two generators of echo by one";
    let row = against("generator", what, AtMost(1.05), &two, &one);
    let known = bench.known(Server(Method::EchoCheck, 256), stage.filled.sessions);
    let (of_generator, of_server): (Vec<_>, Vec<_>) =
        known.filter_map(|known| known.cpu).map(|cpu| (cpu.generator, cpu.server)).unzip();
    let (generator, server) = (Spread::of(of_generator).median, Spread::of(of_server).median);
    let detail = format!(
        "{}; of the processors it takes {generator:.1} µs a request, and the server {server:.1}",
        row.detail
    );
    Ok(vec![row.detail(detail)])
}

/// For the plot: the numbers in flight that no row has asked for.
async fn curve(bench: &mut Bench, stage: &mut Stage) -> Result<(), Failure> {
    if !bench.plan.wants(&["curve"]) {
        return Ok(());
    }
    for method in [Method::EchoCheck, Method::Check, Method::EchoRotate, Method::Rotate] {
        for in_flight in [1, 16, 64, 256] {
            let contestant = Server(method, in_flight);
            if bench.known(contestant, stage.filled.sessions).next().is_none() {
                bench.measure(stage, contestant, 0).await?;
            }
        }
    }
    Ok(())
}
