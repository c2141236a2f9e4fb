//! The server is killed.

use std::sync::atomic::Ordering::SeqCst;
use std::time::Instant;

use crate::support::fresh_database;
use crate::support::load::Load;
use crate::support::process::Process;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_killed_under_load_loses_nothing_that_was_acknowledged() {
    let database = fresh_database().await;
    let mut server = Process::serve(&database.url, &[]);
    let mut load = Load::start(server.serving().await, 8);
    for round in 0..2 {
        load.until_acknowledged(100).await;
        let lost = load.tally.lost.load(SeqCst);
        server.kill();
        load.until(|tally| tally.lost.load(SeqCst) > lost).await;
        let restarted = Instant::now();
        server = Process::serve(&database.url, &[]);
        load.move_to(server.address().await);
        load.until_acknowledged(1).await;
        println!("round {round}: served again {:?} after the start of the new process", restarted.elapsed());
    }
    load.until_acknowledged(100).await;
    load.finish().await;
}
