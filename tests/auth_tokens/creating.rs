//! Making keys: what they look like, how many a user has, retries.

use token_registry::proto::{CreateAuthTokenRequest, ListAuthTokensRequest, TokenState};
use tonic::Code::{AlreadyExists, FailedPrecondition, NotFound};

use crate::support::keys::{authenticate, create, delete, get, list, named, prefixed, state, wanted};
use crate::support::people::set_active;
use crate::support::sessions::seconds;
use crate::support::{Registry, assert_invalid, assert_refused};

fn with_request_id(id: &str, request: CreateAuthTokenRequest) -> CreateAuthTokenRequest {
    CreateAuthTokenRequest { request_id: Some(id.into()), ..request }
}

fn replacing(request: CreateAuthTokenRequest) -> CreateAuthTokenRequest {
    CreateAuthTokenRequest { replace: true, ..request }
}

#[tokio::test]
async fn a_key_of_django_rest_framework_has_40_digits_and_a_user_has_one() {
    let registry = Registry::start().await;
    let (token, key) = create(&registry, wanted("ada")).await.unwrap();
    assert!(key.len() == 40 && key.bytes().all(|b| b"0123456789abcdef".contains(&b)), "{key}");
    assert_eq!((token.user_id.as_str(), token.prefix.as_str(), token.name.as_str()), ("ada", &key[..8], ""));
    assert_eq!((token.expires, token.last_used, token.state()), (None, None, TokenState::Active));
    assert_refused(create(&registry, wanted("ada")).await, AlreadyExists, "AUTH_TOKEN_EXISTS");
    create(&registry, wanted("ben")).await.unwrap();

    let (_, second) = create(&registry, replacing(wanted("ada"))).await.unwrap();
    assert_ne!(second, key);
    assert_eq!(state(&registry, &key).await, TokenState::Revoked);
    assert_eq!(state(&registry, &second).await, TokenState::Active);
    // Of the one and its predecessor the newest is meant.
    assert_eq!(get(&registry, "ada", None).await.unwrap().prefix, second[..8]);
    // What is over is in nobody's way.
    registry.sql().await.execute("update auth_tokens set expires = clock_timestamp()", &[]).await.unwrap();
    create(&registry, wanted("ada")).await.unwrap();
}

#[tokio::test]
async fn prefixed_keys_are_as_many_as_one_likes_and_each_has_its_name() {
    let registry = Registry::start_with(prefixed).await;
    let mut keys = Vec::new();
    for name in ["deploys", "backups", "", "deploys"] {
        let (token, key) = create(&registry, named("ada", name)).await.unwrap();
        assert!(key.starts_with("trk_") && key.len() == 53, "{key}");
        assert!(key[4..].bytes().all(|b| b.is_ascii_alphanumeric()), "{key}");
        assert_eq!((token.name.as_str(), token.prefix.as_str()), (name, &key[..12]));
        keys.push(key);
    }
    for key in &keys {
        assert_eq!(state(&registry, key).await, TokenState::Active);
    }
    // Only those of the same name give way.
    create(&registry, replacing(named("ada", "deploys"))).await.unwrap();
    let mut states = Vec::new();
    for key in &keys {
        states.push(state(&registry, key).await);
    }
    let (live, over) = (TokenState::Active, TokenState::Revoked);
    assert_eq!(states, [over, live, live, over]);
}

#[tokio::test]
async fn where_a_user_has_several_keys_it_must_be_said_which() {
    let registry = Registry::start_with(prefixed).await;
    let (_, key) = create(&registry, named("ada", "one")).await.unwrap();
    assert_invalid(get(&registry, "ada", None).await, &["prefix"]);
    assert_invalid(delete(&registry, "", None).await, &["prefix", "user_id"]);
    assert_eq!(get(&registry, "ada", Some(&key[..12])).await.unwrap().name, "one");
    assert_refused(get(&registry, "ben", Some(&key[..12])).await, NotFound, "AUTH_TOKEN_NOT_FOUND");
    assert_refused(get(&registry, "ada", Some("trk_")).await, NotFound, "AUTH_TOKEN_NOT_FOUND");
}

#[tokio::test]
async fn the_same_request_id_answers_the_same_key() {
    for model in [|_: &mut _| {}, prefixed] {
        let registry = Registry::start_with(model).await;
        let request = with_request_id("once", named("ada", "deploys"));
        let first = create(&registry, request.clone()).await.unwrap();
        assert_eq!(create(&registry, request.clone()).await.unwrap(), first);
        // Another copy that would replace is the same request still: it doesn't replace its own key.
        assert_eq!(create(&registry, replacing(request.clone())).await.unwrap(), first);
        assert_eq!(state(&registry, &first.1).await, TokenState::Active);
        assert_eq!(list(&registry, "ada", 0).await.len(), 1);
        // Of another user it is another request.
        assert_ne!(create(&registry, with_request_id("once", wanted("ben"))).await.unwrap().1, first.1);
        // Replaced in the meantime: the same key, and that it is over.
        create(&registry, replacing(named("ada", "deploys"))).await.unwrap();
        let (late, key) = create(&registry, request).await.unwrap();
        assert_eq!((late.state(), key), (TokenState::Revoked, first.1));
    }
}

#[tokio::test]
async fn a_key_made_before_the_server_key_changed_still_comes_back() {
    let registry = Registry::start_with(|config| {
        config.server_keys = vec!["the old key of the server, long enough".to_owned().into()];
    })
    .await;
    let request = with_request_id("once", wanted("ada"));
    let first = create(&registry, request.clone()).await.unwrap();
    let changed = |keys: &[&str]| {
        let keys: Vec<_> = keys.iter().map(|key| (*key).to_owned().into()).collect();
        let url = registry.database_url.clone();
        async move { Registry::on(&url, |config| config.server_keys = keys).await }
    };
    let new = "the new key of the server, long enough";
    let both = changed(&[new, "the old key of the server, long enough"]).await;
    assert_eq!(create(&both, request.clone()).await.unwrap(), first);
    // Without the old one the key can't be derived again: it is another request's key then that is in the way.
    let gone = changed(&[new, "another key of the server, long enough"]).await;
    assert_refused(create(&gone, request).await, AlreadyExists, "AUTH_TOKEN_EXISTS");
}

#[tokio::test]
async fn a_lifetime_ends_a_key_and_is_ten_years_at_most() {
    let registry = Registry::start_with(prefixed).await;
    let with = |lifetime| CreateAuthTokenRequest { lifetime: seconds(lifetime), ..wanted("ada") };
    let (token, key) = create(&registry, with(3600)).await.unwrap();
    assert_eq!(token.expires.unwrap().seconds - token.created.unwrap().seconds, 3600);
    let sql = registry.sql().await;
    sql.execute("update auth_tokens set expires = clock_timestamp()", &[]).await.unwrap();
    assert_eq!(state(&registry, &key).await, TokenState::Expired);
    let (token, key) = create(&registry, with(315_576_000_000)).await.unwrap();
    assert_eq!(token.expires.unwrap().seconds - token.created.unwrap().seconds, 87_660 * 3600);
    assert_eq!(state(&registry, &key).await, TokenState::Active);
}

#[tokio::test]
async fn users_never_seen_are_created_or_refused_and_suspended_ones_get_no_key() {
    let registry = Registry::start().await;
    create(&registry, wanted("ada")).await.unwrap();
    set_active(&registry, "ben", Some(false)).await.unwrap();
    assert_refused(create(&registry, wanted("ben")).await, FailedPrecondition, "USER_INACTIVE");
    let strict = Registry::start_with(|config| config.require_known_users = true).await;
    assert_refused(create(&strict, wanted("ada")).await, NotFound, "USER_NOT_FOUND");
}

#[tokio::test]
async fn lists_are_paged_newest_first_and_a_page_token_is_bound_to_its_user() {
    let registry = Registry::start_with(prefixed).await;
    let mut made = Vec::new();
    for n in 0..7 {
        made.insert(0, create(&registry, named("ada", &n.to_string())).await.unwrap().0);
    }
    create(&registry, named("ben", "one")).await.unwrap();
    for page_size in [0, 1, 3, 7] {
        assert_eq!(list(&registry, "ada", page_size).await, made);
    }
    assert_eq!(list(&registry, "nobody", 0).await, []);
    let page = |user_id: &str, page_token: String| {
        let request = ListAuthTokensRequest { user_id: user_id.into(), page_size: 2, page_token };
        let mut client = registry.auth.clone();
        async move { client.list_auth_tokens(request).await.map(tonic::Response::into_inner) }
    };
    let next = page("ada", String::new()).await.unwrap().next_page_token;
    assert_invalid(page("ben", next).await, &["page_token"]);
}

#[tokio::test]
async fn keys_of_both_models_authenticate_whatever_is_configured() {
    let drf = Registry::start().await;
    let (_, hex) = create(&drf, wanted("ada")).await.unwrap();
    let several = Registry::on(&drf.database_url, prefixed).await;
    let (_, prefixed) = create(&several, named("ada", "deploys")).await.unwrap();
    for registry in [&drf, &several] {
        for key in [&hex, &prefixed] {
            assert_eq!(authenticate(registry, key).await.user_id, "ada");
        }
    }
    // A key of the other model is in nobody's way.
    create(&drf, replacing(wanted("ada"))).await.unwrap();
    assert_eq!(state(&drf, &prefixed).await, TokenState::Active);
    assert_eq!(delete(&drf, "ada", None).await.unwrap(), 2);
    assert_eq!(state(&drf, &prefixed).await, TokenState::Active);
    create(&drf, wanted("ada")).await.unwrap();
}
