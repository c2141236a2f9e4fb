//! The database is down, killed or frozen.

use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::task::block_in_place;

use super::assert_unknown;
use crate::support::load::Load;
use crate::support::postgres::Cluster;
use crate::support::{Registry, assert_try_again, patiently};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_waits_for_a_database_that_is_down_at_its_start() {
    let cluster = Cluster::start(&[]);
    let database = cluster.create_database();
    cluster.stop_immediate();
    let (ready, is_ready) = oneshot::channel();
    let registry = Registry::launch(&database.url, |_| {}, move || _ = ready.send(())).await;
    assert_try_again(registry.add("ada", "laptop", "one").await, "DATABASE_UNAVAILABLE");
    block_in_place(|| cluster.restart());
    patiently(is_ready).await.unwrap();
    registry.add("ada", "laptop", "one").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_killed_under_load_loses_nothing_that_was_acknowledged() {
    let cluster = Cluster::start(&[]);
    let database = cluster.create_database();
    let registry = Registry::on(&database.url, |_| {}).await;
    let mut load = Load::start(registry.address, 8);
    for round in 0..2 {
        load.until_acknowledged(100).await;
        let before = (load.tally.unavailable.load(SeqCst), load.tally.unknown.load(SeqCst));
        block_in_place(|| cluster.kill());
        load.until(|tally| tally.unavailable.load(SeqCst) > before.0 + 20).await;
        block_in_place(|| cluster.restart());
        let restarted = Instant::now();
        load.until_acknowledged(1).await;
        println!(
            "round {round}: served again {:?} after the database; {} refused, {} unknown",
            restarted.elapsed(),
            load.tally.unavailable.load(SeqCst) - before.0,
            load.tally.unknown.load(SeqCst) - before.1,
        );
    }
    load.until_acknowledged(100).await;
    load.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_database_leaves_the_outcome_unknown_and_the_retry_finds_it() {
    let cluster = Cluster::start(&[]);
    let database = cluster.create_database();
    let registry =
        Registry::on(&database.url, |config| config.default_deadline = Duration::from_secs(3)).await;
    registry.add("ada", "laptop", "one").await.unwrap();
    block_in_place(|| cluster.pause());
    assert_unknown(registry.rotate("ada", "laptop", "one", "two").await);
    block_in_place(|| cluster.resume());
    let retried = registry.rotate("ada", "laptop", "one", "two").await.unwrap();
    assert_eq!(retried.token.unwrap().jti, "two");
}
