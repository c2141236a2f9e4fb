//! The link between server and database fails, or the one between a caller and the server.

use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use token_registry::proto::RotationOutcome;
use token_registry::store;
use tonic::Code;

use super::{assert_unknown, behind_a_proxy};
use crate::support::load::{Load, Tally};
use crate::support::postgres::Cluster;
use crate::support::proxy::Proxy;
use crate::support::{Registry, assert_refused, assert_try_again, config_for, fresh_database, reason};

#[tokio::test]
async fn a_network_that_swallows_everything_leaves_the_outcome_unknown_and_is_recovered_from() {
    let (registry, proxy, _database) = behind_a_proxy(Duration::from_secs(2)).await;
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_cut_off_at_any_byte_is_no_lie() {
    let (registry, proxy, _database) = behind_a_proxy(Duration::from_secs(30)).await;
    registry.add("ada", "laptop", "0").await.unwrap();
    let (mut unknown, mut refused, mut carried_out) = (0, 0, 0);
    let mut jti = "0".to_owned();
    // From within the answers of a new connection to within that of the statement.
    for (round, bytes) in (0..1500).step_by(19).enumerate() {
        let new_jti = format!("{}", round + 1);
        if round % 2 == 0 {
            // Then it's the answers to a new connection that are cut off first.
            proxy.cut();
            proxy.heal();
        }
        proxy.cut_after_bytes(bytes);
        let answer = registry.rotate("ada", "laptop", &jti, &new_jti).await;
        proxy.let_everything_through();
        match &answer {
            Ok(_) => carried_out += 1,
            Err(error) if error.code() == Code::DeadlineExceeded => unknown += 1,
            Err(_) => refused += 1,
        }
        if let Err(error) = &answer {
            let reasons = ["OUTCOME_UNKNOWN", "DATABASE_UNAVAILABLE", "OVERLOADED"];
            assert!(reasons.contains(&reason(error).as_str()), "{bytes}: {error:?}");
        }
        let outcome = registry.rotate("ada", "laptop", &jti, &new_jti).await.unwrap().outcome();
        match answer.map_err(|error| error.code()) {
            Ok(_) => assert_eq!(outcome, RotationOutcome::Retried, "{bytes}"),
            Err(Code::DeadlineExceeded) => {}
            Err(_) => assert_eq!(outcome, RotationOutcome::Rotated, "{bytes}"),
        }
        jti = new_jti;
    }
    println!("{carried_out} carried out, {unknown} unknown, {refused} refused");
    assert!(unknown > 0 && refused > 0 && carried_out > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_cut_off_at_any_byte_on_its_way_to_the_caller_is_found_again() {
    let server = Registry::start().await;
    let proxy = Proxy::of_bytes(server.address);
    server.add("ada", "laptop", "0").await.unwrap();
    let mut jti = "0".to_owned();
    let mut lost = 0;
    for (round, bytes) in (0..900).step_by(13).enumerate() {
        let new_jti = format!("{}", round + 1);
        proxy.cut_after_bytes(bytes);
        let caller = Registry::reached_at(proxy.address(), &server.database_url);
        let answer = caller.rotate("ada", "laptop", &jti, &new_jti).await;
        proxy.let_everything_through();
        lost += usize::from(answer.is_err());
        let outcome = server.rotate("ada", "laptop", &jti, &new_jti).await.unwrap().outcome();
        if answer.is_ok() {
            assert_eq!(outcome, RotationOutcome::Retried, "{bytes}");
        }
        assert_eq!(server.get("ada", "laptop").await.unwrap().rotations, i64::try_from(round).unwrap() + 1);
        jti = new_jti;
    }
    println!("{lost} answers lost");
    assert!(lost > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_is_cut_slowed_and_swallows_under_load_loses_nothing() {
    let database = fresh_database().await;
    let port = database.url.parse::<tokio_postgres::Config>().unwrap().get_ports()[0];
    let to_database = Proxy::start(([127, 0, 0, 1], port).into());
    let registry = Registry::on(&database.url_at(to_database.address()), |config| {
        config.database_pool_wait = Duration::from_millis(250);
        config.default_deadline = Duration::from_secs(1);
    })
    .await;
    let to_server = Proxy::of_bytes(registry.address);
    let mut load = Load::start_on(&[registry.address, to_server.address()], 8);
    for round in 0..3 {
        for link in [&to_database, &to_server] {
            load.until_acknowledged(50).await;
            link.cut();
            let before = failed(&load.tally);
            load.until(|tally| failed(tally) > before).await;
            link.heal();
            load.until_acknowledged(20).await;
            link.slow_down(Duration::from_millis(20));
            load.until_acknowledged(20).await;
            link.slow_down(Duration::ZERO);
            link.cut_after_bytes(100 + round * 57);
            load.until_acknowledged(20).await;
        }
        to_database.black_hole(true);
        let before = failed(&load.tally);
        load.until(|tally| failed(tally) > before + 8).await;
        to_database.black_hole(false);
        let healed = Instant::now();
        load.until_acknowledged(8).await;
        println!("round {round}: eight calls acknowledged {:?} after the black hole", healed.elapsed());
    }
    load.finish().await;
}

/// How many calls had no good answer so far.
fn failed(tally: &Tally) -> usize {
    tally.unavailable.load(SeqCst) + tally.unknown.load(SeqCst) + tally.lost.load(SeqCst)
}
