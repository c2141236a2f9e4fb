//! Callers who leave before they are answered, at every moment of a call. The command is wholly carried out or not at
//! all, and nothing of the server is left occupied.

use std::time::Duration;

use token_registry::proto::{
    ConsumeGenericTokenRequest, IssueGenericTokenRequest, RevokeCredentialsRequest, RotationOutcome,
    TokenState,
};
use tokio::time::timeout;
use tonic::Code;

use crate::support::process::Process;
use crate::support::{Registry, assert_refused, fresh_database, metrics, until, until_waiting_for_locks};

/// Moments at which callers leave: from before the request is sent to after most are answered, on machines of any speed.
fn moments() -> impl Iterator<Item = Duration> {
    (0..60_u64).map(|n| Duration::from_micros(n * n * 8))
}

/// A registry with two connections and no more, so that one left occupied shows.
async fn small() -> Registry {
    Registry::start_with(|config| {
        config.database_pool_size = 2;
        config.database_pool_wait = Duration::from_secs(20);
    })
    .await
}

/// Asserts that no transaction was left open, and that both connections and all lanes are free.
async fn assert_nothing_is_occupied(registry: &Registry) {
    let sql = registry.sql().await;
    let busy = "select count(*) from pg_stat_activity where datname = current_database() \
                and pid <> pg_backend_pid() and state <> 'idle'";
    crate::support::until(async || sql.query_one(busy, &[]).await.unwrap().get::<_, i64>(0) == 0).await;
    for n in 0..8 {
        let user = format!("after-{n}");
        registry.add(&user, "laptop", "one").await.unwrap();
        registry.rotate(&user, "laptop", "one", "two").await.unwrap();
        assert_eq!(registry.log_out(&user, "laptop").await, 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_is_carried_out_or_not_whenever_its_caller_leaves() {
    let registry = small().await;
    let (mut left, mut stood) = (0, 0);
    // A session each: a late copy of a rotation from before the last one is a replay, as it should be.
    for (round, moment) in moments().enumerate() {
        let session = format!("laptop-{round}");
        registry.add("ada", &session, "one").await.unwrap();
        let caller = registry.another_client();
        // So that only the call itself is broken off.
        caller.check_session("ada", &session).await;
        // Several at once, so that they are gathered too.
        let call = || timeout(moment, caller.rotate("ada", &session, "one", "two"));
        let (first, second, third) = tokio::join!(call(), call(), call());
        let answered = [first, second, third].into_iter().flatten().map(Result::unwrap).count();
        left += 3 - answered;
        match registry.rotate("ada", &session, "one", "two").await.unwrap().outcome() {
            RotationOutcome::Retried => stood += 1,
            RotationOutcome::Rotated => assert_eq!(answered, 0),
            other => panic!("{other:?}"),
        }
    }
    println!("{left} callers left, {stood} of their rotations stood");
    assert_nothing_is_occupied(&registry).await;
    for round in 0..moments().count() {
        let token = registry.get("ada", &format!("laptop-{round}")).await.unwrap();
        assert_eq!((token.jti.as_str(), token.rotations, token.state()), ("two", 1, TokenState::Active));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_time_tokens_are_issued_and_consumed_or_not_whenever_the_caller_leaves() {
    let registry = small().await;
    for (round, moment) in moments().enumerate() {
        let issue = || {
            let request = IssueGenericTokenRequest {
                user_id: "ada".into(),
                purpose: "login".into(),
                digits: Some(8),
                request_id: Some(format!("issue-{round}")),
                ..Default::default()
            };
            let mut client = registry.generic.clone();
            async move { client.issue_generic_token(request).await.map(|answer| answer.into_inner().value) }
        };
        let _ = timeout(moment, issue()).await;
        let value = issue().await.unwrap();
        assert_eq!(issue().await.unwrap(), value);
        let consume = |consumption_id: &str| {
            let request = ConsumeGenericTokenRequest {
                purpose: "login".into(),
                value: value.clone(),
                user_id: Some("ada".into()),
                consumption_id: Some(consumption_id.into()),
                challenge: None,
            };
            let mut client = registry.generic.clone();
            async move { client.consume_generic_token(request).await }
        };
        let _ = timeout(moment, consume("mine")).await;
        consume("mine").await.unwrap();
        assert!(consume("another's").await.is_err(), "consumed twice");
    }
    let sql = registry.sql().await;
    let live = "select count(*) from generic_tokens where consumed_at is null and revoked_at is null";
    assert_eq!(sql.query_one(live, &[]).await.unwrap().get::<_, i64>(0), 0);
    assert_nothing_is_occupied(&registry).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_change_is_carried_out_or_not_whenever_its_caller_leaves() {
    let registry = small().await;
    for (round, moment) in moments().enumerate() {
        registry.add("ada", &format!("laptop-{round}"), "one").await.unwrap();
        let change = || {
            let request = RevokeCredentialsRequest {
                user_id: "ada".into(),
                keep_auth_tokens: Some(false),
                request_id: Some(format!("change-{round}")),
                ..Default::default()
            };
            let mut client = registry.users.clone();
            async move { client.revoke_credentials(request).await.map(tonic::Response::into_inner) }
        };
        let _ = timeout(moment, change()).await;
        let first = change().await.unwrap();
        let again = change().await.unwrap();
        assert_eq!(first.user.unwrap().credential_version, again.user.unwrap().credential_version);
        assert_eq!(again.revoked.unwrap().sessions, 1, "each change ends the one session there is");
    }
    assert_nothing_is_occupied(&registry).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_not_begun_when_its_caller_left_is_not_begun_any_more() {
    let database = fresh_database().await;
    let settings = [
        metrics::LISTEN,
        ("TOKEN_REGISTRY_DATABASE_POOL_SIZE", "1"),
        // Nobody is refused for having waited, however slow the machine is.
        ("TOKEN_REGISTRY_DATABASE_POOL_WAIT", "1m"),
        ("TOKEN_REGISTRY_LOCK_TIMEOUT", "1m"),
        ("TOKEN_REGISTRY_STATEMENT_TIMEOUT", "1m"),
        ("TOKEN_REGISTRY_DEFAULT_DEADLINE", "2m"),
    ];
    let server = Process::serve(&database.url, &settings);
    let registry = Registry::reached_at(server.serving().await, &database.url);
    let metrics = metrics::metrics_of(&server).await;
    let until_it_says = async |series: &str, least: u64| {
        until(async || metrics::value(&metrics::get(metrics, "/metrics").await, series) >= Some(least)).await;
    };
    registry.add("ada", "laptop", "one").await.unwrap();
    let mut holder = registry.sql().await;
    let lock = holder.transaction().await.unwrap();
    lock.batch_execute("select from sessions for update").await.unwrap();
    let first = registry.another_client();
    let first = tokio::spawn(async move { first.rotate("ada", "laptop", "one", "two").await });
    until_waiting_for_locks(&registry.sql().await, 1).await;
    let leaving = registry.another_client();
    let leaving = tokio::spawn(async move { leaving.add("ada", "phone", "one").await });
    until_it_says(&metrics::started("WhitelistService", "AddRefreshToken"), 2).await;
    // The look whether the database is there may wait for the connection, too.
    until_it_says("token_registry_pool_waiting{pool=\"single\"}", 1).await;
    leaving.abort();
    // The server must have heard of it before the connection is free.
    until_it_says(&metrics::handled("WhitelistService", "AddRefreshToken", "Canceled"), 1).await;
    lock.commit().await.unwrap();
    first.await.unwrap().unwrap();
    // Whoever waits for the connection gets it in order.
    registry.add("ada", "tablet", "one").await.unwrap();
    assert_refused(registry.get("ada", "phone").await, Code::NotFound, "SESSION_NOT_FOUND");
}
