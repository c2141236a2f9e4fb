//! The order of the rotation rules: where several match, the first wins. The same table gives the state of a question.

use token_registry::proto::{RotationOutcome, TokenState};
use tonic::Code::{FailedPrecondition, NotFound};

use crate::support::sessions::{Rows, enable, revocation_reason, set_active};
use crate::support::{Registry, assert_invalid, assert_refused};

/// A session that rotated from `one` to `two` and from `two` to `three`, then got old where told so.
struct Session {
    disabled: bool,
    expired: Option<Expired>,
    logged_out: bool,
    user_inactive: bool,
}

#[derive(Clone, Copy)]
enum Expired {
    Absolutely,
    Idle,
}

const LIVE: Session = Session { disabled: false, expired: None, logged_out: false, user_inactive: false };

impl Session {
    /// Opens it. Everything dead about it happens in an order in which it can happen.
    async fn open(&self, registry: &Registry, user_id: &str) {
        let rows = Rows::of(registry).await;
        registry.add(user_id, "laptop", "one").await.unwrap();
        registry.rotate(user_id, "laptop", "one", "two").await.unwrap();
        registry.rotate(user_id, "laptop", "two", "three").await.unwrap();
        if self.disabled {
            enable(registry, user_id, "laptop", false).await.unwrap();
        }
        if self.logged_out {
            assert_eq!(registry.log_out(user_id, "laptop").await, 1);
        }
        match self.expired {
            Some(Expired::Absolutely) => rows.expire(user_id, "laptop").await,
            Some(Expired::Idle) => rows.idle_out(user_id, "laptop").await,
            None => {}
        }
        if self.user_inactive {
            set_active(registry, user_id, false).await;
        }
    }
}

/// Every kind of jti and successor that a rotation can come with.
const EVERY_PAIR: [(&str, &str); 6] = [
    ("three", "four"),
    ("three", "two"),
    ("two", "three"),
    ("two", "four"),
    ("one", "two"),
    ("foreign", "four"),
];

/// Asserts that whatever jti is presented, the session is refused for this reason, answers this state, and is left
/// as it was.
async fn assert_always_refused(session: Session, reason: &str, state: TokenState) {
    let registry = Registry::start().await;
    let rows = Rows::of(&registry).await;
    session.open(&registry, "ada").await;
    let before = rows.row("ada", "laptop").await;
    for (jti, new_jti) in EVERY_PAIR {
        let refused = registry.rotate("ada", "laptop", jti, new_jti).await;
        let status = assert_refused(refused, FailedPrecondition, reason);
        if reason == "SESSION_REVOKED" {
            assert_eq!(revocation_reason(&status), "LOGOUT");
        }
        assert_eq!(registry.check_token("ada", "laptop", jti).await, state, "{jti}");
    }
    assert_eq!(registry.check_session("ada", "laptop").await, state);
    assert_eq!(rows.row("ada", "laptop").await, before);
}

#[tokio::test]
async fn rule_1_no_row_comes_first_even_of_an_inactive_user() {
    let registry = Registry::start().await;
    registry.add("ada", "laptop", "one").await.unwrap();
    set_active(&registry, "ada", false).await;
    for (user, session) in [("nobody", "laptop"), ("ada", "phone")] {
        let refused = registry.rotate(user, session, "one", "two").await;
        assert_refused(refused, NotFound, "SESSION_NOT_FOUND");
        assert_eq!(registry.check_token(user, session, "one").await, TokenState::Unknown);
        assert_eq!(registry.check_session(user, session).await, TokenState::Unknown);
    }
}

#[tokio::test]
async fn rule_2_an_inactive_user_comes_before_revoked_expired_replayed_and_disabled() {
    let all =
        Session { disabled: true, expired: Some(Expired::Absolutely), logged_out: true, user_inactive: true };
    assert_always_refused(all, "USER_INACTIVE", TokenState::UserInactive).await;
}

#[tokio::test]
async fn rule_2_an_inactive_user_comes_before_expired_where_nothing_was_revoked() {
    let expired = Session { expired: Some(Expired::Idle), user_inactive: true, ..LIVE };
    assert_always_refused(expired, "USER_INACTIVE", TokenState::UserInactive).await;
}

#[tokio::test]
async fn rule_3_revoked_comes_before_expired_replayed_and_disabled() {
    let revoked = Session {
        disabled: true,
        expired: Some(Expired::Absolutely),
        logged_out: true,
        user_inactive: false,
    };
    assert_always_refused(revoked, "SESSION_REVOKED", TokenState::Revoked).await;
}

#[tokio::test]
async fn rule_4_past_the_absolute_expiry_comes_before_replayed_and_disabled() {
    let expired = Session { disabled: true, expired: Some(Expired::Absolutely), ..LIVE };
    assert_always_refused(expired, "SESSION_EXPIRED", TokenState::Expired).await;
}

#[tokio::test]
async fn rule_4_past_the_idle_expiry_comes_before_replayed_and_disabled() {
    let expired = Session { disabled: true, expired: Some(Expired::Idle), ..LIVE };
    assert_always_refused(expired, "SESSION_EXPIRED", TokenState::Expired).await;
}

#[tokio::test]
async fn rule_5_a_replay_comes_before_disabled_and_before_a_successor_that_was_the_previous_one() {
    let registry = Registry::start().await;
    let disabled = Session { disabled: true, ..LIVE };
    let pairs = [("one", "two"), ("foreign", "two"), ("foreign", "four")];
    for (user, (jti, new_jti)) in ["ada", "bob", "eve"].into_iter().zip(pairs) {
        disabled.open(&registry, user).await;
        assert_eq!(registry.check_token(user, "laptop", jti).await, TokenState::Superseded);
        let replayed = registry.rotate(user, "laptop", jti, new_jti).await;
        assert_refused(replayed, FailedPrecondition, "TOKEN_REPLAYED");
        assert_eq!(registry.check_session(user, "laptop").await, TokenState::Revoked);
    }
}

#[tokio::test]
async fn rule_5_a_predecessor_out_of_its_windows_is_a_replay_also_when_disabled() {
    let registry = Registry::start().await;
    let rows = Rows::of(&registry).await;
    for (user, new_jti, ago) in [("ada", "four", "30 seconds"), ("bob", "three", "24 hours")] {
        Session { disabled: true, ..LIVE }.open(&registry, user).await;
        rows.rotated_ago(user, "laptop", ago).await;
        let replayed = registry.rotate(user, "laptop", "two", new_jti).await;
        assert_refused(replayed, FailedPrecondition, "TOKEN_REPLAYED");
    }
}

#[tokio::test]
async fn rule_6_disabled_comes_before_retried_grace_rotated_and_the_previous_jti_as_successor() {
    let registry = Registry::start().await;
    let rows = Rows::of(&registry).await;
    Session { disabled: true, ..LIVE }.open(&registry, "ada").await;
    let before = rows.row("ada", "laptop").await;
    for (jti, new_jti) in [("two", "three"), ("two", "four"), ("three", "four"), ("three", "two")] {
        let refused = registry.rotate("ada", "laptop", jti, new_jti).await;
        assert_refused(refused, FailedPrecondition, "TOKEN_DISABLED");
    }
    assert_eq!(rows.row("ada", "laptop").await, before);
    assert_eq!(registry.check_token("ada", "laptop", "three").await, TokenState::Disabled);
    // What isn't current is superseded, permitted or not.
    assert_eq!(registry.check_token("ada", "laptop", "two").await, TokenState::Superseded);
    enable(&registry, "ada", "laptop", true).await.unwrap();
    let rotated = registry.rotate("ada", "laptop", "three", "four").await.unwrap();
    assert_eq!(rotated.outcome(), RotationOutcome::Rotated);
}

#[tokio::test]
async fn rule_7_the_last_pair_again_is_retried_and_not_grace() {
    let registry = Registry::start().await;
    LIVE.open(&registry, "ada").await;
    let retried = registry.rotate("ada", "laptop", "two", "three").await.unwrap();
    assert_eq!(retried.outcome(), RotationOutcome::Retried);
    assert_eq!(retried.token.unwrap().grace_count, 0);
}

#[tokio::test]
async fn rule_8_a_predecessor_in_time_is_grace_whatever_successor_it_names() {
    let registry = Registry::start().await;
    LIVE.open(&registry, "ada").await;
    // `one` was the jti before the predecessor; as a successor it is refused nowhere but in rule 9.
    for new_jti in ["four", "one"] {
        let answer = registry.rotate("ada", "laptop", "two", new_jti).await.unwrap();
        assert_eq!(answer.outcome(), RotationOutcome::Grace);
        assert_eq!(answer.token.unwrap().jti, "three");
    }
}

#[tokio::test]
async fn rule_9_the_previous_jti_as_successor_is_invalid_and_changes_nothing() {
    let registry = Registry::start().await;
    let rows = Rows::of(&registry).await;
    LIVE.open(&registry, "ada").await;
    let before = rows.row("ada", "laptop").await;
    assert_invalid(registry.rotate("ada", "laptop", "three", "two").await, &["new_jti"]);
    assert_eq!(rows.row("ada", "laptop").await, before);
    // However long ago the rotation was.
    rows.rotated_ago("ada", "laptop", "2 days").await;
    assert_invalid(registry.rotate("ada", "laptop", "three", "two").await, &["new_jti"]);
    let rotated = registry.rotate("ada", "laptop", "three", "four").await.unwrap();
    assert_eq!(rotated.outcome(), RotationOutcome::Rotated);
}

#[tokio::test]
async fn a_late_copy_of_an_older_pair_is_a_replay() {
    let registry = Registry::start().await;
    LIVE.open(&registry, "ada").await;
    let replayed = registry.rotate("ada", "laptop", "one", "two").await;
    assert_refused(replayed, FailedPrecondition, "TOKEN_REPLAYED");
    assert_eq!(registry.check_session("ada", "laptop").await, TokenState::Revoked);
}
