//! How sessions end: one, all of a user's, or all but one; and what stays of the first ending.

use token_registry::proto::{
    RevocationReason, RevokeSessionRequest, RevokeUserSessionsRequest, RotationOutcome, TokenState,
};
use tonic::Code::FailedPrecondition;
use tonic::Status;

use crate::support::sessions::{Rows, assert_revoked, enable, revocation_reason, set_active};
use crate::support::{Registry, assert_invalid, assert_refused};

async fn revoke(registry: &Registry, user_id: &str, session: &str, reason: i32) -> Result<i64, Status> {
    let request = RevokeSessionRequest { user_id: user_id.into(), session: session.into(), reason };
    Ok(registry.whitelist.clone().revoke_session(request).await?.into_inner().revoked_count)
}

async fn revoke_all(
    registry: &Registry,
    user_id: &str,
    except: Option<&str>,
    reason: i32,
) -> Result<i64, Status> {
    let request =
        RevokeUserSessionsRequest { user_id: user_id.into(), except_session: except.map(Into::into), reason };
    Ok(registry.whitelist.clone().revoke_user_sessions(request).await?.into_inner().revoked_count)
}

const LOGOUT: i32 = RevocationReason::Logout as i32;
const ADMINISTRATIVE: i32 = RevocationReason::Administrative as i32;

/// The reasons that callers may give.
const CALLERS: [RevocationReason; 5] = [
    RevocationReason::Unspecified,
    RevocationReason::Logout,
    RevocationReason::CredentialChange,
    RevocationReason::UserDeactivated,
    RevocationReason::Administrative,
];

/// The registry's own reasons, and numbers that are none.
const REFUSED: [i32; 5] =
    [RevocationReason::Replay as i32, RevocationReason::SessionLimit as i32, 7, -1, i32::MAX];

#[tokio::test]
async fn a_revoked_session_is_refused_with_the_reason_that_was_given() {
    let registry = Registry::start().await;
    for reason in CALLERS {
        let name = reason.as_str_name().trim_start_matches("REVOCATION_REASON_");
        registry.add("ada", name, "one").await.unwrap();
        assert_eq!(revoke(&registry, "ada", name, reason.into()).await.unwrap(), 1);
        assert_revoked(&registry.get("ada", name).await.unwrap(), reason);
        assert_eq!(registry.check_session("ada", name).await, TokenState::Revoked);
        let refused = registry.rotate("ada", name, "one", "two").await;
        let status = assert_refused(refused, FailedPrecondition, "SESSION_REVOKED");
        assert_eq!(revocation_reason(&status), name);
    }
}

#[tokio::test]
async fn a_revocation_is_seen_by_another_replica_at_once() {
    let registry = Registry::start().await;
    let replica = Registry::on(&registry.database_url, |_| {}).await;
    registry.add("ada", "laptop", "one").await.unwrap();
    assert_eq!(replica.check_session("ada", "laptop").await, TokenState::Active);
    registry.log_out("ada", "laptop").await;
    assert_eq!(replica.check_session("ada", "laptop").await, TokenState::Revoked);
    let refused = replica.rotate("ada", "laptop", "one", "two").await;
    assert_refused(refused, FailedPrecondition, "SESSION_REVOKED");
}

#[tokio::test]
async fn revoking_again_is_ok_and_the_first_reason_and_time_stay() {
    let registry = Registry::start().await;
    let rows = Rows::of(&registry).await;
    registry.add("ada", "laptop", "one").await.unwrap();
    assert_eq!(revoke(&registry, "ada", "laptop", LOGOUT).await.unwrap(), 1);
    let before = rows.row("ada", "laptop").await;
    assert_eq!(revoke(&registry, "ada", "laptop", ADMINISTRATIVE).await.unwrap(), 0);
    assert_eq!(revoke_all(&registry, "ada", None, ADMINISTRATIVE).await.unwrap(), 0);
    registry.rotate("ada", "laptop", "foreign", "two").await.unwrap_err();
    set_active(&registry, "ada", false).await;
    assert_eq!(rows.row("ada", "laptop").await, before);
}

#[tokio::test]
async fn where_there_is_nothing_to_revoke_the_answer_is_ok_with_0() {
    let registry = Registry::start().await;
    let rows = Rows::of(&registry).await;
    assert_eq!(revoke(&registry, "nobody", "laptop", LOGOUT).await.unwrap(), 0);
    assert_eq!(revoke_all(&registry, "nobody", None, LOGOUT).await.unwrap(), 0);
    assert_eq!(rows.count("users").await, 0);
    registry.add("ada", "laptop", "one").await.unwrap();
    assert_eq!(revoke(&registry, "ada", "phone", LOGOUT).await.unwrap(), 0);
    // What has expired is dead already, and stays what it is.
    rows.idle_out("ada", "laptop").await;
    assert_eq!(revoke(&registry, "ada", "laptop", LOGOUT).await.unwrap(), 0);
    assert_eq!(revoke_all(&registry, "ada", None, LOGOUT).await.unwrap(), 0);
    assert_eq!(registry.check_session("ada", "laptop").await, TokenState::Expired);
}

#[tokio::test]
async fn a_disabled_session_can_be_revoked() {
    let registry = Registry::start().await;
    registry.add("ada", "laptop", "one").await.unwrap();
    enable(&registry, "ada", "laptop", false).await.unwrap();
    assert_eq!(revoke(&registry, "ada", "laptop", LOGOUT).await.unwrap(), 1);
    assert_eq!(registry.check_session("ada", "laptop").await, TokenState::Revoked);
}

#[tokio::test]
async fn all_live_sessions_of_a_user_are_revoked_and_counted_and_no_one_elses() {
    let registry = Registry::start().await;
    let rows = Rows::of(&registry).await;
    for session in ["active", "disabled", "revoked", "expired"] {
        registry.add("ada", session, "one").await.unwrap();
    }
    registry.add("bob", "laptop", "one").await.unwrap();
    enable(&registry, "ada", "disabled", false).await.unwrap();
    registry.log_out("ada", "revoked").await;
    rows.expire("ada", "expired").await;
    assert_eq!(revoke_all(&registry, "ada", None, ADMINISTRATIVE).await.unwrap(), 2);
    for session in ["active", "disabled"] {
        assert_revoked(&registry.get("ada", session).await.unwrap(), RevocationReason::Administrative);
    }
    assert_revoked(&registry.get("ada", "revoked").await.unwrap(), RevocationReason::Logout);
    assert_eq!(registry.check_session("ada", "expired").await, TokenState::Expired);
    assert_eq!(registry.check_session("bob", "laptop").await, TokenState::Active);
    // One added later is a new login.
    registry.add("ada", "new", "one").await.unwrap();
    assert_eq!(registry.check_session("ada", "new").await, TokenState::Active);
}

#[tokio::test]
async fn all_sessions_but_one_are_revoked() {
    let registry = Registry::start().await;
    for session in ["laptop", "phone", "tablet"] {
        registry.add("ada", session, "one").await.unwrap();
    }
    assert_eq!(revoke_all(&registry, "ada", Some("laptop"), LOGOUT).await.unwrap(), 2);
    let rotated = registry.rotate("ada", "laptop", "one", "two").await.unwrap();
    assert_eq!(rotated.outcome(), RotationOutcome::Rotated);
    // A name that no session has spares none.
    assert_eq!(revoke_all(&registry, "ada", Some("watch"), LOGOUT).await.unwrap(), 1);
    assert_eq!(registry.check_session("ada", "laptop").await, TokenState::Revoked);
}

#[tokio::test]
async fn a_session_to_spare_that_is_present_but_empty_is_invalid_and_revokes_nothing() {
    let registry = Registry::start().await;
    registry.add("ada", "laptop", "one").await.unwrap();
    assert_invalid(revoke_all(&registry, "ada", Some(""), LOGOUT).await, &["except_session"]);
    assert_eq!(registry.check_session("ada", "laptop").await, TokenState::Active);
}

#[tokio::test]
async fn the_registrys_own_reasons_and_unknown_ones_are_invalid_and_revoke_nothing() {
    let registry = Registry::start().await;
    registry.add("ada", "laptop", "one").await.unwrap();
    for reason in REFUSED {
        assert_invalid(revoke(&registry, "ada", "laptop", reason).await, &["reason"]);
        assert_invalid(revoke_all(&registry, "ada", None, reason).await, &["reason"]);
    }
    assert_eq!(registry.check_session("ada", "laptop").await, TokenState::Active);
}

#[tokio::test]
async fn all_that_is_wrong_with_a_revocation_is_told_at_once() {
    let registry = Registry::start().await;
    assert_invalid(revoke(&registry, "", "", 2).await, &["user_id", "session", "reason"]);
    assert_invalid(revoke_all(&registry, "", Some(""), 6).await, &["user_id", "except_session", "reason"]);
}
