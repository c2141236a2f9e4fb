//! Suspending a user: at once, everywhere, and for good of what was live.

use token_registry::proto::{BatchCheckSessionsRequest, RevocationReason, SessionQuestion, TokenState};
use tonic::Code::FailedPrecondition;

use crate::support::one_time::{check, consume, digits, issue, list, of_user, own, presented, secret};
use crate::support::people::{counts, get, login, revoke_credentials, set_active, version};
use crate::support::{Registry, assert_invalid, assert_refused, people};

#[tokio::test]
async fn whether_to_suspend_must_be_said() {
    let registry = Registry::start().await;
    registry.add("ada", "laptop", "one").await.unwrap();
    assert_invalid(set_active(&registry, "ada", None).await, &["active"]);
    assert_invalid(set_active(&registry, "", None).await, &["user_id", "active"]);
    assert_eq!(registry.check_session("ada", "laptop").await, TokenState::Active);
}

#[tokio::test]
async fn a_suspension_revokes_what_is_live_and_says_how_much() {
    let registry = Registry::start().await;
    for session in ["laptop", "phone", "logged out"] {
        registry.add("ada", session, "one").await.unwrap();
    }
    registry.log_out("ada", "logged out").await;
    let (_, secret_value) = issue(&registry, secret("ada", "reset")).await.unwrap();
    let (_, code) = issue(&registry, digits("ada", "mfa", 6)).await.unwrap();
    registry.add("bob", "laptop", "one").await.unwrap();
    issue(&registry, secret("bob", "reset")).await.unwrap();

    let (user, revoked) = set_active(&registry, "ada", Some(false)).await.unwrap();
    assert!(!user.active);
    assert_eq!(revoked, counts(2, 2));
    assert_eq!(get(&registry, "ada").await.unwrap(), (user, counts(0, 0)));
    assert_eq!(get(&registry, "bob").await.unwrap().1, counts(1, 1));

    let suspended = registry.get("ada", "phone").await.unwrap();
    assert_eq!(suspended.revocation_reason(), RevocationReason::UserDeactivated);
    assert!(suspended.revoked.is_some());
    let before = registry.get("ada", "logged out").await.unwrap();
    assert_eq!(before.revocation_reason(), RevocationReason::Logout, "the first revocation's reason stays");
    for claim in [presented("reset", &secret_value), of_user("ada", "mfa", &code)] {
        assert_refused(consume(&registry, claim).await, FailedPrecondition, "USER_INACTIVE");
    }
}

#[tokio::test]
async fn every_check_and_command_about_a_suspended_user_tells_so_at_once_whatever_else_was_the_matter() {
    let registry = Registry::start().await;
    let sessions = ["live", "revoked", "expired"];
    for session in sessions {
        registry.add("ada", session, "one").await.unwrap();
    }
    registry.log_out("ada", "revoked").await;
    let over = "update sessions set session_expires = now(), idle_expires = now() where session = 'expired'";
    registry.sql().await.execute(over, &[]).await.unwrap();
    let (_, value) = issue(&registry, secret("ada", "reset")).await.unwrap();
    let (_, used) = issue(&registry, secret("ada", "confirm")).await.unwrap();
    consume(&registry, presented("confirm", &used)).await.unwrap();

    set_active(&registry, "ada", Some(false)).await.unwrap();
    let inactive = TokenState::UserInactive;
    for session in sessions {
        assert_eq!(registry.check_session("ada", session).await, inactive, "{session}");
        for jti in ["one", "other"] {
            assert_eq!(registry.check_token("ada", session, jti).await, inactive, "{session}");
        }
        assert_eq!(registry.get("ada", session).await.unwrap().state(), inactive);
        let rotated = registry.rotate("ada", session, "one", "two").await;
        assert_refused(rotated, FailedPrecondition, "USER_INACTIVE");
    }
    let keys = sessions.map(|session| SessionQuestion { user_id: "ada".into(), session: session.into() });
    let batch = BatchCheckSessionsRequest { sessions: keys.to_vec() };
    let results = registry.whitelist.clone().batch_check_sessions(batch).await.unwrap().into_inner().results;
    assert!(results.iter().all(|result| result.state() == inactive), "{results:?}");
    for (purpose, value) in [("reset", &value), ("confirm", &used)] {
        assert_eq!(check(&registry, purpose, value, None).await.unwrap().state(), inactive);
    }
    assert!(list(&registry, "ada").await.iter().all(|token| token.state() == inactive));
    let login = registry.add("ada", "new", "one").await;
    assert_refused(login, FailedPrecondition, "USER_INACTIVE");
    let issued = issue(&registry, secret("ada", "reset")).await;
    assert_refused(issued, FailedPrecondition, "USER_INACTIVE");
}

#[tokio::test]
async fn a_suspension_is_seen_on_every_replica() {
    let registry = Registry::start().await;
    let replica = Registry::on(&registry.database_url, |_| {}).await;
    registry.add("ada", "laptop", "one").await.unwrap();
    assert_eq!(replica.check_session("ada", "laptop").await, TokenState::Active);
    set_active(&registry, "ada", Some(false)).await.unwrap();
    assert_eq!(replica.check_session("ada", "laptop").await, TokenState::UserInactive);
}

#[tokio::test]
async fn a_suspension_moves_the_credential_version_once() {
    let registry = Registry::start().await;
    let created = people::create(&registry, "ada").await.unwrap();
    let (suspended, _) = set_active(&registry, "ada", Some(false)).await.unwrap();
    assert_ne!(suspended.credential_version, created.credential_version);
    assert_eq!(suspended.created, created.created);
    let again = set_active(&registry, "ada", Some(false)).await.unwrap();
    assert_eq!(again, (suspended.clone(), counts(0, 0)));
    let (reinstated, _) = set_active(&registry, "ada", Some(true)).await.unwrap();
    assert_eq!(reinstated.credential_version, suspended.credential_version);
    let again = set_active(&registry, "ada", Some(true)).await.unwrap();
    assert_eq!(again, (reinstated, counts(0, 0)));
}

#[tokio::test]
async fn the_end_of_a_suspension_revives_nothing_and_new_logins_work() {
    let registry = Registry::start().await;
    registry.add("ada", "laptop", "one").await.unwrap();
    let (_, value) = issue(&registry, secret("ada", "reset")).await.unwrap();
    issue(&registry, own("ada", "mfa", "right")).await.unwrap();
    set_active(&registry, "ada", Some(false)).await.unwrap();
    let (user, revoked) = set_active(&registry, "ada", Some(true)).await.unwrap();
    assert!(user.active);
    assert_eq!(revoked, counts(0, 0));
    assert_eq!(get(&registry, "ada").await.unwrap(), (user, counts(0, 0)));

    assert_eq!(registry.check_session("ada", "laptop").await, TokenState::Revoked);
    let rotated = registry.rotate("ada", "laptop", "one", "two").await;
    assert_refused(rotated, FailedPrecondition, "SESSION_REVOKED");
    for claim in [presented("reset", &value), of_user("ada", "mfa", "right")] {
        assert_refused(consume(&registry, claim).await, FailedPrecondition, "TOKEN_REVOKED");
    }

    registry.add("ada", "new", "one").await.unwrap();
    assert_eq!(registry.check_session("ada", "new").await, TokenState::Active);
    registry.rotate("ada", "new", "one", "two").await.unwrap();
    let (_, value) = issue(&registry, secret("ada", "reset")).await.unwrap();
    consume(&registry, presented("reset", &value)).await.unwrap();
}

#[tokio::test]
async fn a_login_in_progress_fails_over_a_suspension_even_one_that_is_over() {
    let registry = Registry::start().await;
    people::create(&registry, "ada").await.unwrap();
    let read = version(&registry, "ada").await;
    set_active(&registry, "ada", Some(false)).await.unwrap();
    let during = registry.add_as(login("ada", "laptop", &read)).await;
    assert_refused(during, FailedPrecondition, "USER_INACTIVE");
    set_active(&registry, "ada", Some(true)).await.unwrap();
    let after = registry.add_as(login("ada", "laptop", &read)).await;
    assert_refused(after, FailedPrecondition, "CREDENTIALS_CHANGED");
    registry.add_as(login("ada", "laptop", &version(&registry, "ada").await)).await.unwrap();
}

#[tokio::test]
async fn a_user_never_seen_is_created_in_the_state_asked_for() {
    let registry = Registry::start().await;
    for (user_id, active) in [("ada", false), ("bob", true)] {
        let (user, revoked) = set_active(&registry, user_id, Some(active)).await.unwrap();
        assert_eq!((user.active, revoked), (active, counts(0, 0)));
        assert_eq!(get(&registry, user_id).await.unwrap().0, user);
    }
    assert_refused(registry.add("ada", "laptop", "one").await, FailedPrecondition, "USER_INACTIVE");
    registry.add("bob", "laptop", "one").await.unwrap();
    // Created again, a suspended user stays suspended.
    assert!(!people::create(&registry, "ada").await.unwrap().active);
}

#[tokio::test]
async fn a_password_change_does_not_end_a_suspension() {
    let registry = Registry::start().await;
    set_active(&registry, "ada", Some(false)).await.unwrap();
    let (user, _) = revoke_credentials(&registry, people::change("ada")).await.unwrap();
    assert!(!user.active);
}
