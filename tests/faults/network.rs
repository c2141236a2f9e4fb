//! The link between server and database fails.

use std::time::{Duration, Instant};

use token_registry::store;
use tonic::Code;

use super::{assert_unknown, behind_a_proxy};
use crate::support::postgres::Cluster;
use crate::support::proxy::Proxy;
use crate::support::{assert_refused, assert_try_again, config_for};

#[tokio::test]
async fn a_network_that_swallows_everything_leaves_the_outcome_unknown_and_is_recovered_from() {
    let (registry, proxy, _database) = behind_a_proxy(Duration::from_millis(500)).await;
    registry.add("ada", "laptop", "one").await.unwrap();
    proxy.black_hole(true);
    assert_unknown(registry.rotate("ada", "laptop", "one", "two").await);
    // The one connection hangs: who comes now is turned away, and nothing is done.
    assert_try_again(registry.add("ada", "phone", "one").await, "OVERLOADED");
    proxy.black_hole(false);
    let healed = Instant::now();
    let retried = crate::support::patiently(async {
        loop {
            match registry.rotate("ada", "laptop", "one", "two").await {
                Ok(answer) => break answer,
                // Its pool has not heard of the reset yet.
                Err(error) => {
                    assert!(matches!(error.code(), Code::Unavailable | Code::DeadlineExceeded), "{error:?}");
                }
            }
        }
    })
    .await;
    println!("served again {:?} after the network", healed.elapsed());
    assert_eq!(retried.token.unwrap().jti, "two");
    assert_refused(registry.get("ada", "phone").await, Code::NotFound, "SESSION_NOT_FOUND");
}

#[tokio::test]
async fn a_migration_cut_off_half_way_leaves_nothing_and_is_done_at_the_next_try() {
    let database = Cluster::shared().create_database();
    let port = database.url.parse::<tokio_postgres::Config>().unwrap().get_ports()[0];
    let proxy = Proxy::start(([127, 0, 0, 1], port).into());
    let config = config_for(&database.url_at(proxy.address()));
    proxy.cut_after_request_containing("create table users");
    let cut = store::migrate(&config).await.unwrap_err();
    assert!(cut.is_passing(), "{cut}");
    let migrated = store::migrate(&config).await.unwrap();
    assert_eq!(migrated.from, 0);
}
