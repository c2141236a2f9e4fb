//! The database carries out what it was asked for, and its answer is lost on the way.

use std::time::Duration;

use token_registry::proto::{
    CheckSessionRequest, ConsumeGenericTokenRequest, IssueGenericTokenRequest, RevokeCredentialsRequest,
    RotationOutcome, TokenState,
};
use tonic::Code;

use super::{assert_unknown, behind_a_proxy};
use crate::support::{assert_refused, assert_try_again, connect};

/// The end of a transaction as a query of its own: "read committed" at its beginning is another.
const COMMIT: &str = "commit\0";

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
