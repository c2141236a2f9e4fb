//! The database's disk is full, under its tables and its log.

use std::fs;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Instant;

use tokio::task::block_in_place;

use crate::support::Registry;
use crate::support::disk::Disk;
use crate::support::load::Load;
use crate::support::postgres::Cluster;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_a_refusal_and_loses_nothing_that_was_acknowledged() {
    let Some(disk) = Disk::mount(160, "the test of a full disk") else { return };
    let cluster = Cluster::start_in(
        disk.path(),
        // So that its log soon needs a new file, and its tables too.
        &[("min_wal_size", "32MB"), ("max_wal_size", "32MB"), ("shared_buffers", "16MB")],
    );
    let database = cluster.create_database();
    let registry = Registry::on(&database.url, |_| {}).await;
    let mut load = Load::start(registry.address, 8);
    load.until_acknowledged(200).await;
    let filling = disk.fill();
    let refused = load.tally.unavailable.load(SeqCst);
    // What is allocated already is used up first. A log that can't grow ends the server, as PostgreSQL has it.
    let sql = crate::support::connect(&database.url).await;
    let grow = "create table filling as select repeat('x', 2000) as x from generate_series(1, 100000)";
    assert!(sql.batch_execute(grow).await.is_err(), "the disk isn't full");
    load.until(|tally| tally.unavailable.load(SeqCst) > refused + 50).await;
    println!(
        "{} refused, {} unknown while the disk was full",
        load.tally.unavailable.load(SeqCst) - refused,
        load.tally.unknown.load(SeqCst),
    );
    fs::remove_file(filling).unwrap();
    let freed = Instant::now();
    if sql.is_closed() {
        block_in_place(|| cluster.restart());
    }
    load.until_acknowledged(1).await;
    println!("served again {:?} after there was room", freed.elapsed());
    load.until_acknowledged(200).await;
    load.finish().await;
    drop((registry, database, cluster));
}
