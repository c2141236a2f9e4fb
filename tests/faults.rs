//! Faults: a database that is down, killed, frozen or cut off, and a server that is killed. What was acknowledged
//! stands, and what each error says of the effect is true.

use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use token_registry::proto::{
    CheckSessionRequest, ConsumeGenericTokenRequest, IssueGenericTokenRequest, RevokeCredentialsRequest,
    RotationOutcome, TokenState,
};
use token_registry::store;
use tokio::sync::oneshot;
use tokio::task::block_in_place;
use tonic::Code;

use crate::support::load::Load;
use crate::support::postgres::{Cluster, Database};
use crate::support::process::Process;
use crate::support::proxy::Proxy;
use crate::support::{
    Registry, assert_refused, assert_try_again, config_for, connect, fresh_database, patiently,
};

/// The end of a transaction as a query of its own: "read committed" at its beginning is another.
const COMMIT: &str = "commit\0";

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_database_leaves_the_outcome_unknown_and_the_retry_finds_it() {
    let cluster = Cluster::start(&[]);
    let database = cluster.create_database();
    let registry =
        Registry::on(&database.url, |config| config.default_deadline = Duration::from_secs(1)).await;
    registry.add("ada", "laptop", "one").await.unwrap();
    block_in_place(|| cluster.pause());
    assert_unknown(registry.rotate("ada", "laptop", "one", "two").await);
    block_in_place(|| cluster.resume());
    let retried = registry.rotate("ada", "laptop", "one", "two").await.unwrap();
    assert_eq!(retried.token.unwrap().jti, "two");
}

#[tokio::test]
async fn a_rotation_whose_answer_is_lost_is_unknown_and_its_retry_is_told_the_same() {
    let (registry, proxy, _database) = behind_a_proxy(Duration::from_secs(30)).await;
    registry.add("ada", "laptop", "one").await.unwrap();
    proxy.cut_after_request_containing("the-successor");
    assert_unknown(registry.rotate("ada", "laptop", "one", "the-successor").await);
    assert_eq!(proxy.unanswered(), 1);
    let retried = registry.rotate("ada", "laptop", "one", "the-successor").await.unwrap();
    assert_eq!(retried.outcome(), RotationOutcome::Retried);
    assert_eq!(retried.token.unwrap().rotations, 1);
}

#[tokio::test]
async fn a_login_whose_answer_is_lost_is_unknown_and_its_retry_gets_the_same_session() {
    let (registry, proxy, database) = behind_a_proxy(Duration::from_secs(30)).await;
    registry.add("ada", "phone", "one").await.unwrap();
    proxy.cut_after_request_containing("the-login");
    assert_unknown(registry.add("ada", "laptop", "the-login").await);
    assert_eq!(proxy.unanswered(), 1);
    let sql = connect(&database.url).await;
    let id: i64 =
        sql.query_one("select id from sessions where session = 'laptop'", &[]).await.unwrap().get(0);
    let again = registry.add("ada", "laptop", "the-login").await.unwrap();
    assert_eq!(again.base.unwrap().id, id);
}

#[tokio::test]
async fn one_time_tokens_whose_answers_are_lost_come_again_by_their_ids() {
    let (registry, proxy, database) = behind_a_proxy(Duration::from_secs(30)).await;
    let issue = |request_id: &str| {
        let mut client = registry.generic.clone();
        let request = IssueGenericTokenRequest {
            user_id: "ada".into(),
            purpose: "login".into(),
            digits: Some(8),
            request_id: Some(request_id.into()),
            ..Default::default()
        };
        async move { Ok::<_, tonic::Status>(client.issue_generic_token(request).await?.into_inner().value) }
    };
    // Prepares the statements, so that the next "commit" is the transaction's own.
    issue("first").await.unwrap();
    proxy.cut_after_request_containing(COMMIT);
    assert_unknown(issue("second").await);
    assert_eq!(proxy.unanswered(), 1);
    let sql = connect(&database.url).await;
    let count = "select count(*) from generic_tokens";
    assert_eq!(sql.query_one(count, &[]).await.unwrap().get::<_, i64>(0), 2);
    let value = issue("second").await.unwrap();
    assert_eq!(issue("second").await.unwrap(), value);
    assert_eq!(sql.query_one(count, &[]).await.unwrap().get::<_, i64>(0), 2);
    let consume = |value: &str, consumption_id: &str| {
        let mut client = registry.generic.clone();
        let request = ConsumeGenericTokenRequest {
            purpose: "login".into(),
            value: value.into(),
            user_id: Some("ada".into()),
            consumption_id: Some(consumption_id.into()),
            challenge: None,
        };
        async move { client.consume_generic_token(request).await }
    };
    proxy.cut_after_request_containing("the-winner");
    assert_unknown(consume(&value, "the-winner").await);
    assert_eq!(proxy.unanswered(), 2);
    consume(&value, "the-winner").await.unwrap();
    assert_refused(consume(&value, "another").await, Code::FailedPrecondition, "TOKEN_CONSUMED");
}

#[tokio::test]
async fn a_password_change_whose_answer_is_lost_is_answered_the_same_by_its_request_id() {
    let (registry, proxy, database) = behind_a_proxy(Duration::from_secs(30)).await;
    let change = |request_id: &str| {
        let mut client = registry.users.clone();
        let request = RevokeCredentialsRequest {
            user_id: "ada".into(),
            keep_auth_tokens: Some(false),
            request_id: Some(request_id.into()),
            ..Default::default()
        };
        async move { client.revoke_credentials(request).await.map(tonic::Response::into_inner) }
    };
    change("first").await.unwrap();
    registry.add("ada", "laptop", "one").await.unwrap();
    proxy.cut_after_request_containing(COMMIT);
    assert_unknown(change("second").await);
    assert_eq!(proxy.unanswered(), 1);
    let sql = connect(&database.url).await;
    let version = "select credential_version::text from users";
    let moved: String = sql.query_one(version, &[]).await.unwrap().get(0);
    let again = change("second").await.unwrap();
    assert_eq!(again.user.unwrap().credential_version, moved);
    assert_eq!(again.revoked.unwrap().sessions, 1);
    assert_eq!(sql.query_one(version, &[]).await.unwrap().get::<_, String>(0), moved);
}

#[tokio::test]
async fn a_question_whose_answer_is_lost_may_simply_be_asked_again() {
    let (registry, proxy, _database) = behind_a_proxy(Duration::from_secs(30)).await;
    registry.add("ada", "laptop", "one").await.unwrap();
    proxy.cut_after_request_containing("laptop");
    let question = CheckSessionRequest { user_id: "ada".into(), session: "laptop".into() };
    assert_try_again(registry.whitelist.clone().check_session(question).await, "DATABASE_UNAVAILABLE");
    assert_eq!(proxy.unanswered(), 1);
    assert_eq!(registry.check_session("ada", "laptop").await, TokenState::Active);
}

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
