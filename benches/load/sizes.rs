//! The rows about sizes: of the table, of the database and of the server's memory.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::Failure;
use crate::cluster::{Cluster, Filled};
use crate::compare::{rates, ratio};
use crate::generator::{Load, Order};
use crate::process::{self, Server};
use crate::requests::Method;
use crate::spread::Spread;
use crate::stage::{Bench, Contestant, Stage};
use crate::table::Goal::{AtLeast, AtMost};
use crate::table::Row;

const SMALL: u64 = 10_000;
/// The numbers of sessions between it and the largest.
const SIZES: [u64; 2] = [100_000, 1_000_000];
/// Fewer than the 1,024 files that a process may open where nobody has raised the limit.
const IDLE: u32 = 900;

/// The same load on few sessions and on many.
pub async fn growth(bench: &mut Bench, cluster: &Cluster, stage: &mut Stage) -> Result<Vec<Row>, Failure> {
    if !bench.plan.wants(&["growth-check", "growth-rotate"]) {
        return Ok(Vec::new());
    }
    let small = Stage::set(cluster, SMALL, 0, false, false).await?;
    let mut others = vec![small];
    for sessions in SIZES.into_iter().filter(|size| *size < bench.plan.large).chain([bench.plan.large]) {
        if sessions != stage.filled.sessions {
            others.push(Stage::set(cluster, sessions, 0, false, false).await?);
        }
    }
    let mut stages: Vec<_> = others.iter_mut().chain([stage]).collect();
    stages.sort_by_key(|stage| stage.filled.sessions);
    let mut rows = Vec::new();
    for (name, method, called) in [
        ("growth-check", Method::Check, "CheckSession"),
        ("growth-rotate", Method::Rotate, "RotateRefreshToken"),
    ] {
        let mut outcomes = vec![Vec::new(); stages.len()];
        for round in 1..=bench.plan.rounds {
            for (stage, outcomes) in stages.iter_mut().zip(&mut outcomes) {
                outcomes.push(bench.measure(stage, Contestant::Server(method, 256), round).await?);
            }
        }
        let (Some(of_small), Some(of_large)) = (outcomes.first(), outcomes.last()) else { continue };
        let what = format!("{called} with {} sessions of the same with {SMALL}", bench.plan.large);
        let row = Row::new(name, what, AtLeast(0.9), ratio(of_large, of_small, |outcome| outcome.rate));
        rows.push(row.detail(rates(of_large, of_small)));
    }
    Ok(rows)
}

/// What rotations leave behind, on a table small enough to rotate each of its sessions often.
pub async fn hot(bench: &mut Bench, cluster: &Cluster) -> Result<Vec<Row>, Failure> {
    if !bench.plan.wants(&["hot", "table"]) {
        return Ok(Vec::new());
    }
    let wear = rotate_again_and_again(bench, cluster, None).await?;
    let detail = format!("of {} updates, {} a session on average", wear.updates, wear.rotations);
    let sizes = format!("{} kB, then {} kB", wear.before / 1024, wear.after / 1024);
    let what = format!("table after {} rotations a session", wear.rotations);
    Ok(vec![
        Row::new("hot", "rotations that were HOT", AtLeast(0.99), Spread::of([wear.hot])).detail(detail),
        Row::new("table", what, AtMost(1.3), Spread::of([wear.growth])).detail(sizes),
    ])
}

/// What rotations did to the table of sessions.
pub struct Wear {
    pub rotations: u64,
    pub updates: i64,
    /// The share of updates that stayed on their page.
    pub hot: f64,
    /// Bytes.
    pub before: i64,
    pub after: i64,
    pub growth: f64,
}

/// Rotates all sessions of a small table many times, filled as the schema says or to so many percent.
pub async fn rotate_again_and_again(
    bench: &mut Bench,
    cluster: &Cluster,
    fillfactor: Option<u32>,
) -> Result<Wear, Failure> {
    // Quick: fewer, and fewer of them. On a table much smaller than this, one statement that waits for its processor
    // keeps more dead versions alive than a page has room for.
    let (sessions, rotations) = if bench.plan.full { (10_000, 100) } else { (1000, 50) };
    let stage = Stage::set(cluster, sessions, 0, false, true).await?;
    if let Some(percent) = fillfactor {
        for statement in
            [&format!("alter table sessions set (fillfactor = {percent})"), "vacuum full sessions"]
        {
            stage.filled.client.batch_execute(statement).await?;
        }
    }
    let contestant = Contestant::Server(Method::Rotate, 16);
    let load = bench.load(&stage, contestant).ok_or("a server takes load")?;
    let before = table(&stage.filled).await?;
    // Ends when it has made so many; the length only keeps a slow machine from never ending.
    let (limit, length) = (Some(sessions * rotations), Duration::from_mins(10));
    let Stage { filled, server, ungathered, mut generator } = stage;
    let outcome = generator.load(Load { limit, length, warm_up: Duration::ZERO, ..load })?;
    let filled_to = fillfactor.map(|percent| format!(", fillfactor {percent}")).unwrap_or_default();
    bench.keep(format!("Rotate again and again{filled_to}"), sessions, 0, &outcome, None);
    // PostgreSQL's processes tell what they did when their clients leave.
    drop((server, ungathered));
    let mut after = table(&filled).await?;
    for _ in 0..100 {
        if after.updates - before.updates >= i64::try_from(outcome.answered)? {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        after = table(&filled).await?;
    }
    #[expect(clippy::cast_precision_loss, reason = "counts and sizes of one table")]
    let share = |part: i64, whole: i64| part as f64 / whole as f64;
    let updates = after.updates - before.updates;
    Ok(Wear {
        rotations,
        updates,
        hot: share(after.hot - before.hot, updates),
        before: before.bytes,
        after: after.bytes,
        growth: share(after.bytes, before.bytes),
    })
}

struct Table {
    updates: i64,
    hot: i64,
    bytes: i64,
}

async fn table(filled: &Filled) -> Result<Table, Failure> {
    let sql = "select n_tup_upd, n_tup_hot_upd, pg_table_size('sessions') from pg_stat_user_tables where relname = 'sessions'";
    let row = filled.client.query_one(sql, &[]).await?;
    Ok(Table { updates: row.get(0), hot: row.get(1), bytes: row.get(2) })
}

/// The server's memory: under load, and what a connection takes that does nothing.
pub fn memory(bench: &mut Bench, stage: &mut Stage) -> Result<Vec<Row>, Failure> {
    let mut rows = Vec::new();
    let unknown = "there is no /proc here";
    if bench.plan.wants(&["memory"]) {
        let what = "server's resident memory at 256 in flight";
        // Fresh, so that nothing of earlier loads is left in its memory.
        let server = Server::start(&stage.filled, false)?;
        let most = most_resident(&server, || {
            for method in [Method::Check, Method::Rotate] {
                let load = bench.load(stage, Contestant::Server(method, 256)).ok_or("a server takes load")?;
                let outcome = stage.generator.load(Load { address: server.ready.registry, ..load })?;
                bench.keep(format!("{method:?} for memory"), stage.filled.sessions, 0, &outcome, None);
            }
            Ok(())
        })?;
        rows.push(match most {
            Some(most) => Row::new("memory", what, AtMost(40.0), Spread::of([most / 1e6])).unit("MB"),
            None => Row::missing("memory", what, AtMost(40.0), unknown),
        });
    }
    if bench.plan.wants(&["connection"]) {
        let what = "server's resident memory an idle connection";
        let server = Server::start(&stage.filled, false)?;
        let load = bench.load(stage, Contestant::Server(Method::Check, 16)).ok_or("a server takes load")?;
        let address = server.ready.registry;
        stage.generator.load(Load { address, ..load })?;
        let before = server.resident();
        stage.generator.order(&Order::Idle { address, connections: IDLE as usize })?;
        let after = server.resident();
        rows.push(match before.zip(after) {
            #[expect(clippy::cast_precision_loss, reason = "sizes of one process")]
            Some((before, after)) => {
                let each = (after as f64 - before as f64) / f64::from(IDLE) / 1e3;
                let detail = format!("{IDLE} connections that have asked once");
                Row::new("connection", what, AtMost(30.0), Spread::of([each])).unit("kB").detail(detail)
            }
            None => Row::missing("connection", what, AtMost(30.0), unknown),
        });
    }
    Ok(rows)
}

/// The most bytes that were resident while something is done.
fn most_resident(
    server: &Server,
    work: impl FnOnce() -> Result<(), Failure>,
) -> Result<Option<f64>, Failure> {
    let (id, done, most) = (server.id(), AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                most.fetch_max(process::resident(id).unwrap_or_default(), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        let worked = work();
        done.store(true, Ordering::Relaxed);
        worked
    })?;
    #[expect(clippy::cast_precision_loss, reason = "the size of a process")]
    let most = most.into_inner() as f64;
    Ok((most > 0.0).then_some(most))
}
