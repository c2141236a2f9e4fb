//! Making users known, and reading what is live of theirs.

use token_registry::proto::{AddRefreshTokenRequest, SetRefreshTokenEnabledRequest};
use tonic::Code::NotFound;

use crate::support::one_time::{consume, digits, issue, let_expire, of_user, own, presented, secret};
use crate::support::people::{counts, create, get, login};
use crate::support::{Registry, assert_invalid, assert_refused};

#[tokio::test]
async fn creating_a_user_twice_is_creating_once() {
    let registry = Registry::start().await;
    let created = create(&registry, "ada").await.unwrap();
    assert_eq!(created.user_id, "ada");
    assert!(created.active && !created.credential_version.is_empty() && created.created.is_some());
    registry.add("ada", "laptop", "one").await.unwrap();
    assert_eq!(create(&registry, "ada").await.unwrap(), created);
    assert_eq!(get(&registry, "ada").await.unwrap(), (created, counts(1, 0)));
}

#[tokio::test]
async fn a_user_never_seen_is_not_found() {
    let registry = Registry::start().await;
    create(&registry, "ada").await.unwrap();
    for stranger in ["bob", "Ada", "ada "] {
        assert_refused(get(&registry, stranger).await, NotFound, "USER_NOT_FOUND");
    }
}

#[tokio::test]
async fn a_users_name_has_1_to_255_characters() {
    let registry = Registry::start().await;
    for name in ["a".to_owned(), "ü".repeat(255), "spaces, ünïcode & 😀".to_owned()] {
        assert_eq!(create(&registry, &name).await.unwrap().user_id, name);
        assert_eq!(get(&registry, &name).await.unwrap().0.user_id, name);
    }
    for name in [String::new(), "x".repeat(256), "a\0b".to_owned()] {
        assert_invalid(create(&registry, &name).await, &["user_id"]);
        assert_invalid(get(&registry, &name).await, &["user_id"]);
    }
}

#[tokio::test]
async fn live_sessions_are_those_neither_revoked_nor_expired_and_a_disabled_one_is_live() {
    let registry = Registry::start().await;
    for session in ["live", "disabled", "revoked", "expired", "idle"] {
        registry.add("ada", session, "one").await.unwrap();
    }
    registry.add("bob", "live", "one").await.unwrap();
    assert_eq!(get(&registry, "ada").await.unwrap().1, counts(5, 0));
    let disable = SetRefreshTokenEnabledRequest {
        user_id: "ada".into(),
        session: "disabled".into(),
        enabled: Some(false),
    };
    registry.whitelist.clone().set_refresh_token_enabled(disable).await.unwrap();
    registry.log_out("ada", "revoked").await;
    let sql = registry.sql().await;
    for (column, session) in [("session_expires", "expired"), ("idle_expires", "idle")] {
        let over = format!("update sessions set {column} = now() where session = '{session}'");
        assert_eq!(sql.execute(&over, &[]).await.unwrap(), 1);
    }
    assert_eq!(get(&registry, "ada").await.unwrap().1, counts(2, 0));
}

#[tokio::test]
async fn live_one_time_tokens_are_those_that_could_be_consumed() {
    let registry = Registry::start().await;
    issue(&registry, secret("ada", "expired")).await.unwrap();
    let_expire(&registry).await;
    issue(&registry, secret("ada", "replaced")).await.unwrap();
    issue(&registry, secret("ada", "replaced")).await.unwrap();
    let (_, value) = issue(&registry, secret("ada", "consumed")).await.unwrap();
    consume(&registry, presented("consumed", &value)).await.unwrap();
    issue(&registry, digits("ada", "code", 6)).await.unwrap();
    issue(&registry, own("ada", "guessed", "right")).await.unwrap();
    issue(&registry, secret("bob", "reset")).await.unwrap();
    assert_eq!(get(&registry, "ada").await.unwrap().1, counts(0, 3));
    for _ in 0..5 {
        consume(&registry, of_user("ada", "guessed", "wrong")).await.unwrap_err();
    }
    assert_eq!(get(&registry, "ada").await.unwrap().1, counts(0, 2), "a code without guesses left is dead");
}

#[tokio::test]
async fn where_users_must_be_known_a_login_needs_one_and_so_does_one_with_a_credential_version() {
    let strict = Registry::start_with(|config| config.require_known_users = true).await;
    assert_refused(strict.add("ada", "laptop", "one").await, NotFound, "USER_NOT_FOUND");
    create(&strict, "ada").await.unwrap();
    strict.add("ada", "laptop", "one").await.unwrap();

    // Where they need not be, a login that was judged by a version was judged by a user's.
    let lenient = Registry::start().await;
    let judged = login("ada", "laptop", "some version");
    assert_refused(lenient.add_as(judged.clone()).await, NotFound, "USER_NOT_FOUND");
    lenient.add_as(AddRefreshTokenRequest { credential_version: None, ..judged }).await.unwrap();
    assert_eq!(get(&lenient, "ada").await.unwrap().1, counts(1, 0));
}
