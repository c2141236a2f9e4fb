//! The two windows in which a predecessor is answered: the retry of the same pair, and the grace of any other.

use std::time::Duration;

use token_registry::config::{Config, Flags};
use token_registry::proto::{
    AddRefreshTokenRequest, ClientInfo, RotateRefreshTokenRequest, RotateRefreshTokenResponse,
    RotationOutcome, TokenState,
};
use tonic::Code::FailedPrecondition;
use tonic::Status;

use crate::support::sessions::{Rows, opening, rotation, seconds};
use crate::support::{Registry, assert_refused};

/// Opens a session and rotates it from `one` to `two`, so long ago.
async fn rotated(registry: &Registry, session: &str, grace: Option<i64>, ago: &str) {
    let request = opening("ada", session, "one");
    let rotation_grace = grace.and_then(seconds);
    registry.add_as(AddRefreshTokenRequest { rotation_grace, ..request }).await.unwrap();
    registry.rotate("ada", session, "one", "two").await.unwrap();
    Rows::of(registry).await.rotated_ago("ada", session, ago).await;
}

#[track_caller]
fn assert_answered(answer: Result<RotateRefreshTokenResponse, Status>, outcome: RotationOutcome, jti: &str) {
    let answer = answer.unwrap();
    assert_eq!((answer.outcome(), answer.token.unwrap().jti.as_str()), (outcome, jti));
}

#[track_caller]
fn assert_replayed(answer: Result<RotateRefreshTokenResponse, Status>) {
    assert_refused(answer, FailedPrecondition, "TOKEN_REPLAYED");
}

#[tokio::test]
async fn the_last_pair_again_gets_the_same_answer_and_nothing_changes() {
    let registry = Registry::start().await;
    let rows = Rows::of(&registry).await;
    registry.add("ada", "laptop", "one").await.unwrap();
    let first = registry.rotate("ada", "laptop", "one", "two").await.unwrap();
    let before = rows.row("ada", "laptop").await;
    for _ in 0..3 {
        // Not even the client that a retry tells.
        let request = RotateRefreshTokenRequest {
            new_jti: Some("two".into()),
            client: Some(ClientInfo { ip: Some("192.0.2.9".into()), ..Default::default() }),
            ..rotation("ada", "laptop", "one")
        };
        let again = registry.rotate_as(request).await.unwrap();
        assert_eq!(again.outcome(), RotationOutcome::Retried);
        assert_eq!(again.token, first.token);
    }
    assert_eq!(rows.row("ada", "laptop").await, before);
}

#[tokio::test]
async fn the_retry_window_is_24_hours_by_default() {
    let registry = Registry::start().await;
    rotated(&registry, "inside", None, "23 hours").await;
    let again = registry.rotate("ada", "inside", "one", "two").await;
    assert_answered(again, RotationOutcome::Retried, "two");
    rotated(&registry, "outside", None, "24 hours").await;
    assert_replayed(registry.rotate("ada", "outside", "one", "two").await);
    assert_eq!(registry.check_session("ada", "outside").await, TokenState::Revoked);
}

#[tokio::test]
async fn the_retry_window_can_be_configured() {
    let registry = Registry::start_with(|config| config.retry_window = Duration::from_hours(1)).await;
    rotated(&registry, "inside", None, "50 minutes").await;
    let again = registry.rotate("ada", "inside", "one", "two").await;
    assert_answered(again, RotationOutcome::Retried, "two");
    rotated(&registry, "outside", None, "60 minutes").await;
    assert_replayed(registry.rotate("ada", "outside", "one", "two").await);
}

#[tokio::test]
async fn the_retry_window_holds_where_there_is_no_grace() {
    let registry = Registry::start().await;
    rotated(&registry, "laptop", Some(0), "23 hours").await;
    let again = registry.rotate("ada", "laptop", "one", "two").await;
    assert_answered(again, RotationOutcome::Retried, "two");
}

#[tokio::test]
async fn the_grace_window_is_30_seconds_by_default() {
    let registry = Registry::start().await;
    rotated(&registry, "inside", None, "20 seconds").await;
    assert_answered(registry.rotate("ada", "inside", "one", "x").await, RotationOutcome::Grace, "two");
    let without = registry.rotate_as(rotation("ada", "inside", "one")).await;
    assert_answered(without, RotationOutcome::Grace, "two");
    rotated(&registry, "outside", None, "30 seconds").await;
    assert_replayed(registry.rotate("ada", "outside", "one", "x").await);
    assert_eq!(registry.check_session("ada", "outside").await, TokenState::Revoked);
    rotated(&registry, "unnamed", None, "30 seconds").await;
    assert_replayed(registry.rotate_as(rotation("ada", "unnamed", "one")).await);
}

#[tokio::test]
async fn a_grace_of_0_is_strict() {
    let strict = Registry::start_with(|config| config.rotation_grace = Duration::ZERO).await;
    rotated(&strict, "configured", None, "0 seconds").await;
    assert_replayed(strict.rotate("ada", "configured", "one", "x").await);
    let registry = Registry::start().await;
    rotated(&registry, "asked", Some(0), "0 seconds").await;
    assert_replayed(registry.rotate("ada", "asked", "one", "x").await);
}

#[tokio::test]
async fn a_session_may_have_a_shorter_grace_than_the_configured_one_and_no_longer_one() {
    let registry = Registry::start().await;
    rotated(&registry, "short inside", Some(20), "10 seconds").await;
    let inside = registry.rotate("ada", "short inside", "one", "x").await;
    assert_answered(inside, RotationOutcome::Grace, "two");
    rotated(&registry, "short outside", Some(20), "20 seconds").await;
    assert_replayed(registry.rotate("ada", "short outside", "one", "x").await);
    rotated(&registry, "long", Some(3600), "30 seconds").await;
    assert_replayed(registry.rotate("ada", "long", "one", "x").await);
}

#[tokio::test]
async fn the_longest_grace_that_can_be_configured_is_120_seconds() {
    let registry = Registry::start_with(|config| config.rotation_grace = Duration::from_mins(2)).await;
    rotated(&registry, "inside", Some(3600), "110 seconds").await;
    assert_answered(registry.rotate("ada", "inside", "one", "x").await, RotationOutcome::Grace, "two");
    rotated(&registry, "outside", Some(3600), "120 seconds").await;
    assert_replayed(registry.rotate("ada", "outside", "one", "x").await);
    let load = |grace: &str| {
        let variable = ("TOKEN_REGISTRY_ROTATION_GRACE".into(), grace.into());
        Config::load_from(&Flags::default(), [variable])
    };
    assert!(load("120s").is_ok());
    assert!(load("121s").is_err());
}

#[tokio::test]
async fn a_grace_that_is_configured_shorter_later_holds_for_sessions_that_are_open() {
    let registry = Registry::start().await;
    rotated(&registry, "laptop", None, "15 seconds").await;
    let stricter = Registry::on(&registry.database_url, |config| {
        config.rotation_grace = Duration::from_secs(10);
    })
    .await;
    assert_replayed(stricter.rotate("ada", "laptop", "one", "x").await);
}

#[tokio::test]
async fn a_grace_answer_raises_grace_count_and_changes_nothing_else() {
    let registry = Registry::start().await;
    let rows = Rows::of(&registry).await;
    registry.add("ada", "laptop", "one").await.unwrap();
    registry.rotate("ada", "laptop", "one", "two").await.unwrap();
    let mut expected = rows.row("ada", "laptop").await;
    for n in 1..=3 {
        let request = RotateRefreshTokenRequest {
            new_jti: Some(format!("other {n}")),
            client: Some(ClientInfo { ip: Some("192.0.2.9".into()), ..Default::default() }),
            ..rotation("ada", "laptop", "one")
        };
        let answer = registry.rotate_as(request).await.unwrap();
        assert_eq!(answer.outcome(), RotationOutcome::Grace);
        let token = answer.token.unwrap();
        assert_eq!((token.jti.as_str(), token.grace_count, token.rotations), ("two", n, 1));
        assert_eq!(token.state(), TokenState::Active);
        let mut row = rows.row("ada", "laptop").await;
        for version in ["xmin", "ctid"] {
            expected[version] = row[version].take();
            row[version] = expected[version].clone();
        }
        expected["grace_count"] = n.into();
        assert_eq!(row, expected);
    }
    // No suggestion became a second live jti.
    assert_eq!(registry.check_token("ada", "laptop", "other 1").await, TokenState::Superseded);
    assert_eq!(registry.check_token("ada", "laptop", "two").await, TokenState::Active);
}

#[tokio::test]
async fn an_answer_in_grace_does_not_make_the_window_longer() {
    let registry = Registry::start().await;
    rotated(&registry, "laptop", None, "20 seconds").await;
    let before = registry.get("ada", "laptop").await.unwrap().base.unwrap().created;
    let answer = registry.rotate("ada", "laptop", "one", "x").await.unwrap();
    assert_eq!(answer.outcome(), RotationOutcome::Grace);
    assert_eq!(answer.token.unwrap().base.unwrap().created, before);
}

#[tokio::test]
async fn only_the_immediate_predecessor_has_grace() {
    let registry = Registry::start().await;
    registry.add("ada", "laptop", "one").await.unwrap();
    registry.rotate("ada", "laptop", "one", "two").await.unwrap();
    registry.rotate("ada", "laptop", "two", "three").await.unwrap();
    assert_answered(registry.rotate("ada", "laptop", "two", "x").await, RotationOutcome::Grace, "three");
    assert_replayed(registry.rotate("ada", "laptop", "one", "x").await);
}

#[tokio::test]
async fn the_winners_jti_from_a_grace_answer_rotates_on() {
    let registry = Registry::start().await;
    registry.add("ada", "laptop", "one").await.unwrap();
    registry.rotate("ada", "laptop", "one", "mine").await.unwrap();
    let answer = registry.rotate("ada", "laptop", "one", "yours").await;
    // Whoever signed its own successor instead would be a replay here.
    assert_answered(answer, RotationOutcome::Grace, "mine");
    assert_answered(registry.rotate("ada", "laptop", "mine", "next").await, RotationOutcome::Rotated, "next");
    assert_replayed(registry.rotate("ada", "laptop", "yours", "x").await);
}

#[tokio::test]
async fn a_rotation_with_a_minted_successor_again_is_grace_in_the_window_and_a_replay_after_it() {
    let registry = Registry::start().await;
    let rows = Rows::of(&registry).await;
    for session in ["inside", "outside"] {
        registry.add("ada", session, "one").await.unwrap();
        let minted = registry.rotate_as(rotation("ada", session, "one")).await.unwrap();
        assert_eq!(minted.outcome(), RotationOutcome::Rotated);
        let minted = minted.token.unwrap().jti;
        if session == "inside" {
            let again = registry.rotate_as(rotation("ada", session, "one")).await;
            assert_answered(again, RotationOutcome::Grace, &minted);
        } else {
            rows.rotated_ago("ada", session, "30 seconds").await;
            assert_replayed(registry.rotate_as(rotation("ada", session, "one")).await);
        }
    }
}
