//! The database has no connection left for the registry.

use std::sync::atomic::Ordering::SeqCst;
use std::time::Instant;

use tokio_postgres::NoTls;

use crate::support::Registry;
use crate::support::load::Load;
use crate::support::postgres::Cluster;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_taken_by_others_are_a_refusal_and_nothing_is_lost() {
    let cluster = Cluster::start(&[("max_connections", "20"), ("superuser_reserved_connections", "1")]);
    let database = cluster.create_database();
    let registry = Registry::on(&database.url, |_| {}).await;
    let mut load = Load::start(registry.address, 8);
    load.until_acknowledged(100).await;
    let own = crate::support::connect(&database.url).await;
    // The registry's own connections are ended again and again, until others have taken all.
    let mut others = Vec::new();
    let refused = load.tally.unavailable.load(SeqCst);
    while load.tally.unavailable.load(SeqCst) < refused + 20 {
        if let Ok((client, connection)) = tokio_postgres::connect(&database.url, NoTls).await {
            tokio::spawn(connection);
            others.push(client);
            continue;
        }
        let end = "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'token-registry'";
        own.execute(end, &[]).await.unwrap();
        tokio::task::yield_now().await;
    }
    println!("{} connections were taken by others", others.len());
    drop(others);
    let freed = Instant::now();
    load.until_acknowledged(1).await;
    println!("served again {:?} after the others had gone", freed.elapsed());
    load.until_acknowledged(100).await;
    load.finish().await;
}
