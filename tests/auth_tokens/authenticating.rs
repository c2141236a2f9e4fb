//! Asking about keys: what is answered, and what is written of it.

use token_registry::proto::{AuthToken, TokenState};

use crate::support::keys::{authenticate, create, get, named, prefixed, state, wanted};
use crate::support::people::set_active;
use crate::support::{Registry, until};

#[tokio::test]
async fn a_key_says_whose_it_is_however_a_client_sends_it() {
    for model in [|_: &mut _| {}, prefixed] {
        let registry = Registry::start_with(model).await;
        let (token, key) = create(&registry, named("ada", "deploys")).await.unwrap();
        for sent in [key.clone(), format!("Token {key}"), format!("token {key}"), format!("Bearer {key}")] {
            let answer = authenticate(&registry, &sent).await;
            assert_eq!((answer.state(), answer.user_id.as_str()), (TokenState::Active, "ada"));
            assert_eq!(answer.auth_token, Some(AuthToken { last_used: None, ..token.clone() }));
        }
    }
}

#[tokio::test]
async fn a_malformed_key_is_unknown_without_a_look_at_the_database() {
    let registry = Registry::start_with(prefixed).await;
    let (_, key) = create(&registry, named("ada", "deploys")).await.unwrap();
    let well_formed = "0".repeat(40);
    assert_eq!(state(&registry, &well_formed).await, TokenState::Unknown);
    // Whoever looks now waits for ever.
    let holder = registry.sql().await;
    holder.batch_execute("begin; lock table auth_tokens in access exclusive mode").await.unwrap();
    let mut typo = key.into_bytes();
    typo[20] = if typo[20] == b'x' { b'y' } else { b'x' };
    let typo = String::from_utf8(typo).unwrap();
    for malformed in [typo.as_str(), "nonsense", "trk_", "Basic YWRhOmVuaWdtYQ==", &"f".repeat(41), "🙂"] {
        let answer = authenticate(&registry, malformed).await;
        assert_eq!((answer.state(), answer.user_id.as_str()), (TokenState::Unknown, ""));
        assert_eq!(answer.auth_token, None);
    }
    holder.batch_execute("rollback").await.unwrap();
}

#[tokio::test]
async fn a_key_of_a_suspended_user_comes_back_with_the_user() {
    let registry = Registry::start().await;
    let (_, key) = create(&registry, wanted("ada")).await.unwrap();
    let (_, revoked) = set_active(&registry, "ada", Some(false)).await.unwrap();
    assert_eq!(revoked.auth_tokens, 0, "suspended, not revoked");
    assert_eq!(state(&registry, &key).await, TokenState::UserInactive);
    assert_eq!(get(&registry, "ada", None).await.unwrap().state(), TokenState::UserInactive);
    set_active(&registry, "ada", Some(true)).await.unwrap();
    assert_eq!(state(&registry, &key).await, TokenState::Active);
}

#[tokio::test]
async fn the_time_of_last_use_is_written_later_and_at_most_once_a_minute() {
    let registry = Registry::start().await;
    let (_, key) = create(&registry, wanted("ada")).await.unwrap();
    let (_, unused) = create(&registry, wanted("ben")).await.unwrap();
    let sql = registry.sql().await;
    set_active(&registry, "ben", Some(false)).await.unwrap();
    state(&registry, &unused).await;
    state(&registry, &key).await;
    let last_used = async |user: &str| get(&registry, user, None).await.unwrap().last_used;
    until(async || last_used("ada").await.is_some()).await;
    assert_eq!(last_used("ben").await, None, "a refused key wasn't used");

    // Used all the time, and not written for another minute.
    let ages = "update auth_tokens set last_used = last_used - interval '50 seconds' where user_id = 'ada'";
    sql.execute(ages, &[]).await.unwrap();
    let written = last_used("ada").await;
    assert_eq!(authenticate(&registry, &key).await.auth_token.unwrap().last_used, written);
    let sql_ages =
        "update auth_tokens set last_used = last_used - interval '10 seconds' where user_id = 'ada'";
    sql.execute(sql_ages, &[]).await.unwrap();
    let before = last_used("ada").await;
    state(&registry, &key).await;
    until(async || last_used("ada").await != before).await;
    assert!(last_used("ada").await.unwrap().seconds - before.unwrap().seconds >= 60);
}
