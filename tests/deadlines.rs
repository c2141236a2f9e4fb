//! Deadlines and overload: what is answered when there is no time, no connection or no lock, and what it says of the
//! effect.

use std::time::Duration;

use prost::Message;
use token_registry::proto::{
    AddRefreshTokenRequest, CheckSessionRequest, IssueGenericTokenRequest, RevokeUserSessionsRequest,
    RotateRefreshTokenRequest, RotationOutcome, TokenState,
};
use tokio_postgres::Client;
use tonic::Code;

use crate::support::wire::{Exchange, exchange, framed};
use crate::support::{Registry, assert_refused, assert_try_again, until, until_waiting_for_locks};

/// Calls without a client that keeps deadlines of its own.
async fn call(registry: &Registry, method: &str, timeout: &str, message: &impl Message) -> Exchange {
    let path = format!("/tokenregistry.v1.{method}");
    exchange(registry.address, &path, &[("grpc-timeout", timeout)], framed(message)).await
}

fn rotation() -> RotateRefreshTokenRequest {
    RotateRefreshTokenRequest {
        user_id: "ada".into(),
        session: "laptop".into(),
        jti: "one".into(),
        new_jti: Some("two".into()),
        client: None,
    }
}

/// A deadline that is over in a test's time, and not before a busy machine has sent the statement.
const SOON: &str = "2S";

/// Holds the locks of these statements until it is told to end.
async fn locked<'a>(sql: &'a mut Client, statement: &str) -> tokio_postgres::Transaction<'a> {
    let transaction = sql.transaction().await.unwrap();
    transaction.batch_execute(statement).await.unwrap();
    transaction
}

const LOCK_SESSIONS: &str = "select from sessions for update";

#[tokio::test]
async fn a_command_whose_time_is_over_while_it_waits_is_of_unknown_outcome_and_may_stand() {
    let registry = Registry::start().await;
    registry.add("ada", "laptop", "one").await.unwrap();
    let mut sql = registry.sql().await;
    let lock = locked(&mut sql, LOCK_SESSIONS).await;
    let answer = call(&registry, "WhitelistService/RotateRefreshToken", SOON, &rotation()).await;
    assert_refused::<()>(Err(answer.status()), Code::DeadlineExceeded, "OUTCOME_UNKNOWN");
    // It is not broken off half done: once the row is free, it is carried out.
    lock.commit().await.unwrap();
    until(async || registry.get("ada", "laptop").await.unwrap().jti == "two").await;
    let retried = registry.rotate("ada", "laptop", "one", "two").await.unwrap();
    assert_eq!(retried.outcome(), RotationOutcome::Retried);
}

#[tokio::test]
async fn the_servers_own_deadline_holds_for_callers_without_one() {
    let registry = Registry::start_with(|config| config.default_deadline = Duration::from_secs(2)).await;
    registry.add("ada", "laptop", "one").await.unwrap();
    let mut sql = registry.sql().await;
    let _lock = locked(&mut sql, LOCK_SESSIONS).await;
    let answer = registry.rotate_as(rotation()).await;
    assert_refused(answer, Code::DeadlineExceeded, "OUTCOME_UNKNOWN");
}

#[tokio::test]
async fn every_kind_of_command_whose_time_is_over_is_of_unknown_outcome() {
    let registry = Registry::start().await;
    registry.add("ada", "laptop", "one").await.unwrap();
    let mut sql = registry.sql().await;
    let _lock = locked(&mut sql, "lock table users, sessions, generic_tokens in access exclusive mode").await;
    let user_id = || "ada".to_owned();
    let add = AddRefreshTokenRequest {
        user_id: user_id(),
        session: "phone".into(),
        jti: "one".into(),
        ..Default::default()
    };
    let issue =
        IssueGenericTokenRequest { user_id: user_id(), purpose: "reset".into(), ..Default::default() };
    let revoke = RevokeUserSessionsRequest { user_id: user_id(), ..Default::default() };
    let (a, b, c) = tokio::join!(
        call(&registry, "WhitelistService/AddRefreshToken", SOON, &add),
        call(&registry, "GenericTokenService/IssueGenericToken", SOON, &issue),
        call(&registry, "WhitelistService/RevokeUserSessions", SOON, &revoke),
    );
    for answer in [a, b, c] {
        assert_refused::<()>(Err(answer.status()), Code::DeadlineExceeded, "OUTCOME_UNKNOWN");
    }
}

#[tokio::test]
async fn a_question_whose_time_is_over_may_be_asked_again() {
    let registry = Registry::start().await;
    registry.add("ada", "laptop", "one").await.unwrap();
    let mut sql = registry.sql().await;
    let lock = locked(&mut sql, "lock table sessions in access exclusive mode").await;
    let question = CheckSessionRequest { user_id: "ada".into(), session: "laptop".into() };
    let answer = call(&registry, "WhitelistService/CheckSession", SOON, &question).await;
    assert_try_again::<()>(Err(answer.status()), "OVERLOADED");
    lock.commit().await.unwrap();
    assert_eq!(registry.check_session("ada", "laptop").await, TokenState::Active);
}

#[tokio::test]
async fn a_call_without_any_time_does_nothing() {
    let registry = Registry::start().await;
    registry.add("ada", "laptop", "one").await.unwrap();
    let before = registry.contents().await;
    for timeout in ["0m", "0n"] {
        let answer = call(&registry, "WhitelistService/RotateRefreshToken", timeout, &rotation()).await;
        // The transport's own clock answers CANCELLED when it is faster than the request's body.
        let code = answer.status().code();
        assert!(matches!(code, Code::Unavailable | Code::Cancelled), "{code:?}");
    }
    assert_eq!(registry.contents().await, before);
}

#[tokio::test]
async fn a_caller_that_leaves_does_not_leave_its_command_half_done() {
    let registry = Registry::start().await;
    registry.add("ada", "laptop", "one").await.unwrap();
    let (mut sql, watching) = (registry.sql().await, registry.sql().await);
    let lock = locked(&mut sql, LOCK_SESSIONS).await;
    let mut client = registry.whitelist.clone();
    let leaving = tokio::spawn(async move { client.rotate_refresh_token(rotation()).await });
    until_waiting_for_locks(&watching, 1).await;
    leaving.abort();
    assert!(leaving.await.unwrap_err().is_cancelled());
    lock.commit().await.unwrap();
    until(async || registry.get("ada", "laptop").await.unwrap().jti == "two").await;
}

#[tokio::test]
async fn a_call_that_finds_no_connection_is_refused_and_not_applied() {
    let registry = Registry::start_with(|config| {
        config.database_pool_size = 1;
        // Longer than the registry's own look whether the database is there takes.
        config.database_pool_wait = Duration::from_secs(1);
    })
    .await;
    registry.add("ada", "laptop", "one").await.unwrap();
    let (mut sql, watching) = (registry.sql().await, registry.sql().await);
    let lock = locked(&mut sql, LOCK_SESSIONS).await;
    let mut client = registry.whitelist.clone();
    let first = tokio::spawn(async move { client.rotate_refresh_token(rotation()).await });
    until_waiting_for_locks(&watching, 1).await;

    assert_try_again(registry.add("bob", "laptop", "one").await, "OVERLOADED");
    let question = CheckSessionRequest { user_id: "ada".into(), session: "laptop".into() };
    assert_try_again(registry.whitelist.clone().check_session(question).await, "OVERLOADED");
    // Before the pool's own wait is over.
    let add = AddRefreshTokenRequest {
        user_id: "eve".into(),
        session: "laptop".into(),
        jti: "one".into(),
        ..Default::default()
    };
    let answer = call(&registry, "WhitelistService/AddRefreshToken", "20m", &add).await;
    assert_try_again::<()>(Err(answer.status()), "OVERLOADED");

    lock.commit().await.unwrap();
    first.await.unwrap().unwrap();
    // The connection is free again, so whatever still waited has had its turn when this is answered.
    assert_eq!(registry.check_session("bob", "laptop").await, TokenState::Unknown);
    let users: i64 = watching.query_one("select count(*) from users", &[]).await.unwrap().get(0);
    assert_eq!(users, 1);
}

#[tokio::test]
async fn a_row_that_stays_locked_turns_a_command_away_and_nothing_is_applied() {
    let registry = Registry::start_with(|config| config.lock_timeout = Duration::from_millis(20)).await;
    registry.add("ada", "laptop", "one").await.unwrap();
    let before = registry.contents().await;
    let mut sql = registry.sql().await;
    let lock = locked(&mut sql, "select from sessions for update; select from users for update").await;
    assert_try_again(registry.rotate("ada", "laptop", "one", "two").await, "OVERLOADED");
    assert_try_again(registry.add("ada", "phone", "one").await, "OVERLOADED");
    let issue =
        IssueGenericTokenRequest { user_id: "ada".into(), purpose: "reset".into(), ..Default::default() };
    assert_try_again(registry.generic.clone().issue_generic_token(issue).await, "OVERLOADED");
    lock.commit().await.unwrap();
    assert_eq!(registry.contents().await, before);
    let rotated = registry.rotate("ada", "laptop", "one", "two").await.unwrap();
    assert_eq!(rotated.outcome(), RotationOutcome::Rotated);
}

#[tokio::test]
async fn work_on_all_of_a_users_rows_leaves_connections_to_others() {
    let registry = Registry::start_with(|config| {
        config.database_pool_size = 2;
        config.database_pool_wait = Duration::from_secs(1);
    })
    .await;
    registry.add("ada", "laptop", "one").await.unwrap();
    let (mut sql, watching) = (registry.sql().await, registry.sql().await);
    let lock = locked(&mut sql, LOCK_SESSIONS).await;
    let revoke = RevokeUserSessionsRequest { user_id: "ada".into(), ..Default::default() };
    let mut client = registry.whitelist.clone();
    let first = tokio::spawn({
        let revoke = revoke.clone();
        async move { client.revoke_user_sessions(revoke).await }
    });
    until_waiting_for_locks(&watching, 1).await;
    assert_try_again(registry.whitelist.clone().revoke_user_sessions(revoke).await, "OVERLOADED");
    registry.add("bob", "laptop", "one").await.unwrap();
    lock.commit().await.unwrap();
    assert_eq!(first.await.unwrap().unwrap().into_inner().revoked_count, 1);
}
