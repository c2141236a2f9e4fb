//! Rotation: one live jti a session, whatever happens. The order of the rules is in `rotation_order`, the two windows
//! in `rotation_windows`.

use std::collections::HashSet;

use token_registry::proto::{
    AddRefreshTokenRequest, ClientInfo, RevocationReason, RotateRefreshTokenRequest, RotationOutcome,
    TokenState,
};
use tonic::Code::FailedPrecondition;

use crate::support::sessions::{Rows, assert_revoked, opening, revocation_reason, rotation, seconds};
use crate::support::{Registry, assert_invalid, assert_refused};

/// A row without the columns that may differ.
fn but(mut row: serde_json::Value, columns: &[&str]) -> serde_json::Value {
    let fields = row.as_object_mut().expect("a row");
    for column in columns {
        fields.remove(*column).unwrap_or_else(|| panic!("no column {column}"));
    }
    row
}

#[tokio::test]
async fn a_current_jti_is_swapped_and_the_old_one_superseded() {
    let registry = Registry::start().await;
    registry.add("ada", "laptop", "one").await.unwrap();
    let rotated = registry.rotate("ada", "laptop", "one", "two").await.unwrap();
    assert_eq!(rotated.outcome(), RotationOutcome::Rotated);
    assert_eq!(rotated.token.unwrap().jti, "two");
    assert_eq!(registry.check_token("ada", "laptop", "two").await, TokenState::Active);
    assert_eq!(registry.check_token("ada", "laptop", "one").await, TokenState::Superseded);
}

#[tokio::test]
async fn the_answer_of_a_rotation_is_the_row_as_it_is_now() {
    let registry = Registry::start().await;
    registry.add("ada", "laptop", "one").await.unwrap();
    let rotated = registry.rotate("ada", "laptop", "one", "two").await.unwrap().token.unwrap();
    assert_eq!(rotated, registry.get("ada", "laptop").await.unwrap());
    assert_eq!(rotated.state(), TokenState::Active);
    assert_eq!((rotated.rotations, rotated.grace_count), (1, 0));
}

#[tokio::test]
async fn a_rotation_moves_the_time_of_issue_and_the_idle_expiry_and_nothing_else() {
    let registry = Registry::start().await;
    let rows = Rows::of(&registry).await;
    registry.add("ada", "laptop", "one").await.unwrap();
    // An hour passes.
    let hour_passes = ["created", "session_created", "session_expires", "idle_expires"]
        .map(|column| format!("{column} = {column} - interval '1 hour'"));
    rows.set("ada", "laptop", &hour_passes.join(", ")).await;
    let before = rows.row("ada", "laptop").await;
    registry.rotate("ada", "laptop", "one", "two").await.unwrap();
    let after = rows.row("ada", "laptop").await;
    let moved = ["jti", "previous_jti", "created", "idle_expires", "rotations", "xmin", "ctid"];
    assert_eq!(but(before, &moved), but(after.clone(), &moved));
    assert_eq!((&after["jti"], &after["previous_jti"]), (&"two".into(), &"one".into()));
    let value = |expression| rows.value("ada", "laptop", expression);
    assert_eq!(value("created - session_created between '1 hour' and '1 hour 5 minutes'").await, "true");
    // The two clocks of the write lie apart by microseconds.
    assert_eq!(value("idle_expires - created between '14 days' and '14 days 1 minute'").await, "true");
    assert_eq!(value("session_expires - session_created").await, "30 days");
}

#[tokio::test]
async fn the_idle_expiry_never_lies_past_the_sessions_own() {
    let registry = Registry::start().await;
    let rows = Rows::of(&registry).await;
    registry.add("ada", "laptop", "one").await.unwrap();
    rows.set("ada", "laptop", "session_expires = clock_timestamp() + interval '1 hour'").await;
    let rotated = registry.rotate("ada", "laptop", "one", "two").await.unwrap().token.unwrap();
    assert_eq!(rotated.idle_expires, rotated.session_expires);
}

#[tokio::test]
async fn a_sessions_own_idle_timeout_holds_over_rotations() {
    let registry = Registry::start().await;
    let rows = Rows::of(&registry).await;
    let asked = opening("ada", "laptop", "one");
    registry.add_as(AddRefreshTokenRequest { idle_timeout: seconds(600), ..asked }).await.unwrap();
    registry.rotate("ada", "laptop", "one", "two").await.unwrap();
    let held =
        rows.value("ada", "laptop", "idle_expires - created between '10 minutes' and '11 minutes'").await;
    assert_eq!(held, "true");
}

#[tokio::test]
async fn an_idle_timeout_that_is_configured_shorter_later_holds_from_the_next_rotation() {
    let registry = Registry::start().await;
    let rows = Rows::of(&registry).await;
    registry.add("ada", "laptop", "one").await.unwrap();
    let stricter = Registry::on(&registry.database_url, |config| {
        config.idle_timeout = std::time::Duration::from_mins(10);
    })
    .await;
    stricter.rotate("ada", "laptop", "one", "two").await.unwrap();
    let held =
        rows.value("ada", "laptop", "idle_expires - created between '10 minutes' and '11 minutes'").await;
    assert_eq!(held, "true");
}

#[tokio::test]
async fn a_client_that_is_told_replaces_the_stored_one_whole() {
    let registry = Registry::start().await;
    let told = ClientInfo {
        ip: Some("192.0.2.1".into()),
        is_mobile: Some(true),
        browser: Some("Firefox".into()),
        device_model: Some("X1".into()),
        ..Default::default()
    };
    let asked = opening("ada", "laptop", "one");
    registry.add_as(AddRefreshTokenRequest { client: Some(told), ..asked }).await.unwrap();
    let other = ClientInfo { ip: Some("192.0.2.2".into()), os: Some("Haiku".into()), ..Default::default() };
    let request =
        RotateRefreshTokenRequest { client: Some(other.clone()), ..rotation("ada", "laptop", "one") };
    let rotated = registry.rotate_as(request).await.unwrap().token.unwrap();
    assert_eq!(rotated.base.unwrap().client.unwrap(), other);
    // Present and empty is told as well: nothing is known any more.
    let request = RotateRefreshTokenRequest {
        client: Some(ClientInfo::default()),
        ..rotation("ada", "laptop", &rotated.jti)
    };
    let rotated = registry.rotate_as(request).await.unwrap().token.unwrap();
    assert_eq!(rotated.base.unwrap().client.unwrap(), ClientInfo::default());
}

#[tokio::test]
async fn without_a_client_the_stored_one_is_kept() {
    let registry = Registry::start().await;
    let told = ClientInfo { ip: Some("192.0.2.1".into()), is_mobile: Some(true), ..Default::default() };
    let asked = opening("ada", "laptop", "one");
    registry.add_as(AddRefreshTokenRequest { client: Some(told.clone()), ..asked }).await.unwrap();
    let rotated = registry.rotate("ada", "laptop", "one", "two").await.unwrap().token.unwrap();
    assert_eq!(rotated.base.unwrap().client.unwrap(), told);
}

#[tokio::test]
async fn a_successor_that_the_registry_mints_is_128_random_bits() {
    let registry = Registry::start().await;
    registry.add("ada", "laptop", "one").await.unwrap();
    let mut jti = "one".to_owned();
    let mut seen = HashSet::new();
    let (mut ever_set, mut always_set) = (0_u128, u128::MAX);
    for _ in 0..50 {
        jti = registry.rotate_as(rotation("ada", "laptop", &jti)).await.unwrap().token.unwrap().jti;
        assert_eq!(jti.len(), 22, "{jti}");
        let bits = bits_of(&jti);
        ever_set |= bits;
        always_set &= bits;
        assert!(seen.insert(bits), "{jti} came twice");
    }
    // A random bit is the same in fifty draws once in 2^49: every one of the 128 is drawn.
    assert_eq!((ever_set, always_set), (u128::MAX, 0));
}

/// Decodes 22 characters of base64url without padding.
fn bits_of(text: &str) -> u128 {
    use base64::Engine as _;
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).expect("base64url");
    u128::from_be_bytes(bytes.try_into().expect("128 bits"))
}

#[tokio::test]
async fn a_successor_equal_to_the_jti_is_invalid_whatever_the_row_is() {
    let registry = Registry::start().await;
    registry.add("ada", "laptop", "one").await.unwrap();
    assert_invalid(registry.rotate("ada", "laptop", "one", "one").await, &["new_jti"]);
    assert_invalid(registry.rotate("ada", "laptop", "foreign", "foreign").await, &["new_jti"]);
    assert_invalid(registry.rotate("nobody", "nowhere", "one", "one").await, &["new_jti"]);
    assert_eq!(registry.check_token("ada", "laptop", "one").await, TokenState::Active);
}

#[tokio::test]
async fn all_that_is_wrong_with_a_rotation_is_told_at_once() {
    let registry = Registry::start().await;
    let request = RotateRefreshTokenRequest {
        user_id: String::new(),
        session: "a\nb".into(),
        jti: "j".repeat(256),
        new_jti: Some(String::new()),
        client: Some(ClientInfo { ip: Some("localhost".into()), ..Default::default() }),
    };
    let fields = ["user_id", "session", "jti", "new_jti", "client.ip"];
    assert_invalid(registry.rotate_as(request).await, &fields);
}

#[tokio::test]
async fn any_other_jti_is_a_replay_and_ends_the_session_before_the_answer() {
    let registry = Registry::start().await;
    registry.add("ada", "laptop", "one").await.unwrap();
    let replayed = registry.rotate("ada", "laptop", "never-seen", "two").await;
    assert_refused(replayed, FailedPrecondition, "TOKEN_REPLAYED");
    assert_eq!(registry.check_session("ada", "laptop").await, TokenState::Revoked);
}

#[tokio::test]
async fn a_replay_revokes_and_leaves_everything_else_as_it_was() {
    let registry = Registry::start().await;
    let rows = Rows::of(&registry).await;
    registry.add("ada", "laptop", "one").await.unwrap();
    registry.rotate("ada", "laptop", "one", "two").await.unwrap();
    let before = rows.row("ada", "laptop").await;
    let thief = ClientInfo { ip: Some("198.51.100.66".into()), ..Default::default() };
    let request = RotateRefreshTokenRequest { client: Some(thief), ..rotation("ada", "laptop", "foreign") };
    assert_refused(registry.rotate_as(request).await, FailedPrecondition, "TOKEN_REPLAYED");
    let written = ["revoked_at", "revocation_reason", "xmin", "ctid"];
    assert_eq!(but(before, &written), but(rows.row("ada", "laptop").await, &written));
    assert_revoked(&registry.get("ada", "laptop").await.unwrap(), RevocationReason::Replay);
    // The owner learns why; so does whoever replays once more.
    for jti in ["two", "one", "foreign"] {
        let refused = registry.rotate("ada", "laptop", jti, "three").await;
        let status = assert_refused(refused, FailedPrecondition, "SESSION_REVOKED");
        assert_eq!(revocation_reason(&status), "REPLAY");
    }
}

#[tokio::test]
async fn a_replay_on_a_session_never_rotated_is_one_too() {
    // `previous_jti` is null there, and null compares as unknown.
    let registry = Registry::start().await;
    for request in [rotation("ada", "a", "foreign"), rotation("ada", "b", "foreign")] {
        registry.add("ada", &request.session, "one").await.unwrap();
        assert_refused(registry.rotate_as(request).await, FailedPrecondition, "TOKEN_REPLAYED");
    }
    registry.add("ada", "c", "one").await.unwrap();
    let replayed = registry.rotate("ada", "c", "foreign", "one").await;
    assert_refused(replayed, FailedPrecondition, "TOKEN_REPLAYED");
}

#[tokio::test]
async fn every_jti_the_session_ever_had_is_a_replay_however_old() {
    let registry = Registry::start().await;
    for (session, old) in [("a", 0), ("b", 1), ("c", 25), ("d", 48)] {
        registry.add("ada", session, "jti-0").await.unwrap();
        for n in 0..50 {
            let (jti, new_jti) = (format!("jti-{n}"), format!("jti-{}", n + 1));
            registry.rotate("ada", session, &jti, &new_jti).await.unwrap();
        }
        assert_eq!(registry.check_token("ada", session, "jti-50").await, TokenState::Active);
        let replayed = registry.rotate_as(rotation("ada", session, &format!("jti-{old}"))).await;
        assert_refused(replayed, FailedPrecondition, "TOKEN_REPLAYED");
        assert_eq!(registry.check_session("ada", session).await, TokenState::Revoked);
    }
}

#[tokio::test]
async fn a_replay_ends_one_session_and_no_other() {
    let registry = Registry::start().await;
    for (user, session) in [("ada", "laptop"), ("ada", "phone"), ("bob", "laptop")] {
        registry.add(user, session, "one").await.unwrap();
    }
    let replayed = registry.rotate("ada", "laptop", "foreign", "two").await;
    assert_refused(replayed, FailedPrecondition, "TOKEN_REPLAYED");
    assert_eq!(registry.check_session("ada", "phone").await, TokenState::Active);
    assert_eq!(registry.check_session("bob", "laptop").await, TokenState::Active);
}
