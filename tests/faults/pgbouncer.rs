//! PgBouncer in transaction mode between the registry and its database.

use std::time::Instant;

use tokio::task::block_in_place;

use crate::support::load::Load;
use crate::support::pgbouncer::PgBouncer;
use crate::support::postgres::Cluster;
use crate::support::{Registry, connect};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pgbouncer_and_the_database_behind_it_are_killed_under_load_and_nothing_is_lost() {
    let cluster = Cluster::start(&[]);
    let Some(pgbouncer) = block_in_place(|| PgBouncer::before(&cluster)) else { return };
    let database = cluster.create_database();
    let through = database.url_at(pgbouncer.address());
    let registry = Registry::on(&through, |_| {}).await;
    let mut load = Load::start(registry.address, 16);
    load.until_acknowledged(200).await;

    block_in_place(|| pgbouncer.kill_and_restart());
    let restarted = Instant::now();
    load.until_acknowledged(1).await;
    println!("served again {:?} after PgBouncer", restarted.elapsed());
    load.until_acknowledged(100).await;

    block_in_place(|| cluster.kill());
    load.until(|tally| tally.unavailable.load(std::sync::atomic::Ordering::SeqCst) > 0).await;
    block_in_place(|| cluster.restart());
    let restarted = Instant::now();
    load.until_acknowledged(1).await;
    println!("served again {:?} after the database behind it", restarted.elapsed());
    load.until_acknowledged(100).await;
    load.finish().await;

    // Several of the registry's connections share fewer of the database's: it is transaction mode.
    let sql = connect(&database.url).await;
    let used =
        "select count(*) from pg_stat_activity where datname = current_database() and usename = 'registry'";
    let used: i64 = sql.query_one(used, &[]).await.unwrap().get(0);
    assert!((1..=10).contains(&used), "{used}");
    let limits = connect(&through).await;
    let limits = limits.simple_query("show statement_timeout").await.unwrap();
    assert!(format!("{limits:?}").contains("5s"), "the role's own settings hold: {limits:?}");
}
