//! The rows of the speed table: who is compared with whom.

use serde::Serialize;

use crate::cluster::Cluster;
use crate::generator::Outcome;
use crate::options::Plan;
use crate::overload;
use crate::pgbench::{CLIENTS, Pgbench};
use crate::process::Generator;
use crate::purge;
use crate::replicas;
use crate::requests::{BATCH, Method};
use crate::scripts::Script;
use crate::sizes;
use crate::stage::Contestant::{Bare, Pgbench as OfPgbench, Server, Ungathered};
use crate::stage::{Bench, Measurement, Stage};
use crate::table::Goal::{self, AtLeast, AtMost};
use crate::table::{Row, Spread};
use crate::{Failure, crowd, progress, settings};

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
    // As many as pgbench would need at 12 thousand a second.
    let runs = u64::from(plan.rounds) + CLIENTS.len() as u64;
    let secrets_a_run = u64::from(plan.seconds) * 12_000;
    let secrets = if plan.wants(&["consume-pgbench"]) { secrets_a_run * runs } else { 0 };
    let seed = plan.wants(&["rotate-pgbench", "rotate-seed", "rotate-echo", "tail-rotate"]);
    let pgbench = Pgbench::new(cluster.pgbench.clone(), secrets_a_run)?;
    let mut bench = Bench { plan, pgbench, measurements: Vec::new() };
    let mut stage = Stage::set(&cluster, bench.plan.sessions, secrets, seed, false).await?;

    let mut rows = Vec::new();
    rows.extend(checks(&mut bench, &mut stage).await?);
    rows.extend(rotations(&mut bench, &mut stage).await?);
    for method in [Method::Add, Method::Issue, Method::Consume] {
        rows.extend(writes(&mut bench, &mut stage, method).await?);
    }
    rows.extend(authentications(&mut bench, &mut stage).await?);
    rows.extend(idle(&mut bench, &mut stage).await?);
    rows.extend(idle_beside_plain(&mut bench, &mut stage).await?);
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

fn rate(outcome: &Outcome) -> f64 {
    outcome.rate
}

/// The ratio of two, round by round.
pub fn ratio(ours: &[Outcome], theirs: &[Outcome], of: impl Fn(&Outcome) -> f64) -> Spread {
    Spread::of(ours.iter().zip(theirs).map(|(ours, theirs)| of(ours) / of(theirs)))
}

pub fn rates(ours: &[Outcome], theirs: &[Outcome]) -> String {
    let median = |outcomes: &[Outcome]| Spread::of(outcomes.iter().map(rate)).median;
    format!("{:.0}/s against {:.0}/s", median(ours), median(theirs))
}

fn against(name: &'static str, what: &str, goal: Goal, ours: &[Outcome], theirs: &[Outcome]) -> Row {
    Row::new(name, what, goal, ratio(ours, theirs, rate)).detail(rates(ours, theirs))
}

fn tail(name: &'static str, what: &str, outcomes: &[Outcome]) -> Row {
    let of = |quantile: fn(&Outcome) -> f64| Spread::of(outcomes.iter().map(quantile)).median / 1000.0;
    let (p50, p99) = (of(|outcome| outcome.p50), of(|outcome| outcome.p99));
    Row::new(name, what, AtMost(4.0), Spread::of(outcomes.iter().map(|outcome| outcome.p99 / outcome.p50)))
        .detail(format!("p50 {p50:.2} ms, p99 {p99:.2} ms"))
}

async fn checks(bench: &mut Bench, stage: &mut Stage) -> Result<Vec<Row>, Failure> {
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

async fn rotations(bench: &mut Bench, stage: &mut Stage) -> Result<Vec<Row>, Failure> {
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

async fn writes(bench: &mut Bench, stage: &mut Stage, method: Method) -> Result<Vec<Row>, Failure> {
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

async fn authentications(bench: &mut Bench, stage: &mut Stage) -> Result<Vec<Row>, Failure> {
    if !bench.plan.wants(&["authenticate"]) {
        return Ok(Vec::new());
    }
    let contestants = [Server(Method::EchoAuthenticate, 256), Server(Method::Authenticate, 256)];
    let [echo, ours] = bench.turns(stage, contestants).await?;
    let what = "AuthenticateAuthToken of echo, 256 in flight";
    Ok(vec![against("authenticate", what, AtLeast(0.8), &ours, &echo)])
}

/// What a request costs that comes alone.
async fn idle(bench: &mut Bench, stage: &mut Stage) -> Result<Vec<Row>, Failure> {
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
        let contestants = [Server(echo, 1), Server(method, 1), OfPgbench(script, 1)];
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
async fn idle_beside_plain(bench: &mut Bench, stage: &mut Stage) -> Result<Vec<Row>, Failure> {
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
        let rate = Spread::of(outcomes.iter().map(rate)).median;
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
