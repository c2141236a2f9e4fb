//! Faults: a database that is down, killed, frozen or cut off, and a server that is killed. What was acknowledged
//! stands, and what each error says of the effect is true.

mod cancelled;
mod connections;
mod database;
mod disk_full;
mod failover;
mod lost_answers;
mod network;
mod pgbouncer;
mod replicas;
mod server;

use std::time::Duration;

use tonic::Code;

use crate::support::postgres::Database;
use crate::support::proxy::Proxy;
use crate::support::{Registry, assert_refused, fresh_database};

/// A registry whose database is behind a network of the test's own.
async fn behind_a_proxy(deadline: Duration) -> (Registry, Proxy, Database) {
    let database = fresh_database().await;
    let port = database.url.parse::<tokio_postgres::Config>().unwrap().get_ports()[0];
    let proxy = Proxy::start(([127, 0, 0, 1], port).into());
    let registry = Registry::on(&database.url_at(proxy.address()), |config| {
        // All on one connection, so that its statements are prepared once they have run.
        config.database_pool_size = 1;
        config.default_deadline = deadline;
    })
    .await;
    (registry, proxy, database)
}

fn assert_unknown<T>(result: Result<T, tonic::Status>) {
    assert_refused(result, Code::DeadlineExceeded, "OUTCOME_UNKNOWN");
}
