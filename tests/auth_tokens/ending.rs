//! What ends keys: their own deletion, a credential change, the end of their user.

use token_registry::proto::{Counts, RevokeCredentialsRequest, TokenState};
use tonic::Code::NotFound;

use crate::support::keys::{create, delete, get, list, named, prefixed, state, wanted};
use crate::support::people;
use crate::support::{Registry, assert_refused};

fn auth_tokens(count: i64) -> Counts {
    Counts { auth_tokens: count, ..Default::default() }
}

#[tokio::test]
async fn a_deleted_key_is_unknown_and_deleting_it_again_deletes_nothing() {
    for model in [|_: &mut _| {}, prefixed] {
        let registry = Registry::start_with(model).await;
        let (token, key) = create(&registry, wanted("ada")).await.unwrap();
        let prefix = Some(token.prefix.as_str());
        assert_eq!(delete(&registry, "ben", prefix).await.unwrap(), 0, "of another user");
        assert_eq!(state(&registry, &key).await, TokenState::Active);
        assert_eq!(delete(&registry, "ada", prefix).await.unwrap(), 1);
        assert_eq!(state(&registry, &key).await, TokenState::Unknown);
        assert_eq!(delete(&registry, "ada", prefix).await.unwrap(), 0);
        assert_refused(get(&registry, "ada", prefix).await, NotFound, "AUTH_TOKEN_NOT_FOUND");
        create(&registry, wanted("ada")).await.unwrap();
    }
}

#[tokio::test]
async fn a_credential_change_revokes_keys_unless_they_are_kept() {
    let registry = Registry::start_with(prefixed).await;
    let mut keys = Vec::new();
    for name in ["deploys", "backups"] {
        keys.push(create(&registry, named("ada", name)).await.unwrap().1);
    }
    let (_, of_another) = create(&registry, named("ben", "deploys")).await.unwrap();
    assert_eq!(people::get(&registry, "ada").await.unwrap().1, auth_tokens(2));

    let keep = RevokeCredentialsRequest { keep_auth_tokens: Some(true), ..people::change("ada") };
    assert_eq!(people::revoke_credentials(&registry, keep).await.unwrap().1, auth_tokens(0));
    assert_eq!(state(&registry, &keys[0]).await, TokenState::Active);

    let change = RevokeCredentialsRequest { request_id: Some("once".into()), ..people::change("ada") };
    let first = people::revoke_credentials(&registry, change.clone()).await.unwrap();
    assert_eq!(first.1, auth_tokens(2));
    for key in &keys {
        assert_eq!(state(&registry, key).await, TokenState::Revoked);
    }
    assert_eq!(state(&registry, &of_another).await, TokenState::Active);
    let listed = list(&registry, "ada", 0).await;
    assert!(listed.iter().all(|token| token.state() == TokenState::Revoked), "{listed:?}");
    // The same request again, when there is a new key: the same counts, and the key stays.
    let (_, new) = create(&registry, named("ada", "deploys")).await.unwrap();
    assert_eq!(people::revoke_credentials(&registry, change).await.unwrap(), first);
    assert_eq!(state(&registry, &new).await, TokenState::Active);
    assert_eq!(people::get(&registry, "ada").await.unwrap().1, auth_tokens(1));
}

#[tokio::test]
async fn with_its_user_a_key_is_gone_and_doesnt_come_back_with_the_name() {
    let registry = Registry::start().await;
    let (_, key) = create(&registry, wanted("ada")).await.unwrap();
    people::set_active(&registry, "ada", Some(false)).await.unwrap();
    assert_eq!(people::get(&registry, "ada").await.unwrap().1, auth_tokens(1), "a suspended key counts");
    assert_eq!(people::delete(&registry, "ada").await.unwrap(), auth_tokens(1));
    people::create(&registry, "ada").await.unwrap();
    assert_eq!(state(&registry, &key).await, TokenState::Unknown);
}
