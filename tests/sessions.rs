//! Opening a session, reading it, switching it off and on. How sessions end is in `revocation`.

use std::time::Duration;

use token_registry::proto::{
    AddRefreshTokenRequest, CreateUserRequest, GetRefreshTokenRequest, GetUserRequest, RevocationReason,
    RevokeCredentialsRequest, SetRefreshTokenEnabledRequest, TokenState,
};
use tonic::Code::{AlreadyExists, FailedPrecondition, NotFound};

use crate::support::sessions::{
    Rows, assert_revoked, enable, opening, revocation_reason, rotation, seconds, set_active,
};
use crate::support::{Registry, assert_invalid, assert_refused};

async fn create_user(registry: &Registry, user_id: &str) -> String {
    let request = CreateUserRequest { user_id: user_id.into() };
    let user = registry.users.clone().create_user(request).await.unwrap().into_inner().user;
    user.unwrap().credential_version
}

async fn change_credentials(registry: &Registry, user_id: &str) -> String {
    let request = RevokeCredentialsRequest {
        user_id: user_id.into(),
        keep_auth_tokens: Some(true),
        ..Default::default()
    };
    let user = registry.users.clone().revoke_credentials(request).await.unwrap().into_inner().user;
    user.unwrap().credential_version
}

/// A login judged by this version of the user's credentials.
fn judged_by(version: &str, session: &str) -> AddRefreshTokenRequest {
    AddRefreshTokenRequest { credential_version: Some(version.into()), ..opening("ada", session, "one") }
}

#[tokio::test]
async fn a_session_opens_active_and_with_everything_it_was_given() {
    let registry = Registry::start().await;
    let token = registry.add("ada", "laptop", "one").await.unwrap();
    assert_eq!(
        (token.user_id.as_str(), token.session.as_str(), token.jti.as_str()),
        ("ada", "laptop", "one")
    );
    assert!(token.enabled);
    assert_eq!(token.state(), TokenState::Active);
    assert_eq!((token.rotations, token.grace_count, token.revoked), (0, 0, None));
    assert_eq!(token.revocation_reason(), RevocationReason::Unspecified);
    assert_eq!(token.base.as_ref().unwrap().created, token.session_created);
    assert_eq!(registry.get("ada", "laptop").await.unwrap(), token);
}

#[tokio::test]
async fn two_sessions_have_different_ids_and_two_users_may_name_theirs_alike() {
    let registry = Registry::start().await;
    let ada = registry.add("ada", "laptop", "one").await.unwrap();
    let bob = registry.add("bob", "laptop", "one").await.unwrap();
    assert_ne!(ada.base.unwrap().id, bob.base.unwrap().id);
    assert_eq!(registry.log_out("ada", "laptop").await, 1);
    assert_eq!(registry.check_session("bob", "laptop").await, TokenState::Active);
}

#[tokio::test]
async fn the_same_session_and_jti_again_is_the_same_row() {
    let registry = Registry::start().await;
    let rows = Rows::of(&registry).await;
    let first = registry.add("ada", "laptop", "one").await.unwrap();
    let before = rows.row("ada", "laptop").await;
    // Also where the rest of the request differs: the first one stands.
    let other = AddRefreshTokenRequest {
        enabled: Some(false),
        session_lifetime: seconds(60),
        ..opening("ada", "laptop", "one")
    };
    for request in [opening("ada", "laptop", "one"), other] {
        assert_eq!(registry.add_as(request).await.unwrap(), first);
    }
    assert_eq!(rows.row("ada", "laptop").await, before);
}

#[tokio::test]
async fn a_disabled_session_is_live_and_its_add_again_returns_its_row() {
    let registry = Registry::start().await;
    let request = AddRefreshTokenRequest { enabled: Some(false), ..opening("ada", "laptop", "one") };
    let first = registry.add_as(request.clone()).await.unwrap();
    assert_eq!((first.enabled, first.state()), (false, TokenState::Disabled));
    assert_eq!(registry.add_as(request).await.unwrap(), first);
}

#[tokio::test]
async fn a_dead_session_is_not_opened_again_and_says_why() {
    let registry = Registry::start().await;
    let rows = Rows::of(&registry).await;
    for session in ["revoked", "expired", "idle", "both"] {
        registry.add("ada", session, "one").await.unwrap();
    }
    registry.log_out("ada", "revoked").await;
    registry.log_out("ada", "both").await;
    rows.expire("ada", "expired").await;
    rows.expire("ada", "both").await;
    rows.idle_out("ada", "idle").await;
    for (session, reason) in [
        ("revoked", "SESSION_REVOKED"),
        ("both", "SESSION_REVOKED"),
        ("expired", "SESSION_EXPIRED"),
        ("idle", "SESSION_EXPIRED"),
    ] {
        let before = rows.row("ada", session).await;
        let status = assert_refused(registry.add("ada", session, "one").await, FailedPrecondition, reason);
        if reason == "SESSION_REVOKED" {
            assert_eq!(revocation_reason(&status), "LOGOUT");
        }
        assert_eq!(rows.row("ada", session).await, before);
    }
}

#[tokio::test]
async fn another_jti_of_a_session_that_exists_is_refused_and_changes_nothing() {
    let registry = Registry::start().await;
    let rows = Rows::of(&registry).await;
    registry.add("ada", "laptop", "one").await.unwrap();
    let before = rows.row("ada", "laptop").await;
    assert_refused(registry.add("ada", "laptop", "two").await, AlreadyExists, "SESSION_EXISTS");
    assert_eq!(rows.row("ada", "laptop").await, before);
}

#[tokio::test]
async fn once_the_session_has_rotated_the_old_jti_is_another_jti() {
    let registry = Registry::start().await;
    let opened = registry.add("ada", "laptop", "one").await.unwrap();
    registry.rotate("ada", "laptop", "one", "two").await.unwrap();
    assert_refused(registry.add("ada", "laptop", "one").await, AlreadyExists, "SESSION_EXISTS");
    // The current one is the retry of nobody, and answered with its row all the same.
    let again = registry.add("ada", "laptop", "two").await.unwrap();
    assert_eq!(again.base.unwrap().id, opened.base.unwrap().id);
    assert_eq!(registry.check_session("ada", "laptop").await, TokenState::Active);
}

#[tokio::test]
async fn an_add_is_judged_by_the_user_then_the_credentials_then_the_session() {
    let registry = Registry::start().await;
    let version = create_user(&registry, "ada").await;
    registry.add("ada", "laptop", "other").await.unwrap();

    // A missing user first.
    let missing = AddRefreshTokenRequest {
        credential_version: Some(version.clone()),
        ..opening("eve", "laptop", "one")
    };
    assert_refused(registry.add_as(missing).await, NotFound, "USER_NOT_FOUND");

    // Stale credentials come before a session that exists.
    let newer = change_credentials(&registry, "ada").await;
    assert_ne!(newer, version);
    let stale = registry.add_as(judged_by(&version, "laptop")).await;
    assert_refused(stale, FailedPrecondition, "CREDENTIALS_CHANGED");
    let current = registry.add_as(judged_by(&newer, "laptop")).await;
    assert_refused(current, AlreadyExists, "SESSION_EXISTS");

    // An inactive user comes before both.
    set_active(&registry, "ada", false).await;
    for version in [&version, &newer] {
        let refused = registry.add_as(judged_by(version, "laptop")).await;
        assert_refused(refused, FailedPrecondition, "USER_INACTIVE");
    }
    let refused = registry.add("ada", "laptop", "one").await;
    assert_refused(refused, FailedPrecondition, "USER_INACTIVE");
}

#[tokio::test]
async fn a_retry_of_an_add_is_judged_by_its_credential_version_first() {
    let registry = Registry::start().await;
    let version = create_user(&registry, "ada").await;
    let opened = registry.add_as(judged_by(&version, "laptop")).await.unwrap();
    assert_eq!(registry.add_as(judged_by(&version, "laptop")).await.unwrap(), opened);
    change_credentials(&registry, "ada").await;
    let retried = registry.add_as(judged_by(&version, "laptop")).await;
    assert_refused(retried, FailedPrecondition, "CREDENTIALS_CHANGED");
}

#[tokio::test]
async fn a_credential_version_is_compared_and_never_interpreted() {
    let registry = Registry::start().await;
    let version = create_user(&registry, "ada").await;
    for other in ["0", "-1", "not a number", &format!(" {version}"), &format!("0{version}")] {
        let refused = registry.add_as(judged_by(other, "laptop")).await;
        assert_refused(refused, FailedPrecondition, "CREDENTIALS_CHANGED");
    }
    registry.add_as(judged_by(&version, "laptop")).await.unwrap();
}

#[tokio::test]
async fn a_user_never_seen_is_created_by_an_add_without_a_credential_version() {
    let registry = Registry::start().await;
    let rows = Rows::of(&registry).await;
    assert_refused(registry.add_as(judged_by("1", "laptop")).await, NotFound, "USER_NOT_FOUND");
    assert_eq!(rows.count("users").await, 0);
    registry.add("ada", "laptop", "one").await.unwrap();
    let request = GetUserRequest { user_id: "ada".into() };
    let answer = registry.users.clone().get_user(request).await.unwrap().into_inner();
    assert!(answer.user.unwrap().active);
    assert_eq!(answer.live.unwrap().sessions, 1);
}

#[tokio::test]
async fn where_users_must_be_known_an_add_creates_none() {
    let registry = Registry::start_with(|config| config.require_known_users = true).await;
    let rows = Rows::of(&registry).await;
    assert_refused(registry.add("ada", "laptop", "one").await, NotFound, "USER_NOT_FOUND");
    assert_eq!(rows.count("users").await, 0);
    create_user(&registry, "ada").await;
    registry.add("ada", "laptop", "one").await.unwrap();
}

#[tokio::test]
async fn lifetimes_are_the_configured_ones_unless_shorter_ones_are_asked_for() {
    let registry = Registry::start_with(|config| {
        config.session_lifetime = Duration::from_secs(1000);
        config.idle_timeout = Duration::from_secs(100);
        config.rotation_grace = Duration::from_secs(10);
    })
    .await;
    let rows = Rows::of(&registry).await;
    let asked =
        |session, lifetime: Option<i64>, idle: Option<i64>, grace: Option<i64>| AddRefreshTokenRequest {
            session_lifetime: lifetime.and_then(seconds),
            idle_timeout: idle.and_then(seconds),
            rotation_grace: grace.and_then(seconds),
            ..opening("ada", session, "one")
        };
    for (request, expected) in [
        (asked("default", None, None, None), "1000 100 10"),
        (asked("shorter", Some(500), Some(50), Some(5)), "500 50 5"),
        (asked("equal", Some(1000), Some(100), Some(10)), "1000 100 10"),
        (asked("longer", Some(1001), Some(101), Some(11)), "1000 100 10"),
        (
            asked("longest", Some(315_576_000_000), Some(315_576_000_000), Some(315_576_000_000)),
            "1000 100 10",
        ),
        (asked("idle is cut to the lifetime", Some(60), Some(90), Some(0)), "60 60 0"),
        (asked("default idle is cut to the lifetime", Some(60), None, None), "60 60 10"),
    ] {
        registry.add_as(request.clone()).await.unwrap();
        let seconds =
            ["session_expires - session_created", "idle_expires - session_created", "rotation_grace"]
                .map(|span| format!("extract(epoch from {span})::int"));
        let told = format!("concat_ws(' ', {})", seconds.join(", "));
        assert_eq!(rows.value("ada", &request.session, &told).await, expected, "{}", request.session);
    }
}

#[tokio::test]
async fn the_default_lifetimes_are_30_days_and_14_days_without_a_rotation() {
    let registry = Registry::start().await;
    let rows = Rows::of(&registry).await;
    registry.add("ada", "laptop", "one").await.unwrap();
    assert_eq!(rows.value("ada", "laptop", "session_expires - session_created").await, "30 days");
    assert_eq!(rows.value("ada", "laptop", "idle_expires - session_created").await, "14 days");
}

#[tokio::test]
async fn lifetimes_of_nothing_or_less_are_invalid_and_a_grace_of_0_is_strict() {
    let registry = Registry::start().await;
    let rows = Rows::of(&registry).await;
    for n in [0, -1] {
        let request = AddRefreshTokenRequest {
            session_lifetime: seconds(n),
            idle_timeout: seconds(n),
            rotation_grace: seconds(-1),
            ..opening("ada", "laptop", "one")
        };
        let fields = ["session_lifetime", "idle_timeout", "rotation_grace"];
        assert_invalid(registry.add_as(request).await, &fields);
    }
    assert_eq!(rows.count("sessions").await + rows.count("users").await, 0);
    let request = AddRefreshTokenRequest { rotation_grace: seconds(0), ..opening("ada", "laptop", "one") };
    registry.add_as(request).await.unwrap();
    assert_eq!(rows.value("ada", "laptop", "rotation_grace").await, "00:00:00");
}

#[tokio::test]
async fn all_that_is_wrong_with_an_add_is_told_at_once() {
    let registry = Registry::start().await;
    let request = AddRefreshTokenRequest {
        user_id: "u".repeat(256),
        session: String::new(),
        jti: "\u{7f}".into(),
        credential_version: Some(String::new()),
        idle_timeout: seconds(0),
        ..Default::default()
    };
    let fields = ["user_id", "session", "jti", "credential_version", "idle_timeout"];
    assert_invalid(registry.add_as(request).await, &fields);
}

#[tokio::test]
async fn identifiers_have_up_to_255_characters_of_any_language() {
    let registry = Registry::start().await;
    let (user, session, jti) = ("ü".repeat(255), "漢".repeat(255), "😀".repeat(255));
    let token = registry.add(&user, &session, &jti).await.unwrap();
    assert_eq!((token.user_id, token.session, token.jti), (user.clone(), session.clone(), jti.clone()));
    assert_eq!(registry.check_token(&user, &session, &jti).await, TokenState::Active);
    // Compared byte by byte: neither case nor composition is folded.
    registry.add("Ada", "é", "one").await.unwrap();
    assert_eq!(registry.check_session("ada", "é").await, TokenState::Unknown);
    assert_eq!(registry.check_session("Ada", "e\u{301}").await, TokenState::Unknown);
    assert_eq!(registry.check_session("Ada ", "é").await, TokenState::Unknown);
}

#[tokio::test]
async fn beyond_the_limit_of_sessions_the_oldest_live_one_is_revoked() {
    let registry = Registry::start_with(|config| config.max_sessions_per_user = 3).await;
    let rows = Rows::of(&registry).await;
    for (age, session) in ["first", "second", "third"].into_iter().enumerate() {
        registry.add("ada", session, "one").await.unwrap();
        let created = format!("session_created = session_created - interval '{} hours'", 3 - age);
        rows.set("ada", session, &created).await;
    }
    // Another user's don't count, and an oldest one that was used last is the oldest all the same.
    registry.add("bob", "laptop", "one").await.unwrap();
    registry.rotate("ada", "first", "one", "two").await.unwrap();
    assert_eq!(registry.check_session("ada", "first").await, TokenState::Active);
    registry.add("ada", "fourth", "one").await.unwrap();
    assert_revoked(&registry.get("ada", "first").await.unwrap(), RevocationReason::SessionLimit);
    let refused = registry.rotate("ada", "first", "two", "three").await;
    assert_eq!(revocation_reason(&refused.unwrap_err()), "SESSION_LIMIT");
    for session in ["second", "third", "fourth"] {
        assert_eq!(registry.check_session("ada", session).await, TokenState::Active, "{session}");
    }
    // The dead make room; a retry takes none.
    registry.log_out("ada", "third").await;
    registry.add("ada", "fifth", "one").await.unwrap();
    registry.add("ada", "fifth", "one").await.unwrap();
    assert_eq!(registry.check_session("ada", "second").await, TokenState::Active);
    // A disabled one is live, and so takes room.
    enable(&registry, "ada", "fifth", false).await.unwrap();
    registry.add("ada", "sixth", "one").await.unwrap();
    assert_revoked(&registry.get("ada", "second").await.unwrap(), RevocationReason::SessionLimit);
}

#[tokio::test]
async fn the_limit_of_sessions_is_1000_by_default() {
    assert_eq!(token_registry::config::Config::default().max_sessions_per_user, 1000);
}

#[tokio::test]
async fn a_session_that_is_not_there_can_not_be_read() {
    let registry = Registry::start().await;
    registry.add("ada", "laptop", "one").await.unwrap();
    assert_refused(registry.get("ada", "phone").await, NotFound, "SESSION_NOT_FOUND");
    assert_refused(registry.get("bob", "laptop").await, NotFound, "SESSION_NOT_FOUND");
    let request = GetRefreshTokenRequest::default();
    assert_invalid(registry.whitelist.clone().get_refresh_token(request).await, &["user_id", "session"]);
}

#[tokio::test]
async fn what_is_dead_can_be_read() {
    let registry = Registry::start().await;
    let rows = Rows::of(&registry).await;
    registry.add("ada", "laptop", "one").await.unwrap();
    rows.idle_out("ada", "laptop").await;
    assert_eq!(registry.get("ada", "laptop").await.unwrap().state(), TokenState::Expired);
    set_active(&registry, "ada", false).await;
    assert_eq!(registry.get("ada", "laptop").await.unwrap().state(), TokenState::UserInactive);
}

#[tokio::test]
async fn a_session_is_switched_off_and_on_again() {
    let registry = Registry::start().await;
    registry.add("ada", "laptop", "one").await.unwrap();
    for (enabled, state) in [
        (false, TokenState::Disabled),
        (false, TokenState::Disabled),
        (true, TokenState::Active),
        (true, TokenState::Active),
    ] {
        let token = enable(&registry, "ada", "laptop", enabled).await.unwrap();
        assert_eq!((token.enabled, token.state()), (enabled, state));
        assert_eq!(registry.check_session("ada", "laptop").await, state);
    }
    registry.rotate("ada", "laptop", "one", "two").await.unwrap();
}

#[tokio::test]
async fn switching_must_say_which_way() {
    let registry = Registry::start().await;
    registry.add("ada", "laptop", "one").await.unwrap();
    let request =
        SetRefreshTokenEnabledRequest { user_id: "ada".into(), session: "laptop".into(), enabled: None };
    assert_invalid(registry.whitelist.clone().set_refresh_token_enabled(request).await, &["enabled"]);
    assert_eq!(registry.check_session("ada", "laptop").await, TokenState::Active);
}

#[tokio::test]
async fn what_is_dead_is_not_switched_and_says_why_in_the_rotations_order() {
    let registry = Registry::start().await;
    let rows = Rows::of(&registry).await;
    for session in ["revoked", "expired", "idle", "replayed"] {
        registry.add("ada", session, "one").await.unwrap();
    }
    registry.log_out("ada", "revoked").await;
    rows.expire("ada", "revoked").await;
    rows.expire("ada", "expired").await;
    rows.idle_out("ada", "idle").await;
    registry.rotate_as(rotation("ada", "replayed", "foreign")).await.unwrap_err();
    let cases = [
        ("revoked", "SESSION_REVOKED", Some("LOGOUT")),
        ("replayed", "SESSION_REVOKED", Some("REPLAY")),
        ("expired", "SESSION_EXPIRED", None),
        ("idle", "SESSION_EXPIRED", None),
    ];
    for (session, reason, why) in cases {
        let before = rows.row("ada", session).await;
        for enabled in [true, false] {
            let refused = enable(&registry, "ada", session, enabled).await;
            let status = assert_refused(refused, FailedPrecondition, reason);
            if let Some(why) = why {
                assert_eq!(revocation_reason(&status), why);
            }
        }
        assert_eq!(rows.row("ada", session).await, before);
    }
    set_active(&registry, "ada", false).await;
    for (session, ..) in cases {
        let refused = enable(&registry, "ada", session, true).await;
        assert_refused(refused, FailedPrecondition, "USER_INACTIVE");
    }
    assert_refused(enable(&registry, "ada", "none", true).await, NotFound, "SESSION_NOT_FOUND");
}
