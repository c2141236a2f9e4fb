//! Three replicas on one database, of which one after the other is killed or frozen.

use std::time::{Duration, Instant};

use token_registry::proto::CheckSessionRequest;

use crate::support::load::Load;
use crate::support::process::Process;
use crate::support::{Registry, assert_refused, fresh_database};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_go_on_with_other_replicas_when_one_is_killed() {
    let database = fresh_database().await;
    let mut replicas: Vec<_> = (0..3).map(|_| Process::serve(&database.url, &[])).collect();
    let mut addresses = Vec::new();
    for replica in &replicas {
        addresses.push(replica.serving().await);
    }
    let mut load = Load::start_on(&addresses, 9);
    for _ in 0..3 {
        load.until_acknowledged(100).await;
        replicas.remove(0).kill();
        let killed = Instant::now();
        // The killed one is still called now and then: a balancer needs a moment too.
        load.until_acknowledged(20).await;
        println!("twenty calls acknowledged {:?} after a replica was killed", killed.elapsed());
        let replica = Process::serve(&database.url, &[]);
        addresses.remove(0);
        addresses.push(replica.serving().await);
        replicas.push(replica);
        load.move_to_all(&addresses);
    }
    load.until_acknowledged(100).await;
    load.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_server_carries_out_late_what_it_was_asked_and_only_once() {
    let database = fresh_database().await;
    let server = Process::serve(&database.url, &[]);
    let address = server.serving().await;
    let mut load = Load::start(address, 8);
    for _ in 0..3 {
        load.until_acknowledged(50).await;
        server.freeze();
        let question = CheckSessionRequest { user_id: "user-0".into(), session: "own".into() };
        let mut question = tonic::Request::new(question);
        question.set_timeout(Duration::from_millis(200));
        let registry = Registry::reached_at(address, &database.url);
        let answer = registry.whitelist.clone().check_session(question).await;
        assert!(answer.is_err(), "it is frozen");
        server.thaw();
        let thawed = Instant::now();
        load.until_acknowledged(8).await;
        println!("eight calls acknowledged {:?} after the server went on", thawed.elapsed());
    }
    load.finish().await;
}

/// Debian's libfaketime, preloaded: what it moves is the clock of the wall, not the one that time limits are counted by.
const FAKETIME: &str = "libfaketime.so.1";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_whose_clock_is_an_hour_wrong_decides_the_same() {
    let Some(library) = crate::support::installed::library(FAKETIME, "faketime") else { return };
    let database = fresh_database().await;
    let clock = |moved: &'static str| {
        [
            ("LD_PRELOAD", library.as_str()),
            ("FAKETIME", moved),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            ("DONT_FAKE_MONOTONIC", "1"),
            ("TOKEN_REGISTRY_SESSION_LIFETIME", "30m"),
            ("TOKEN_REGISTRY_IDLE_TIMEOUT", "20m"),
        ]
    };
    let servers =
        [Process::serve(&database.url, &clock("+1h")), Process::serve(&database.url, &clock("-1h"))];
    let mut replicas = Vec::new();
    for server in &servers {
        let address = server.serving().await;
        replicas.push(Registry::reached_at(address, &database.url));
    }
    let year_and_hour = |server: &Process| {
        let said = server.said();
        let line =
            said.lines().find(|line| line.contains("\"message\":\"serving\"")).expect("a line").to_owned();
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        line["timestamp"].as_str().unwrap()[..13].to_owned()
    };
    assert_ne!(year_and_hour(&servers[0]), year_and_hour(&servers[1]), "the clocks are not moved");
    let [ahead, behind] = &replicas[..] else { unreachable!() };
    for (number, (opens, asks)) in [(ahead, behind), (behind, ahead)].into_iter().enumerate() {
        let session = format!("laptop-{number}");
        opens.add("ada", &session, "one").await.unwrap();
        for registry in [asks, opens] {
            let state = registry.check_session("ada", &session).await;
            assert_eq!(state, token_registry::proto::TokenState::Active);
        }
        let rotated = asks.rotate("ada", &session, "one", "two").await.unwrap().token.unwrap();
        let left = "select extract(epoch from session_expires - clock_timestamp())::float8, \
                    extract(epoch from idle_expires - clock_timestamp())::float8 from sessions where session = $1";
        let left = asks.sql().await.query_one(left, &[&session]).await.unwrap();
        let (lifetime, idle): (f64, f64) = (left.get(0), left.get(1));
        assert!(
            (1700.0..=1800.0).contains(&lifetime) && (1100.0..=1200.0).contains(&idle),
            "{lifetime} {idle}"
        );
        // Within the grace of 30 s, whoever looks at which clock.
        assert_eq!(
            opens.rotate("ada", &session, "one", "three").await.unwrap().token.unwrap().jti,
            rotated.jti
        );
    }
    // And what is over is over for both.
    let sql = ahead.sql().await;
    sql.execute("update sessions set session_expires = clock_timestamp() - interval '1 second'", &[])
        .await
        .unwrap();
    for registry in &replicas {
        let answer = registry.rotate("ada", "laptop-0", "two", "four").await;
        assert_refused(answer, tonic::Code::FailedPrecondition, "SESSION_EXPIRED");
    }
}
