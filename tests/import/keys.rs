//! API keys: the keys of `rest_framework.authtoken` go on working.

use token_registry::proto::{CreateAuthTokenRequest, TokenState};

use super::django::{Django, counts};
use crate::support::{Registry, keys, people};

const KEY: &str = "73cc6b39bc508fd103619666cf3561593a58383f";
const OTHER: &str = "16727d15754b0a87c80c2d7421267a519511a594";

async fn give(django: &Django, key: &str) {
    django.run(&format!("insert into authtoken_token values ('{key}', now(), 1)")).await;
}

#[tokio::test]
async fn every_key_of_the_sample_authenticates_its_user() {
    let (django, registry) = (Django::sample().await, Registry::start().await);
    let report = django.import(&registry).await;
    let there = "select key::text, user_id::text, is_active from authtoken_token t join jwt_allauth_jauser u on u.id = t.user_id";
    let there = django.sql.query(there, &[]).await.unwrap();
    assert_eq!(report.auth_tokens, counts(there.len() as u64, there.len() as u64, 0, 0));
    assert_eq!(there.len(), 8);
    for row in there {
        let (key, user, active): (String, String, bool) = (row.get(0), row.get(1), row.get(2));
        let answer = keys::authenticate(&registry, &format!("Token {key}")).await;
        let expected = if active { TokenState::Active } else { TokenState::UserInactive };
        assert_eq!((answer.state(), answer.user_id), (expected, user));
    }
    assert_eq!(django.import(&registry).await.auth_tokens, counts(8, 0, 0, 8));
}

#[tokio::test]
async fn a_key_that_was_changed_there_is_changed_here() {
    let (django, registry) = (Django::with_ada().await, Registry::start().await);
    give(&django, KEY).await;
    django.import(&registry).await;
    django.run("delete from authtoken_token").await;
    give(&django, OTHER).await;
    let report = django.import(&registry).await;
    assert_eq!((report.auth_tokens.ended, report.auth_tokens.new), (1, 1));
    assert_eq!(keys::authenticate(&registry, KEY).await.state(), TokenState::Revoked);
    assert_eq!(keys::authenticate(&registry, OTHER).await.state(), TokenState::Active);
}

#[tokio::test]
async fn a_key_that_was_revoked_here_stays_revoked() {
    let (django, registry) = (Django::with_ada().await, Registry::start().await);
    give(&django, KEY).await;
    django.import(&registry).await;
    people::revoke_credentials(&registry, people::change("1")).await.unwrap();
    assert_eq!(django.import(&registry).await.auth_tokens, counts(1, 0, 0, 1));
    assert_eq!(keys::authenticate(&registry, KEY).await.state(), TokenState::Revoked);
}

#[tokio::test]
async fn whoever_has_made_a_key_here_keeps_it() {
    let (django, registry) = (Django::with_ada().await, Registry::start().await);
    let request = CreateAuthTokenRequest { user_id: "1".into(), ..Default::default() };
    let (_, own) = keys::create(&registry, request).await.unwrap();
    give(&django, KEY).await;
    let report = django.import(&registry).await;
    assert_eq!((report.auth_tokens.kept, report.auth_tokens.new), (1, 0));
    assert_eq!(keys::state(&registry, &own).await, TokenState::Active);
    assert_eq!(keys::state(&registry, KEY).await, TokenState::Unknown);
}

#[tokio::test]
async fn what_is_no_key_or_a_second_one_is_listed_without_it() {
    let (django, registry) = (Django::with_ada().await, Registry::start().await);
    django.run("alter table authtoken_token drop constraint authtoken_token_user_id_key").await;
    give(&django, KEY).await;
    django.run("update authtoken_token set created = created - interval '1 day'").await;
    give(&django, OTHER).await;
    give(&django, "short").await;
    let report = django.import(&registry).await;
    assert_eq!((report.auth_tokens.read, report.auth_tokens.new, report.auth_tokens.refused), (3, 1, 2));
    let text = report.text();
    assert!(!text.contains(KEY) && !text.contains("short"), "{text}");
    assert_eq!(keys::authenticate(&registry, OTHER).await.state(), TokenState::Active);
    assert_eq!(keys::authenticate(&registry, KEY).await.state(), TokenState::Unknown);
}
