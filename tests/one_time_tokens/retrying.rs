//! An issue with a `request_id` may be sent again: the same token and the same value, or a later truth about it.

use token_registry::proto::{IssueGenericTokenRequest, TokenState};

use crate::support::one_time::{
    consume, digits, issue, list, of_user, own, presented, seconds, secret, state,
};
use crate::support::{Registry, assert_invalid};

fn with_request_id(request: IssueGenericTokenRequest) -> IssueGenericTokenRequest {
    IssueGenericTokenRequest { request_id: Some("request".into()), ..request }
}

#[tokio::test]
async fn the_same_request_id_answers_the_same_token_and_value() {
    let registry = Registry::start().await;
    for request in [
        secret("ada", "random"),
        digits("ada", "six", 6),
        digits("ada", "ten", 10),
        own("ada", "short", "short"),
        own("ada", "long", "a value of 22 or more characters"),
    ] {
        let request = with_request_id(request);
        let first = issue(&registry, request.clone()).await.unwrap();
        let second = issue(&registry, request).await.unwrap();
        assert_eq!(second, first);
        consume(&registry, of_user("ada", &first.0.purpose, &first.1)).await.unwrap();
    }
    assert_eq!(list(&registry, "ada").await.len(), 5, "one token a request");
}

#[tokio::test]
async fn without_a_request_id_every_issue_is_a_new_one() {
    let registry = Registry::start().await;
    let (_, first) = issue(&registry, secret("ada", "reset")).await.unwrap();
    let (_, second) = issue(&registry, secret("ada", "reset")).await.unwrap();
    assert_ne!(first, second);
}

#[tokio::test]
async fn after_the_token_was_used_the_retry_tells_so() {
    let registry = Registry::start().await;
    for request in [secret("ada", "reset"), digits("ada", "mfa", 6), own("ada", "invite", "short")] {
        let request = with_request_id(request);
        let (token, value) = issue(&registry, request.clone()).await.unwrap();
        consume(&registry, of_user("ada", &token.purpose, &value)).await.unwrap();
        let (again, same_value) = issue(&registry, request).await.unwrap();
        assert_eq!((again.base, again.challenge), (token.base, token.challenge));
        assert_eq!(same_value, value);
        assert_eq!(TokenState::try_from(again.state).unwrap(), TokenState::Consumed);
        assert!(again.consumed.is_some());
    }
}

#[tokio::test]
async fn a_late_retry_does_not_end_what_was_issued_since() {
    let registry = Registry::start().await;
    let request = with_request_id(secret("ada", "reset"));
    let (_, first) = issue(&registry, request.clone()).await.unwrap();
    let (_, newer) = issue(&registry, secret("ada", "reset")).await.unwrap();
    let (again, same_value) = issue(&registry, request).await.unwrap();
    assert_eq!((again.state(), same_value), (TokenState::Revoked, first));
    assert_eq!(state(&registry, "reset", &newer).await, TokenState::Active);
}

#[tokio::test]
async fn a_request_id_belongs_to_its_user_and_purpose() {
    let registry = Registry::start().await;
    let mut values = Vec::new();
    for (user, purpose) in [("ada", "reset"), ("ada", "confirm"), ("bob", "reset")] {
        let (_, value) = issue(&registry, with_request_id(secret(user, purpose))).await.unwrap();
        values.push((purpose, value));
    }
    values.sort();
    values.dedup_by(|(_, a), (_, b)| a == b);
    assert_eq!(values.len(), 3, "each has a value of its own");
    for (purpose, value) in values {
        consume(&registry, presented(purpose, &value)).await.unwrap();
    }
}

#[tokio::test]
async fn a_request_id_that_comes_again_with_another_value_is_refused_and_harms_nothing() {
    let registry = Registry::start().await;
    let (_, value) = issue(&registry, with_request_id(secret("ada", "reset"))).await.unwrap();
    for other in [
        own("ada", "reset", "a value of 22 or more characters"),
        own("ada", "reset", "short"),
        digits("ada", "reset", 6),
    ] {
        assert_invalid(issue(&registry, with_request_id(other)).await, &["request_id"]);
    }
    assert_eq!(state(&registry, "reset", &value).await, TokenState::Active);

    issue(&registry, with_request_id(own("ada", "invite", "short"))).await.unwrap();
    for other in [own("ada", "invite", "other"), secret("ada", "invite")] {
        assert_invalid(issue(&registry, with_request_id(other)).await, &["request_id"]);
    }
    consume(&registry, of_user("ada", "invite", "short")).await.unwrap();
}

#[tokio::test]
async fn a_request_id_that_comes_again_for_a_code_of_another_length_is_refused_and_harms_nothing() {
    let registry = Registry::start().await;
    let (_, code) = issue(&registry, with_request_id(digits("ada", "mfa", 6))).await.unwrap();
    assert_invalid(issue(&registry, with_request_id(digits("ada", "mfa", 8))).await, &["request_id"]);
    consume(&registry, of_user("ada", "mfa", &code)).await.unwrap();
}

#[tokio::test]
async fn what_the_retry_asks_besides_the_value_changes_nothing() {
    let registry = Registry::start().await;
    let request = with_request_id(secret("ada", "reset"));
    let first = issue(&registry, request.clone()).await.unwrap();
    let longer = IssueGenericTokenRequest { lifetime: seconds(7200), ..request };
    assert_eq!(issue(&registry, longer).await.unwrap(), first);
}
