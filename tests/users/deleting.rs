//! Deleting a user: the seed's CASCADE.

use token_registry::proto::{ListRefreshTokensRequest, RevokeCredentialsRequest, TokenState};
use tonic::Code::NotFound;

use crate::support::one_time::{consume, digits, issue, let_expire, list, of_user, presented, secret, state};
use crate::support::people::{change, counts, create, delete, get, revoke_credentials, set_active};
use crate::support::{Registry, assert_invalid, assert_refused};

/// The tables that have rows of a user, found by their column, so that a table of a later release is not forgotten.
async fn tables_with_rows_of(registry: &Registry, user_id: &str) -> Vec<String> {
    let sql = registry.sql().await;
    let tables = "select table_name::text from information_schema.columns
        where table_schema = 'public' and column_name = 'user_id' order by 1";
    let mut found = Vec::new();
    for table in sql.query(tables, &[]).await.unwrap() {
        let table: String = table.get(0);
        let rows = format!("select from \"{table}\" where user_id = $1 limit 1");
        if sql.query_opt(&rows, &[&user_id]).await.unwrap().is_some() {
            found.push(table);
        }
    }
    found
}

/// Live and dead things of every kind.
async fn fill(registry: &Registry, user_id: &str) {
    for session in ["laptop", "phone", "logged out"] {
        registry.add(user_id, session, "one").await.unwrap();
    }
    registry.log_out(user_id, "logged out").await;
    issue(registry, secret(user_id, "reset")).await.unwrap();
    issue(registry, secret(user_id, "reset")).await.unwrap();
    let (_, value) = issue(registry, secret(user_id, "confirm")).await.unwrap();
    consume(registry, presented("confirm", &value)).await.unwrap();
    issue(registry, digits(user_id, "mfa", 6)).await.unwrap();
    let keep_all = RevokeCredentialsRequest {
        except_session: Some("laptop".into()),
        keep_purposes: vec!["reset".into(), "mfa".into()],
        request_id: Some("request".into()),
        ..change(user_id)
    };
    revoke_credentials(registry, keep_all).await.unwrap();
}

#[tokio::test]
async fn everything_of_the_user_goes_and_is_counted_dead_or_alive() {
    let registry = Registry::start().await;
    fill(&registry, "ada").await;
    let_expire(&registry).await;
    fill(&registry, "bob").await;
    let before = tables_with_rows_of(&registry, "ada").await;
    assert_eq!(
        before,
        ["credential_changes", "generic_state", "generic_tokens", "sessions", "users"],
        "a table that is new here: fill it above"
    );
    assert_eq!(delete(&registry, "ada").await.unwrap(), counts(3, 4));
    assert_eq!(tables_with_rows_of(&registry, "ada").await, Vec::<String>::new());
    assert_eq!(tables_with_rows_of(&registry, "bob").await, before);
    assert_eq!(get(&registry, "bob").await.unwrap().1, counts(1, 2));
}

#[tokio::test]
async fn a_missing_user_is_deleted_with_zeros_and_so_is_one_deleted_before() {
    let registry = Registry::start().await;
    assert_eq!(delete(&registry, "ada").await.unwrap(), counts(0, 0));
    fill(&registry, "ada").await;
    delete(&registry, "ada").await.unwrap();
    assert_eq!(delete(&registry, "ada").await.unwrap(), counts(0, 0));
    assert_invalid(delete(&registry, "").await, &["user_id"]);
}

#[tokio::test]
async fn after_it_nothing_is_known_of_the_user() {
    let registry = Registry::start().await;
    fill(&registry, "ada").await;
    let (_, value) = issue(&registry, secret("ada", "last")).await.unwrap();
    delete(&registry, "ada").await.unwrap();

    assert_refused(get(&registry, "ada").await, NotFound, "USER_NOT_FOUND");
    assert_eq!(registry.check_session("ada", "laptop").await, TokenState::Unknown);
    assert_refused(registry.get("ada", "laptop").await, NotFound, "SESSION_NOT_FOUND");
    let rotated = registry.rotate("ada", "laptop", "one", "two").await;
    assert_refused(rotated, NotFound, "SESSION_NOT_FOUND");
    assert_eq!(state(&registry, "last", &value).await, TokenState::Unknown);
    for claim in [presented("last", &value), of_user("ada", "mfa", "123456")] {
        assert_refused(consume(&registry, claim).await, NotFound, "TOKEN_NOT_FOUND");
    }
    assert!(list(&registry, "ada").await.is_empty());
    let devices = ListRefreshTokensRequest { user_id: "ada".into(), ..Default::default() };
    let devices = registry.whitelist.clone().list_refresh_tokens(devices).await.unwrap().into_inner();
    assert!(devices.tokens.is_empty() && devices.next_page_token.is_empty());
}

#[tokio::test]
async fn who_comes_back_begins_anew() {
    let registry = Registry::start().await;
    fill(&registry, "ada").await;
    set_active(&registry, "ada", Some(false)).await.unwrap();
    delete(&registry, "ada").await.unwrap();
    let user = create(&registry, "ada").await.unwrap();
    assert!(user.active, "a suspension is not remembered: that would keep data of a deleted person");
    assert_eq!(get(&registry, "ada").await.unwrap(), (user, counts(0, 0)));
    // The same names are free again.
    registry.add("ada", "laptop", "one").await.unwrap();
    let again = RevokeCredentialsRequest { request_id: Some("request".into()), ..change("ada") };
    assert_eq!(revoke_credentials(&registry, again).await.unwrap().1, counts(1, 0));
}

#[tokio::test]
async fn deleting_nobody_locks_nothing() {
    let registry = Registry::start().await;
    let mut sql = registry.sql().await;
    let others = sql.transaction().await.unwrap();
    others
        .batch_execute("lock table generic_state, generic_tokens, sessions in exclusive mode")
        .await
        .unwrap();
    // A user who is created now would hold a lock that this deletion waits for while it holds others.
    assert_eq!(delete(&registry, "ada").await.unwrap(), counts(0, 0));
}
