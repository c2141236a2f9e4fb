//! The key under which codes and callers' own values are kept: it can be changed, and replicas share it.

use secrecy::SecretString;
use token_registry::proto::{IssueGenericTokenRequest, TokenState};
use tonic::Code::NotFound;

use crate::support::one_time::{consume, digits, issue, list_page, of_user, own, presented, secret, state};
use crate::support::{Registry, assert_refused};

const A: &str = "key A, of which 32 characters are enough";
const B: &str = "key B, of which 32 characters are enough";
const C: &str = "key C, of which 32 characters are enough";
const LONG: &str = "a value of 22 or more characters";

/// Another replica on the same database, or the same one restarted, with these keys, the current one first.
async fn with_keys(database_url: &str, keys: &[&str]) -> Registry {
    Registry::on(database_url, |config| {
        config.server_keys = keys.iter().map(|&key| SecretString::from(key.to_owned())).collect();
    })
    .await
}

fn again(request: IssueGenericTokenRequest) -> IssueGenericTokenRequest {
    IssueGenericTokenRequest { request_id: Some("request".into()), ..request }
}

#[tokio::test]
async fn what_was_issued_under_a_key_is_good_while_the_key_is_current_or_previous() {
    let database = crate::support::fresh_database().await;
    for (number, later) in [&[A][..], &[B, A]].into_iter().enumerate() {
        let user = format!("user-{number}");
        let issuing = with_keys(&database.url, &[A]).await;
        let (_, code) = issue(&issuing, digits(&user, "mfa", 6)).await.unwrap();
        issue(&issuing, own(&user, "invite", &format!("{LONG} {number}"))).await.unwrap();
        let first = issue(&issuing, again(secret(&user, "reset"))).await.unwrap();
        let first_code = issue(&issuing, again(digits(&user, "step-up", 6))).await.unwrap();
        drop(issuing);

        let registry = with_keys(&database.url, later).await;
        // Retries first: they answer the same value, which is derived from the key.
        assert_eq!(issue(&registry, again(secret(&user, "reset"))).await.unwrap(), first);
        assert_eq!(issue(&registry, again(digits(&user, "step-up", 6))).await.unwrap(), first_code);
        consume(&registry, of_user(&user, "mfa", &code)).await.unwrap();
        consume(&registry, of_user(&user, "step-up", &first_code.1)).await.unwrap();
        consume(&registry, presented("invite", &format!("{LONG} {number}"))).await.unwrap();
        consume(&registry, presented("reset", &first.1)).await.unwrap();
    }
}

#[tokio::test]
async fn a_key_that_is_gone_takes_codes_and_own_values_with_it_but_no_random_secrets() {
    let database = crate::support::fresh_database().await;
    let issuing = with_keys(&database.url, &[A]).await;
    let (_, code) = issue(&issuing, digits("ada", "mfa", 6)).await.unwrap();
    issue(&issuing, own("ada", "invite", LONG)).await.unwrap();
    let (_, random) = issue(&issuing, secret("ada", "reset")).await.unwrap();
    drop(issuing);

    let registry = with_keys(&database.url, &[C, B]).await;
    for claim in [of_user("ada", "mfa", &code), presented("invite", LONG)] {
        assert_refused(consume(&registry, claim).await, NotFound, "TOKEN_NOT_FOUND");
    }
    consume(&registry, presented("reset", &random)).await.unwrap();
}

#[tokio::test]
async fn new_values_are_kept_under_the_current_key_not_the_previous_one() {
    let database = crate::support::fresh_database().await;
    let issuing = with_keys(&database.url, &[B, A]).await;
    issue(&issuing, own("ada", "invite", LONG)).await.unwrap();
    issue(&issuing, own("ada", "mfa", "right")).await.unwrap();
    let old = with_keys(&database.url, &[A]).await;
    assert_eq!(state(&old, "invite", LONG).await, TokenState::Unknown);
    let current = with_keys(&database.url, &[C, B]).await;
    assert_eq!(state(&current, "invite", LONG).await, TokenState::Active);
    consume(&current, of_user("ada", "mfa", "right")).await.unwrap();
}

#[tokio::test]
async fn the_key_that_the_registry_made_for_itself_is_shared_by_replicas() {
    let database = crate::support::fresh_database().await;
    let (one, two) = tokio::join!(with_keys(&database.url, &[]), with_keys(&database.url, &[]));
    let rows = one.sql().await.query("select length(key) from server_keys", &[]).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.get(0)).collect::<Vec<i32>>(), [32]);

    let (_, code) = issue(&one, digits("ada", "mfa", 6)).await.unwrap();
    consume(&two, of_user("ada", "mfa", &code)).await.unwrap();
    issue(&two, own("ada", "invite", LONG)).await.unwrap();
    consume(&one, presented("invite", LONG)).await.unwrap();
    let first = issue(&one, again(secret("ada", "reset"))).await.unwrap();
    assert_eq!(issue(&two, again(secret("ada", "reset"))).await.unwrap(), first);
    // A page that one began, another goes on with.
    let page = |page_token: String| token_registry::proto::ListGenericTokensRequest {
        user_id: "ada".into(),
        page_size: 2,
        page_token,
        ..Default::default()
    };
    let next = list_page(&one, page(String::new())).await.unwrap().next_page_token;
    assert_eq!(list_page(&two, page(next)).await.unwrap().tokens.len(), 1);
}

#[tokio::test]
async fn the_registrys_own_key_outlives_a_restart_and_stays_understood_when_one_is_configured() {
    let database = crate::support::fresh_database().await;
    let own_key = with_keys(&database.url, &[]).await;
    issue(&own_key, own("ada", "mfa", "right")).await.unwrap();
    issue(&own_key, own("ada", "invite", LONG)).await.unwrap();
    drop(own_key);
    let restarted = with_keys(&database.url, &[]).await;
    consume(&restarted, of_user("ada", "mfa", "right")).await.unwrap();
    drop(restarted);
    let configured = with_keys(&database.url, &[A]).await;
    consume(&configured, presented("invite", LONG)).await.unwrap();
}

#[tokio::test]
async fn with_a_configured_key_none_is_made_and_kept_in_the_database() {
    let database = crate::support::fresh_database().await;
    let registry = with_keys(&database.url, &[A]).await;
    issue(&registry, digits("ada", "mfa", 6)).await.unwrap();
    let kept = registry.sql().await.query("select from server_keys", &[]).await.unwrap();
    assert!(kept.is_empty());
}
