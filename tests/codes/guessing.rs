//! Guesses at one code: what is charged, what is not, and which code is meant.

use token_registry::proto::{
    ConsumeGenericTokenRequest, GenericToken, IssueGenericTokenRequest, SetUserActiveRequest, TokenState,
};
use tonic::Code::{FailedPrecondition, NotFound, ResourceExhausted};

use crate::support::one_time::{
    at, consume, digits, issue, let_expire, list, of_user, own, presented, revoke, secret, window_attempts,
};
use crate::support::{Registry, assert_invalid, assert_refused};

/// Makes so many wrong guesses, each of which is charged and answered "not found".
async fn guess_wrong(registry: &Registry, guess: &ConsumeGenericTokenRequest, times: usize) {
    for _ in 0..times {
        assert_refused(consume(registry, guess.clone()).await, NotFound, "TOKEN_NOT_FOUND");
    }
}

/// Issues a code that is `value`.
async fn code(registry: &Registry, value: &str) -> GenericToken {
    issue(registry, own("ada", "mfa", value)).await.unwrap().0
}

/// The newest token of the user, as listed.
async fn newest(registry: &Registry) -> GenericToken {
    list(registry, "ada").await.swap_remove(0)
}

#[tokio::test]
async fn a_code_is_claimed_once_and_only_with_its_user() {
    let registry = Registry::start().await;
    let (token, value) = issue(&registry, digits("ada", "mfa", 6)).await.unwrap();
    assert_invalid(consume(&registry, presented("mfa", &value)).await, &["user_id"]);
    for stranger in ["bob", "Ada"] {
        let claim = of_user(stranger, "mfa", &value);
        assert_refused(consume(&registry, claim).await, NotFound, "TOKEN_NOT_FOUND");
    }
    let consumed = consume(&registry, of_user("ada", "mfa", &value)).await.unwrap();
    assert_eq!((consumed.state(), consumed.challenge), (TokenState::Consumed, token.challenge));
    assert!(consumed.consumed.is_some());
    let again = consume(&registry, of_user("ada", "mfa", &value)).await;
    assert_refused(again, FailedPrecondition, "TOKEN_CONSUMED");
}

#[tokio::test]
async fn a_code_is_good_for_its_own_purpose_only() {
    let registry = Registry::start().await;
    code(&registry, "right").await;
    let elsewhere = consume(&registry, of_user("ada", "reset", "right")).await;
    assert_refused(elsewhere, NotFound, "TOKEN_NOT_FOUND");
    assert_eq!(newest(&registry).await.attempts, 0);
    consume(&registry, of_user("ada", "mfa", "right")).await.unwrap();
}

#[tokio::test]
async fn a_wrong_guess_is_charged_to_the_code_and_the_window() {
    let registry = Registry::start().await;
    code(&registry, "right").await;
    for charged in 1..=3 {
        guess_wrong(&registry, &of_user("ada", "mfa", "wrong"), 1).await;
        let token = newest(&registry).await;
        assert_eq!((token.attempts, token.state()), (charged, TokenState::Active));
        assert_eq!(window_attempts(&registry, "ada", "mfa").await, Some(charged));
    }
}

#[tokio::test]
async fn the_right_guess_wins_after_four_wrong_ones() {
    let registry = Registry::start().await;
    code(&registry, "right").await;
    guess_wrong(&registry, &of_user("ada", "mfa", "wrong"), 4).await;
    let consumed = consume(&registry, of_user("ada", "mfa", "right")).await.unwrap();
    assert_eq!(consumed.attempts, 4, "a right guess is not charged");
}

/// The guess that reaches the limit tells nothing more than those before it; all after it are refused, right or wrong.
#[tokio::test]
async fn after_the_fifth_wrong_guess_the_code_is_dead_even_for_the_right_one() {
    let registry = Registry::start().await;
    let token = code(&registry, "right").await;
    guess_wrong(&registry, &of_user("ada", "mfa", "wrong"), 5).await;
    for guess in [
        of_user("ada", "mfa", "right"),
        of_user("ada", "mfa", "wrong"),
        at(&token, "right"),
        at(&token, "wrong"),
    ] {
        assert_refused(consume(&registry, guess).await, ResourceExhausted, "ATTEMPTS_EXHAUSTED");
    }
    let token = newest(&registry).await;
    assert_eq!((token.attempts, token.state()), (5, TokenState::AttemptsExhausted));
    // What is refused so isn't charged any more.
    assert_eq!(window_attempts(&registry, "ada", "mfa").await, Some(5));
    // A new code is a new chance.
    code(&registry, "other").await;
    consume(&registry, of_user("ada", "mfa", "other")).await.unwrap();
}

#[tokio::test]
async fn a_code_stands_as_many_wrong_guesses_as_were_asked_for() {
    let registry = Registry::start().await;
    for allowed in [1, 10] {
        let asked = IssueGenericTokenRequest { max_attempts: Some(allowed), ..own("ada", "mfa", "right") };
        let (token, _) = issue(&registry, asked).await.unwrap();
        assert_eq!(token.max_attempts, allowed);
        guess_wrong(&registry, &of_user("ada", "mfa", "wrong"), allowed.try_into().unwrap()).await;
        let next = consume(&registry, of_user("ada", "mfa", "right")).await;
        assert_refused(next, ResourceExhausted, "ATTEMPTS_EXHAUSTED");
    }
}

#[tokio::test]
async fn a_replaced_codes_value_is_revoked_and_not_charged() {
    let registry = Registry::start().await;
    let replaced = code(&registry, "old").await;
    let current = code(&registry, "new").await;
    // Often enough to exhaust the current one, were it charged.
    for _ in 0..6 {
        for late in [of_user("ada", "mfa", "old"), at(&replaced, "old"), at(&current, "old")] {
            assert_refused(consume(&registry, late).await, FailedPrecondition, "TOKEN_REVOKED");
        }
    }
    assert_eq!(window_attempts(&registry, "ada", "mfa").await, Some(0));
    // Another wrong value at the replaced one: there is no such code any more, and nobody to charge.
    guess_wrong(&registry, &at(&replaced, "wrong"), 6).await;
    guess_wrong(&registry, &at(&replaced, "new"), 1).await;
    assert_eq!(window_attempts(&registry, "ada", "mfa").await, Some(0));
    consume(&registry, of_user("ada", "mfa", "new")).await.unwrap();
}

#[tokio::test]
async fn a_value_that_is_issued_again_is_the_new_codes() {
    let registry = Registry::start().await;
    code(&registry, "same").await;
    let current = code(&registry, "same").await;
    let consumed = consume(&registry, of_user("ada", "mfa", "same")).await.unwrap();
    assert_eq!(consumed.challenge, current.challenge);
}

#[tokio::test]
async fn a_revoked_and_an_expired_code_are_refused_with_their_reason_and_not_charged() {
    let registry = Registry::start().await;
    code(&registry, "revoked").await;
    revoke(&registry, "ada", &["mfa"]).await.unwrap();
    let late = consume(&registry, of_user("ada", "mfa", "revoked")).await;
    assert_refused(late, FailedPrecondition, "TOKEN_REVOKED");
    guess_wrong(&registry, &of_user("ada", "mfa", "wrong"), 6).await;

    code(&registry, "expired").await;
    let_expire(&registry).await;
    let late = consume(&registry, of_user("ada", "mfa", "expired")).await;
    assert_refused(late, FailedPrecondition, "TOKEN_EXPIRED");
    guess_wrong(&registry, &of_user("ada", "mfa", "wrong"), 6).await;
    assert_eq!(window_attempts(&registry, "ada", "mfa").await, Some(0));
    assert!(list(&registry, "ada").await.iter().all(|token| token.attempts == 0));
}

#[tokio::test]
async fn the_code_of_a_suspended_user_is_refused_with_that() {
    let registry = Registry::start().await;
    code(&registry, "right").await;
    let suspend = SetUserActiveRequest { user_id: "ada".into(), active: Some(false) };
    registry.users.clone().set_user_active(suspend).await.unwrap();
    let guess = consume(&registry, of_user("ada", "mfa", "right")).await;
    assert_refused(guess, FailedPrecondition, "USER_INACTIVE");
}

#[tokio::test]
async fn a_challenge_names_the_code_among_several_and_without_it_the_newest_is_meant() {
    let registry = Registry::start().await;
    let keep = |value| IssueGenericTokenRequest { keep_existing: true, ..own("ada", "mfa", value) };
    let mut codes = Vec::new();
    for value in ["one", "two", "three"] {
        codes.push(issue(&registry, keep(value)).await.unwrap().0);
    }
    let attempts = async || -> Vec<i32> { list(&registry, "ada").await.iter().map(|t| t.attempts).collect() };
    // Without a challenge: the newest, so the others' values are wrong guesses at it.
    guess_wrong(&registry, &of_user("ada", "mfa", "one"), 1).await;
    guess_wrong(&registry, &of_user("ada", "mfa", "wrong"), 1).await;
    assert_eq!(attempts().await, [2, 0, 0]);
    // With one: that one, and nothing of the others.
    guess_wrong(&registry, &at(&codes[0], "three"), 1).await;
    guess_wrong(&registry, &at(&codes[1], "one"), 2).await;
    assert_eq!(attempts().await, [2, 2, 1]);
    assert_eq!(consume(&registry, at(&codes[0], "one")).await.unwrap().challenge, codes[0].challenge);
    assert_eq!(
        consume(&registry, of_user("ada", "mfa", "three")).await.unwrap().challenge,
        codes[2].challenge
    );
    // The newest that is left.
    assert_eq!(consume(&registry, of_user("ada", "mfa", "two")).await.unwrap().challenge, codes[1].challenge);
}

#[tokio::test]
async fn an_exhausted_code_does_not_take_others_with_it() {
    let registry = Registry::start().await;
    let keep = |value| IssueGenericTokenRequest { keep_existing: true, ..own("ada", "mfa", value) };
    let (first, _) = issue(&registry, keep("one")).await.unwrap();
    let (second, _) = issue(&registry, keep("two")).await.unwrap();
    guess_wrong(&registry, &at(&second, "wrong"), 5).await;
    let dead = consume(&registry, at(&second, "two")).await;
    assert_refused(dead, ResourceExhausted, "ATTEMPTS_EXHAUSTED");
    consume(&registry, at(&first, "one")).await.unwrap();
}

#[tokio::test]
async fn a_challenge_that_names_no_code_of_the_user_and_purpose_is_not_found_and_not_charged() {
    let registry = Registry::start().await;
    let (of_bob, _) = issue(&registry, own("bob", "mfa", "right")).await.unwrap();
    let (elsewhere, _) = issue(&registry, own("ada", "reset", "right")).await.unwrap();
    code(&registry, "right").await;
    for challenge in ["none", &of_bob.challenge, &elsewhere.challenge] {
        let guess = ConsumeGenericTokenRequest {
            challenge: Some(challenge.to_owned()),
            ..of_user("ada", "mfa", "right")
        };
        guess_wrong(&registry, &guess, 2).await;
    }
    assert_eq!(window_attempts(&registry, "ada", "mfa").await, Some(0));
    assert_eq!(window_attempts(&registry, "bob", "mfa").await, Some(0));
    consume(&registry, of_user("ada", "mfa", "right")).await.unwrap();
}

/// Otherwise anybody could fill the database, or block a stranger's first code, with guesses at nothing.
#[tokio::test]
async fn a_user_without_a_live_code_is_charged_nothing_and_gets_no_row() {
    let registry = Registry::start().await;
    registry.add("bob", "laptop", "one").await.unwrap();
    for user in ["never-seen", "bob"] {
        guess_wrong(&registry, &of_user(user, "mfa", "123456"), 8).await;
        assert_eq!(window_attempts(&registry, user, "mfa").await, None);
    }
    // With a secret, or a code that is over, there is a row; still nothing is charged to it.
    issue(&registry, secret("ada", "mfa")).await.unwrap();
    guess_wrong(&registry, &of_user("ada", "mfa", "123456"), 8).await;
    code(&registry, "right").await;
    consume(&registry, of_user("ada", "mfa", "right")).await.unwrap();
    guess_wrong(&registry, &of_user("ada", "mfa", "123456"), 8).await;
    assert_eq!(window_attempts(&registry, "ada", "mfa").await, Some(0));
    let known = registry.users.clone();
    let never_seen = token_registry::proto::GetUserRequest { user_id: "never-seen".into() };
    assert_refused(known.clone().get_user(never_seen).await, NotFound, "USER_NOT_FOUND");
}
