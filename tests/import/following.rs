//! Imports again: what has changed there comes, and what the registry has done stays.

use token_registry::proto::{RevocationReason, SetRefreshTokenEnabledRequest, TokenState};
use tonic::Code;

use super::django::{Django, counts, import};
use crate::support::{Registry, assert_refused, people};

/// Ada with one session, imported.
async fn moved() -> (Django, Registry) {
    let (django, registry) = (Django::with_ada().await, Registry::start().await);
    django.log_in(1, "laptop", "one").await;
    assert_eq!(django.import(&registry).await.sessions, counts(1, 1, 0, 0));
    (django, registry)
}

#[tokio::test]
async fn a_rotation_there_is_followed() {
    let (django, registry) = moved().await;
    let before = registry.get("1", "laptop").await.unwrap();
    django.rotate(1, "laptop", "two").await;
    assert_eq!(django.import(&registry).await.sessions, counts(1, 0, 1, 0));
    let after = registry.get("1", "laptop").await.unwrap();
    assert_eq!(
        (after.session_expires, after.session_created),
        (before.session_expires, before.session_created)
    );
    let (old, new) = (before.base.unwrap(), after.base.unwrap());
    assert_eq!((old.id, new.client.unwrap().os.as_deref()), (new.id, Some("Amiga")));
    registry.rotate("1", "laptop", "two", "three").await.unwrap();
    // And with it the other side has lost the session: its next rotation is no rotation here.
    django.rotate(1, "laptop", "there").await;
    let report = django.import(&registry).await;
    assert_eq!((report.sessions.kept, report.sessions.changed), (1, 0));
    assert!(report.text().contains("rotated on both sides"), "{}", report.text());
    assert_eq!(registry.check_token("1", "laptop", "three").await, TokenState::Active);
}

#[tokio::test]
async fn what_was_rotated_away_there_is_a_replay_here() {
    let (django, registry) = moved().await;
    django.rotate(1, "laptop", "two").await;
    django.import(&registry).await;
    assert_refused(
        registry.rotate("1", "laptop", "one", "x").await,
        Code::FailedPrecondition,
        "TOKEN_REPLAYED",
    );
    // A revocation stays, whatever is rotated there.
    django.rotate(1, "laptop", "three").await;
    assert_eq!(django.import(&registry).await.sessions.kept, 1);
    assert_eq!(registry.check_session("1", "laptop").await, TokenState::Revoked);
}

#[tokio::test]
async fn a_session_that_the_registry_rotated_is_its_own() {
    let (django, registry) = moved().await;
    registry.rotate("1", "laptop", "one", "two").await.unwrap();
    assert_eq!(django.import(&registry).await.sessions, counts(1, 0, 0, 1));
    assert_eq!(registry.check_token("1", "laptop", "two").await, TokenState::Active);
    // Not even its end there ends it: the other side no longer knows.
    django.log_out("laptop").await;
    assert_eq!(django.import(&registry).await.sessions.ended, 0);
    assert_eq!(registry.check_token("1", "laptop", "two").await, TokenState::Active);
}

#[tokio::test]
async fn a_logout_there_is_a_logout_here() {
    let (django, registry) = moved().await;
    registry.add("1", "phone", "of-the-registry").await.unwrap();
    django.log_out("laptop").await;
    let mut dry = django.options();
    dry.dry_run = true;
    assert_eq!(import(&registry, &dry).await.unwrap().sessions.ended, 1);
    assert_eq!(registry.check_session("1", "laptop").await, TokenState::Active);
    assert_eq!(django.import(&registry).await.sessions.ended, 1);
    let token = registry.get("1", "laptop").await.unwrap();
    assert_eq!((token.state(), token.revocation_reason()), (TokenState::Revoked, RevocationReason::Logout));
    assert_eq!(registry.check_session("1", "phone").await, TokenState::Active, "no import brought it");
    assert_eq!(django.import(&registry).await.sessions, counts(0, 0, 0, 0));
}

#[tokio::test]
async fn the_switch_follows_unless_the_registry_turned_it() {
    let (django, registry) = moved().await;
    let there = "update jwt_allauth_refreshtokenwhitelistmodel set enabled = ";
    django.run(&format!("{there} false")).await;
    assert_eq!(django.import(&registry).await.sessions, counts(1, 0, 1, 0));
    assert_eq!(registry.check_session("1", "laptop").await, TokenState::Disabled);
    let on =
        SetRefreshTokenEnabledRequest { user_id: "1".into(), session: "laptop".into(), enabled: Some(true) };
    registry.whitelist.clone().set_refresh_token_enabled(on).await.unwrap();
    assert_eq!(django.import(&registry).await.sessions, counts(1, 0, 0, 1));
    assert_eq!(registry.check_session("1", "laptop").await, TokenState::Active);
}

#[tokio::test]
async fn a_suspension_there_ends_everything_here() {
    let (django, registry) = moved().await;
    registry.add("1", "phone", "of-the-registry").await.unwrap();
    let version = people::version(&registry, "1").await;
    django.run("update jwt_allauth_jauser set is_active = false").await;
    django.log_in(1, "tablet", "late").await;
    let report = django.import(&registry).await;
    assert_eq!((report.users.changed, report.sessions.new, report.sessions.new_but_ended), (1, 1, 1));
    for session in ["laptop", "phone", "tablet"] {
        assert_eq!(registry.check_session("1", session).await, TokenState::UserInactive, "{session}");
    }
    assert_ne!(people::version(&registry, "1").await, version, "logins in progress must fail");
    // Reinstated there: so here, and what was ended stays ended.
    django.run("update jwt_allauth_jauser set is_active = true").await;
    assert_eq!(django.import(&registry).await.users, counts(1, 0, 1, 0));
    assert_eq!(registry.check_session("1", "laptop").await, TokenState::Revoked);
    django.log_in(1, "watch", "later").await;
    django.import(&registry).await;
    registry.rotate("1", "watch", "later", "x").await.unwrap();
}

#[tokio::test]
async fn a_suspension_here_stays() {
    let (django, registry) = moved().await;
    people::set_active(&registry, "1", Some(false)).await.unwrap();
    django.rotate(1, "laptop", "two").await;
    django.log_in(1, "phone", "three").await;
    let report = django.import(&registry).await;
    assert_eq!(
        (report.users, report.sessions.kept, report.sessions.new_but_ended),
        (counts(1, 0, 0, 1), 1, 1)
    );
    assert_eq!(registry.check_session("1", "phone").await, TokenState::UserInactive);
}

#[tokio::test]
async fn whom_the_registry_deleted_does_not_come_back() {
    let (django, registry) = moved().await;
    people::delete(&registry, "1").await.unwrap();
    django.log_in(1, "phone", "three").await;
    let report = django.import(&registry).await;
    assert_eq!((report.users.kept, report.sessions.kept, report.sessions.new), (1, 2, 0));
    assert_refused(people::get(&registry, "1").await, Code::NotFound, "USER_NOT_FOUND");
}

#[tokio::test]
async fn whoever_is_deleted_there_is_suspended_here() {
    let (django, registry) = moved().await;
    registry.add("1", "phone", "of-the-registry").await.unwrap();
    django.run("delete from jwt_allauth_refreshtokenwhitelistmodel; delete from jwt_allauth_jauser").await;
    let report = django.import(&registry).await;
    assert_eq!((report.users.ended, report.sessions.ended), (1, 1));
    assert_eq!(registry.check_session("1", "phone").await, TokenState::UserInactive);
    assert_eq!(django.import(&registry).await.users, counts(0, 0, 0, 0));
}

#[tokio::test]
async fn what_is_older_than_a_password_change_here_comes_as_ended() {
    let (django, registry) = moved().await;
    django.log_in(1, "phone", "before").await;
    people::revoke_credentials(&registry, people::change("1")).await.unwrap();
    django.log_in(1, "tablet", "after").await;
    let report = django.import(&registry).await;
    assert_eq!((report.sessions.new, report.sessions.new_but_ended), (2, 1));
    assert_eq!(registry.check_session("1", "phone").await, TokenState::Revoked);
    assert_eq!(registry.check_session("1", "tablet").await, TokenState::Active);
}

#[tokio::test]
async fn who_writes_to_both_sides_has_no_conflict() {
    let (django, registry) = moved().await;
    django.log_in(1, "phone", "a").await;
    registry.add("1", "phone", "a").await.unwrap();
    django.rotate(1, "laptop", "two").await;
    registry.rotate("1", "laptop", "one", "two").await.unwrap();
    assert_eq!(django.import(&registry).await.sessions, counts(2, 0, 0, 2));
    django.rotate(1, "phone", "there").await;
    let report = django.import(&registry).await;
    assert_eq!(report.sessions.kept, 1);
    assert!(report.text().contains("which no import brought"), "{}", report.text());
}

#[tokio::test]
async fn of_several_rows_of_a_session_the_newest_is_taken() {
    let (django, registry) = moved().await;
    django.log_in(1, "laptop", "newer").await;
    let report = django.import(&registry).await;
    assert_eq!((report.sessions.changed, report.sessions.refused), (1, 1));
    assert!(report.text().contains("the session has a newer row"), "{}", report.text());
    assert_eq!(registry.check_token("1", "laptop", "newer").await, TokenState::Active);
    let report = django.import(&registry).await;
    assert_eq!((report.sessions.unchanged, report.sessions.refused), (1, 1));
}
