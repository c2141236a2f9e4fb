//! The window: wrong guesses at all codes of a user and purpose together, so that asking for code after code does not
//! give guesses without end.

use std::time::Duration;

use token_registry::config::PurposePolicy;
use token_registry::proto::IssueGenericTokenRequest;
use tonic::Code::{NotFound, ResourceExhausted};
use tonic_types::StatusExt as _;

use crate::support::one_time::{
    consume, digits, issue, of_user, own, presented, secret, window_attempts, with_id,
};
use crate::support::{Registry, assert_refused};

const HOUR: Duration = Duration::from_hours(1);

/// A registry whose window takes seven wrong guesses in an hour.
async fn registry() -> Registry {
    Registry::start_with(|config| {
        config.generic_tokens.window_attempts = 7;
        config.generic_tokens.window = HOUR;
    })
    .await
}

/// Makes so many wrong guesses at the newest code.
async fn guess_wrong(registry: &Registry, user: &str, times: usize) {
    for _ in 0..times {
        let guess = consume(registry, of_user(user, "mfa", "wrong")).await;
        assert_refused(guess, NotFound, "TOKEN_NOT_FOUND");
    }
}

/// Uses up the window: five wrong guesses at one code and two at the next, which is `right`.
async fn exhaust(registry: &Registry, user: &str) {
    issue(registry, own(user, "mfa", "first")).await.unwrap();
    guess_wrong(registry, user, 5).await;
    issue(registry, own(user, "mfa", "right")).await.unwrap();
    guess_wrong(registry, user, 2).await;
}

/// Lets so much time pass for all windows.
async fn let_pass(registry: &Registry, time: Duration) {
    let moved = "update generic_state set window_started = window_started - make_interval(secs => $1)";
    registry.sql().await.execute(moved, &[&time.as_secs_f64()]).await.unwrap();
}

#[tokio::test]
async fn wrong_guesses_are_counted_over_re_issues_and_a_full_window_refuses_guesses_and_new_codes() {
    let registry = registry().await;
    exhaust(&registry, "ada").await;
    assert_eq!(window_attempts(&registry, "ada", "mfa").await, Some(7));
    for guess in [of_user("ada", "mfa", "right"), of_user("ada", "mfa", "wrong")] {
        let refused = consume(&registry, guess).await;
        let status = assert_refused(refused, ResourceExhausted, "ATTEMPTS_EXHAUSTED");
        let metadata = status.get_details_error_info().unwrap().metadata;
        let retry_after: u64 = metadata["retry_after_seconds"].parse().unwrap();
        assert!(retry_after <= HOUR.as_secs(), "{retry_after}");
    }
    for code in [digits("ada", "mfa", 6), own("ada", "mfa", "another")] {
        let request = IssueGenericTokenRequest { keep_existing: true, ..code };
        for request in [request.clone(), IssueGenericTokenRequest { keep_existing: false, ..request }] {
            assert_refused(issue(&registry, request).await, ResourceExhausted, "ATTEMPTS_EXHAUSTED");
        }
    }
    // The refused ones have replaced nothing, and are charged nothing.
    assert_eq!(window_attempts(&registry, "ada", "mfa").await, Some(7));
    let_pass(&registry, HOUR).await;
    consume(&registry, of_user("ada", "mfa", "right")).await.unwrap();
}

#[tokio::test]
async fn a_full_window_refuses_codes_only() {
    let registry = registry().await;
    let kept = |request| IssueGenericTokenRequest { keep_existing: true, ..request };
    exhaust(&registry, "ada").await;
    // Secrets of the same user and purpose are issued and consumed as ever.
    for request in [secret("ada", "mfa"), own("ada", "mfa", "a value of 22 or more characters")] {
        let (_, value) = issue(&registry, kept(request)).await.unwrap();
        consume(&registry, presented("mfa", &value)).await.unwrap();
    }
    // And whoever guesses at one person's codes hurts neither their other purposes nor anyone else.
    for (user, purpose) in [("ada", "confirm"), ("bob", "mfa")] {
        issue(&registry, own(user, purpose, "right")).await.unwrap();
        consume(&registry, of_user(user, purpose, "right")).await.unwrap();
    }
    let guess = consume(&registry, of_user("ada", "mfa", "right")).await;
    assert_refused(guess, ResourceExhausted, "ATTEMPTS_EXHAUSTED");
}

#[tokio::test]
async fn a_window_ends_after_its_time_and_a_new_one_begins_with_the_next_wrong_guess() {
    let registry = registry().await;
    exhaust(&registry, "ada").await;
    let_pass(&registry, HOUR / 2).await;
    let early = issue(&registry, digits("ada", "mfa", 6)).await;
    assert_refused(early, ResourceExhausted, "ATTEMPTS_EXHAUSTED");
    let_pass(&registry, HOUR / 2).await;

    issue(&registry, own("ada", "mfa", "fresh")).await.unwrap();
    guess_wrong(&registry, "ada", 3).await;
    assert_eq!(window_attempts(&registry, "ada", "mfa").await, Some(3), "the old ones count no more");
    // The new window begins at its first wrong guess, and each one after it moves nothing.
    let_pass(&registry, HOUR / 2).await;
    guess_wrong(&registry, "ada", 1).await;
    assert_eq!(window_attempts(&registry, "ada", "mfa").await, Some(4));
    let_pass(&registry, HOUR / 2).await;
    guess_wrong(&registry, "ada", 1).await;
    assert_eq!(window_attempts(&registry, "ada", "mfa").await, Some(1));
}

#[tokio::test]
async fn a_success_empties_the_window() {
    let registry = registry().await;
    issue(&registry, own("ada", "mfa", "first")).await.unwrap();
    guess_wrong(&registry, "ada", 4).await;
    consume(&registry, of_user("ada", "mfa", "first")).await.unwrap();
    assert_eq!(window_attempts(&registry, "ada", "mfa").await, Some(0));
    exhaust(&registry, "ada").await;
}

/// Else who has one secret of the user's could guess at the codes without end.
#[tokio::test]
async fn the_claim_of_a_secret_does_not_empty_the_window() {
    let registry = registry().await;
    exhaust(&registry, "ada").await;
    let (_, value) = issue(&registry, secret("ada", "mfa")).await.unwrap();
    consume(&registry, of_user("ada", "mfa", &value)).await.unwrap();
    assert_eq!(window_attempts(&registry, "ada", "mfa").await, Some(7));
}

#[tokio::test]
async fn retries_of_what_went_well_are_answered_although_the_window_is_full() {
    let registry = registry().await;
    let kept = |request| IssueGenericTokenRequest { keep_existing: true, ..request };
    let request =
        kept(IssueGenericTokenRequest { request_id: Some("request".into()), ..digits("ada", "mfa", 6) });
    let issued = issue(&registry, request.clone()).await.unwrap();
    issue(&registry, kept(own("ada", "mfa", "winning"))).await.unwrap();
    let claim = with_id("winner", of_user("ada", "mfa", "winning"));
    let won = consume(&registry, claim.clone()).await.unwrap();
    for value in ["one", "two"] {
        issue(&registry, kept(own("ada", "mfa", value))).await.unwrap();
        guess_wrong(&registry, "ada", if value == "one" { 5 } else { 2 }).await;
    }
    let full = issue(&registry, digits("ada", "mfa", 6)).await;
    assert_refused(full, ResourceExhausted, "ATTEMPTS_EXHAUSTED");
    assert_eq!(consume(&registry, claim).await.unwrap(), won);
    let (again, same_value) = issue(&registry, request).await.unwrap();
    assert_eq!((again.challenge, same_value), (issued.0.challenge, issued.1));
}

#[tokio::test]
async fn a_purpose_has_its_own_window_where_it_is_configured() {
    let registry = Registry::start_with(|config| {
        let policy = PurposePolicy {
            window_attempts: Some(2),
            window: Some(Duration::from_mins(1)),
            ..PurposePolicy::default()
        };
        config.purposes.insert("mfa".to_owned(), policy);
    })
    .await;
    issue(&registry, own("ada", "mfa", "right")).await.unwrap();
    guess_wrong(&registry, "ada", 2).await;
    let guess = || async { consume(&registry, of_user("ada", "mfa", "right")).await };
    assert_refused(guess().await, ResourceExhausted, "ATTEMPTS_EXHAUSTED");
    let_pass(&registry, Duration::from_mins(1)).await;
    guess().await.unwrap();
}

/// The configured default: 100 in 24 hours.
#[tokio::test]
async fn by_default_a_window_takes_a_hundred_wrong_guesses_in_24_hours() {
    let registry = Registry::start().await;
    issue(&registry, own("ada", "mfa", "right")).await.unwrap();
    let full =
        "update generic_state set attempts = $1, window_started = clock_timestamp() - interval '23 hours'";
    let sql = registry.sql().await;
    sql.execute(full, &[&99]).await.unwrap();
    guess_wrong(&registry, "ada", 1).await;
    let guess = consume(&registry, of_user("ada", "mfa", "right")).await;
    assert_refused(guess, ResourceExhausted, "ATTEMPTS_EXHAUSTED");
    let_pass(&registry, HOUR).await;
    consume(&registry, of_user("ada", "mfa", "right")).await.unwrap();
}
