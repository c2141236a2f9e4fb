//! Rotation: one live jti a session, whatever happens.

use token_registry::proto::{RotationOutcome, TokenState};
use tonic::Code::FailedPrecondition;

use crate::support::{Registry, assert_refused};

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
async fn any_other_jti_is_a_replay_and_ends_the_session_before_the_answer() {
    let registry = Registry::start().await;
    registry.add("ada", "laptop", "one").await.unwrap();
    let replayed = registry.rotate("ada", "laptop", "never-seen", "two").await;
    assert_refused(replayed, FailedPrecondition, "TOKEN_REPLAYED");
    assert_eq!(registry.check_session("ada", "laptop").await, TokenState::Revoked);
}
