//! The claim of a secret, and the question whether it could be claimed.

use token_registry::proto::{
    ConsumeGenericTokenRequest, DeleteUserRequest, IssueGenericTokenRequest, SetUserActiveRequest, TokenState,
};
use tonic::Code::{FailedPrecondition, NotFound};

use crate::support::one_time::{
    check, consume, digits, issue, let_expire, of_user, own, presented, revoke, secret, state,
    window_attempts, with_id,
};
use crate::support::{Registry, assert_invalid, assert_refused};

async fn suspend(registry: &Registry, user_id: &str) {
    let request = SetUserActiveRequest { user_id: user_id.into(), active: Some(false) };
    registry.users.clone().set_user_active(request).await.unwrap();
}

#[tokio::test]
async fn a_secret_is_claimed_once() {
    let registry = Registry::start().await;
    let (issued, value) = issue(&registry, secret("ada", "reset")).await.unwrap();
    let consumed = consume(&registry, presented("reset", &value)).await.unwrap();
    assert_eq!(consumed.state(), TokenState::Consumed);
    assert!(consumed.consumed.is_some());
    assert_eq!((consumed.user_id.as_str(), consumed.purpose.as_str()), ("ada", "reset"));
    assert_eq!((consumed.base, consumed.challenge), (issued.base, issued.challenge));
    let second = consume(&registry, presented("reset", &value)).await;
    assert_refused(second, FailedPrecondition, "TOKEN_CONSUMED");
}

#[tokio::test]
async fn the_winners_retry_gets_the_same_ok_and_no_one_elses_does() {
    let registry = Registry::start().await;
    for request in [secret("ada", "reset"), digits("ada", "mfa", 6), own("ada", "invite", "short")] {
        let (token, value) = issue(&registry, request).await.unwrap();
        let claim = of_user("ada", &token.purpose, &value);
        let won = consume(&registry, with_id("winner", claim.clone())).await.unwrap();
        assert_eq!(consume(&registry, with_id("winner", claim.clone())).await.unwrap(), won);
        for other in [with_id("other", claim.clone()), claim] {
            assert_refused(consume(&registry, other).await, FailedPrecondition, "TOKEN_CONSUMED");
        }
    }
}

#[tokio::test]
async fn a_claim_without_an_id_can_not_be_retried_with_one() {
    let registry = Registry::start().await;
    for request in [secret("ada", "reset"), digits("ada", "mfa", 6)] {
        let (token, value) = issue(&registry, request).await.unwrap();
        let claim = of_user("ada", &token.purpose, &value);
        consume(&registry, claim.clone()).await.unwrap();
        for again in [with_id("late", claim.clone()), claim] {
            assert_refused(consume(&registry, again).await, FailedPrecondition, "TOKEN_CONSUMED");
        }
    }
}

#[tokio::test]
async fn the_winners_retry_still_wins_after_a_re_issue_a_revocation_and_the_expiry() {
    let registry = Registry::start().await;
    for request in [secret("ada", "reset"), digits("ada", "mfa", 6)] {
        let (token, value) = issue(&registry, request.clone()).await.unwrap();
        let claim = with_id("winner", of_user("ada", &token.purpose, &value));
        let won = consume(&registry, claim.clone()).await.unwrap();
        issue(&registry, request).await.unwrap();
        assert_eq!(consume(&registry, claim.clone()).await.unwrap(), won);
        revoke(&registry, "ada", &[]).await.unwrap();
        let_expire(&registry).await;
        let late = consume(&registry, claim).await.unwrap();
        assert_eq!((late.state(), late.challenge), (TokenState::Consumed, won.challenge));
    }
}

#[tokio::test]
async fn the_winners_retry_does_not_claim_a_later_token_of_the_same_value() {
    let registry = Registry::start().await;
    for value in ["short", "a value of 22 or more characters"] {
        issue(&registry, own("ada", "invite", value)).await.unwrap();
        let claim = of_user("ada", "invite", value);
        let won = consume(&registry, with_id("winner", claim.clone())).await.unwrap();
        issue(&registry, own("ada", "invite", value)).await.unwrap();
        assert_eq!(consume(&registry, with_id("winner", claim.clone())).await.unwrap(), won);
        let next = consume(&registry, with_id("another", claim)).await.unwrap();
        assert_ne!(next.challenge, won.challenge);
    }
}

#[tokio::test]
async fn another_purpose_is_not_found_and_does_no_harm() {
    let registry = Registry::start().await;
    for request in [secret("ada", "reset"), own("ada", "reset", "a value of 22 or more characters")] {
        let (_, value) = issue(&registry, request).await.unwrap();
        for claim in [presented("confirm", &value), of_user("ada", "confirm", &value)] {
            assert_refused(consume(&registry, claim).await, NotFound, "TOKEN_NOT_FOUND");
        }
        consume(&registry, presented("reset", &value)).await.unwrap();
    }
}

#[tokio::test]
async fn another_user_is_not_found_and_does_no_harm() {
    let registry = Registry::start().await;
    issue(&registry, secret("bob", "reset")).await.unwrap();
    for request in [secret("ada", "reset"), own("ada", "reset", "a value of 22 or more characters")] {
        let (_, value) = issue(&registry, request).await.unwrap();
        for stranger in ["bob", "never-seen", "Ada"] {
            let claim = of_user(stranger, "reset", &value);
            assert_refused(consume(&registry, claim).await, NotFound, "TOKEN_NOT_FOUND");
        }
        assert_eq!(consume(&registry, of_user("ada", "reset", &value)).await.unwrap().user_id, "ada");
    }
}

#[tokio::test]
async fn two_users_with_the_same_value_of_their_callers_choice_each_have_their_own() {
    let registry = Registry::start().await;
    let value = "a value of 22 or more characters";
    issue(&registry, own("ada", "reset", value)).await.unwrap();
    issue(&registry, own("bob", "reset", value)).await.unwrap();
    for user in ["ada", "bob"] {
        assert_eq!(consume(&registry, of_user(user, "reset", value)).await.unwrap().user_id, user);
    }
}

#[tokio::test]
async fn a_wrong_secret_is_not_found_and_charged_to_nobody() {
    let registry = Registry::start().await;
    let (token, value) = issue(&registry, secret("ada", "reset")).await.unwrap();
    let altered = format!("{}{}", &value[..42], if value.ends_with('A') { 'B' } else { 'A' });
    // Far more often than any code could be guessed.
    for wrong in [altered.as_str(), &format!(" {value}"), &value.to_lowercase(), &"x".repeat(43)].repeat(5) {
        for claim in [presented("reset", wrong), of_user("ada", "reset", wrong), {
            let challenge = Some(token.challenge.clone());
            ConsumeGenericTokenRequest { challenge, ..of_user("ada", "reset", wrong) }
        }] {
            assert_refused(consume(&registry, claim).await, NotFound, "TOKEN_NOT_FOUND");
        }
    }
    assert_eq!(window_attempts(&registry, "ada", "reset").await, Some(0));
    let consumed = consume(&registry, presented("reset", &value)).await.unwrap();
    assert_eq!(consumed.attempts, 0);
}

#[tokio::test]
async fn what_is_over_is_refused_with_its_reason() {
    let registry = Registry::start().await;
    let refused = |claim: ConsumeGenericTokenRequest, reason: &'static str| {
        let registry = &registry;
        async move {
            for claim in [claim.clone(), with_id("some id", claim)] {
                assert_refused(consume(registry, claim).await, FailedPrecondition, reason);
            }
        }
    };
    for (user, long) in [("ada", None), ("bob", Some("a value of 22 or more characters".to_owned()))] {
        let request = IssueGenericTokenRequest { value: long, ..secret(user, "reset") };
        let (_, replaced) = issue(&registry, request.clone()).await.unwrap();
        issue(&registry, secret(user, "reset")).await.unwrap();
        refused(presented("reset", &replaced), "TOKEN_REVOKED").await;

        let (_, revoked) = issue(&registry, request.clone()).await.unwrap();
        revoke(&registry, user, &[]).await.unwrap();
        refused(of_user(user, "reset", &revoked), "TOKEN_REVOKED").await;

        let (_, expired) = issue(&registry, request.clone()).await.unwrap();
        let_expire(&registry).await;
        refused(presented("reset", &expired), "TOKEN_EXPIRED").await;

        let (_, suspended) = issue(&registry, request).await.unwrap();
        suspend(&registry, user).await;
        refused(presented("reset", &suspended), "USER_INACTIVE").await;
    }
}

#[tokio::test]
async fn the_token_of_a_deleted_user_is_not_found() {
    let registry = Registry::start().await;
    let (_, value) = issue(&registry, secret("ada", "reset")).await.unwrap();
    registry.users.clone().delete_user(DeleteUserRequest { user_id: "ada".into() }).await.unwrap();
    assert_refused(consume(&registry, presented("reset", &value)).await, NotFound, "TOKEN_NOT_FOUND");
    assert_eq!(state(&registry, "reset", &value).await, TokenState::Unknown);
}

#[tokio::test]
async fn all_bad_fields_of_a_claim_are_named_at_once() {
    let registry = Registry::start().await;
    let request = ConsumeGenericTokenRequest {
        purpose: String::new(),
        value: "x".repeat(1025),
        user_id: Some(String::new()),
        challenge: Some("\u{7f}".into()),
        consumption_id: Some("x".repeat(256)),
    };
    let fields = ["purpose", "value", "user_id", "challenge", "consumption_id"];
    assert_invalid(consume(&registry, request).await, &fields);
    assert_invalid(consume(&registry, presented("", "")).await, &["purpose", "value"]);
    assert_invalid(consume(&registry, presented("", "123456")).await, &["purpose", "user_id"]);
}

#[tokio::test]
async fn a_check_tells_the_state_and_consumes_nothing() {
    let registry = Registry::start().await;
    for request in [secret("ada", "reset"), own("ada", "invite", "a value of 22 or more characters")] {
        let (issued, value) = issue(&registry, request).await.unwrap();
        let purpose = issued.purpose.as_str();
        for _ in 0..3 {
            for user in [None, Some("ada")] {
                let checked = check(&registry, purpose, &value, user).await.unwrap();
                assert_eq!(checked.state(), TokenState::Active);
                assert_eq!(checked.token.as_ref(), Some(&issued));
            }
        }
        let consumed = consume(&registry, presented(purpose, &value)).await.unwrap();
        let checked = check(&registry, purpose, &value, None).await.unwrap();
        assert_eq!((checked.state(), checked.token), (TokenState::Consumed, Some(consumed)));
    }
}

#[tokio::test]
async fn a_check_tells_what_ended_the_token() {
    let registry = Registry::start().await;
    let (_, replaced) = issue(&registry, secret("ada", "reset")).await.unwrap();
    let (_, expired) = issue(&registry, secret("ada", "reset")).await.unwrap();
    let_expire(&registry).await;
    let (_, consumed) = issue(&registry, secret("ada", "reset")).await.unwrap();
    consume(&registry, presented("reset", &consumed)).await.unwrap();
    let (_, live) = issue(&registry, secret("ada", "reset")).await.unwrap();
    let all = [&replaced, &expired, &consumed, &live];
    let expected = [TokenState::Revoked, TokenState::Expired, TokenState::Consumed, TokenState::Active];
    for (value, expected) in all.into_iter().zip(expected) {
        assert_eq!(state(&registry, "reset", value).await, expected);
    }
    // Of a suspended user every check tells that, first of all.
    suspend(&registry, "ada").await;
    for value in all {
        assert_eq!(state(&registry, "reset", value).await, TokenState::UserInactive);
    }
}

#[tokio::test]
async fn a_check_of_what_is_not_there_is_unknown() {
    let registry = Registry::start().await;
    let (_, value) = issue(&registry, secret("ada", "reset")).await.unwrap();
    let wrong = "x".repeat(43);
    for (purpose, value, user) in [
        ("confirm", value.as_str(), None),
        ("reset", wrong.as_str(), None),
        ("reset", value.as_str(), Some("bob")),
        ("reset", wrong.as_str(), Some("ada")),
    ] {
        let checked = check(&registry, purpose, value, user).await.unwrap();
        assert_eq!((checked.state(), checked.token), (TokenState::Unknown, None));
    }
}

#[tokio::test]
async fn a_code_can_not_be_checked_whether_or_not_it_is_there() {
    let registry = Registry::start().await;
    let (_, code) = issue(&registry, digits("ada", "mfa", 6)).await.unwrap();
    for value in [code.as_str(), "000000", &"x".repeat(21)] {
        assert_invalid(check(&registry, "mfa", value, Some("ada")).await, &["value"]);
    }
    let bad = check(&registry, "", "", Some("")).await;
    assert_invalid(bad, &["purpose", "value", "user_id"]);
}
