//! What PostgreSQL's settings do to a rotation: for operators to choose by.

use crate::Failure;
use crate::cluster::Cluster;
use crate::compare::{rates, ratio};
use crate::generator::Load;
use crate::process::Server;
use crate::requests::Method;
use crate::sizes::rotate_again_and_again;
use crate::spread::Spread;
use crate::stage::{Bench, Contestant, Stage};
use crate::table::Goal;
use crate::table::Row;

/// Commits that wait for the disk, and commits that don't.
pub async fn synchronous_commit(bench: &mut Bench, stage: &mut Stage) -> Result<Vec<Row>, Failure> {
    if !bench.plan.wants(&["setting-commit"]) {
        return Ok(Vec::new());
    }
    // A second registry on the same rows, whose connections were made while the database said so.
    for_new_connections(stage, "set synchronous_commit = off").await?;
    let careless = Server::start(&stage.filled, false)?;
    for_new_connections(stage, "reset synchronous_commit").await?;
    let contestant = Contestant::Server(Method::Rotate, 256);
    let load = bench.load(stage, contestant).ok_or("a server takes load")?;
    let (mut on, mut off) = (Vec::new(), Vec::new());
    for round in 1..=bench.plan.rounds {
        on.push(bench.measure(stage, contestant, round).await?);
        let outcome = stage.generator.load(Load { address: careless.ready.registry, ..load })?;
        let name = "Rotate at 256, synchronous_commit off".into();
        bench.keep(name, stage.filled.sessions, round, &outcome, None);
        off.push(outcome);
    }
    let what = "RotateRefreshToken with synchronous_commit off, of on";
    let row = Row::new("setting-commit", what, Goal::None, ratio(&off, &on, |outcome| outcome.rate));
    Ok(vec![row.detail(rates(&off, &on))])
}

async fn for_new_connections(stage: &Stage, setting: &str) -> Result<(), Failure> {
    let name: String = stage.filled.client.query_one("select current_database()", &[]).await?.get(0);
    Ok(stage.filled.client.batch_execute(&format!("alter database \"{name}\" {setting}")).await?)
}

/// Pages filled to the brim, which leave a rotation no room beside its row.
pub async fn fillfactor(bench: &mut Bench, cluster: &Cluster) -> Result<Vec<Row>, Failure> {
    if !bench.plan.wants(&["setting-fillfactor"]) {
        return Ok(Vec::new());
    }
    let mut rows = Vec::new();
    for percent in [70, 90, 100] {
        let wear = rotate_again_and_again(bench, cluster, Some(percent)).await?;
        let what = format!("rotations that were HOT, fillfactor {percent}");
        let row = Row::new("setting-fillfactor", what, Goal::None, Spread::of([wear.hot]));
        rows.push(row.detail(format!(
            "the table grew {:.2} times, to {} kB",
            wear.growth,
            wear.after / 1024
        )));
    }
    Ok(rows)
}
