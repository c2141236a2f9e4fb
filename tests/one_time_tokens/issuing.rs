//! What can be issued, for how long, and what it replaces.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use token_registry::config::PurposePolicy;
use token_registry::proto::{
    ClientInfo, CreateUserRequest, GetUserRequest, IssueGenericTokenRequest, SetUserActiveRequest, TokenState,
};
use tonic::Code::{FailedPrecondition, NotFound};

use crate::support::one_time::{
    consume, digits, issue, lifetime, list, of_user, own, presented, seconds, secret, state,
};
use crate::support::{Registry, assert_invalid, assert_refused};

#[tokio::test]
async fn without_a_wish_the_value_is_256_random_bits_in_base64url() {
    let registry = Registry::start().await;
    let (token, value) = issue(&registry, secret("ada", "reset")).await.unwrap();
    assert_eq!(value.len(), 43);
    assert_eq!(URL_SAFE_NO_PAD.decode(&value).unwrap().len(), 32);
    assert_eq!((token.user_id.as_str(), token.purpose.as_str()), ("ada", "reset"));
    assert_eq!(token.state(), TokenState::Active);
    assert_eq!((token.attempts, token.max_attempts), (0, 0), "only codes have attempts");
    assert_eq!(token.consumed, None);
    assert!(!token.challenge.is_empty() && token.challenge != value);

    let (other, other_value) = issue(&registry, secret("ada", "reset")).await.unwrap();
    assert_ne!(other_value, value);
    assert_ne!(other.challenge, token.challenge);
    assert!(other.base.unwrap().id > token.base.unwrap().id);
}

#[tokio::test]
async fn a_code_has_the_digits_asked_for() {
    let registry = Registry::start().await;
    for wanted in 6..=10 {
        let (token, code) = issue(&registry, digits("ada", "mfa", wanted)).await.unwrap();
        assert_eq!(code.len(), usize::try_from(wanted).unwrap());
        assert!(code.bytes().all(|byte| byte.is_ascii_digit()), "{code}");
        assert_eq!(token.max_attempts, 5);
    }
    for refused in [5, 11, 0, -6, i32::MAX, i32::MIN] {
        assert_invalid(issue(&registry, digits("ada", "mfa", refused)).await, &["digits"]);
    }
}

#[tokio::test]
async fn digits_and_a_value_of_ones_own_exclude_each_other_and_both_are_named() {
    let registry = Registry::start().await;
    let both = IssueGenericTokenRequest { digits: Some(6), ..own("ada", "mfa", "123456") };
    assert_invalid(issue(&registry, both).await, &["digits", "value"]);
}

#[tokio::test]
async fn a_value_of_ones_own_has_1_to_1024_characters_and_comes_back_as_it_is() {
    let registry = Registry::start().await;
    for value in ["x".to_owned(), "ü".repeat(1024), "😀".repeat(1024), " spaces stay ".to_owned()] {
        let (_, issued) = issue(&registry, own("ada", "reset", &value)).await.unwrap();
        assert_eq!(issued, value);
        consume(&registry, of_user("ada", "reset", &value)).await.unwrap();
    }
    for value in [String::new(), "x".repeat(1025), "ü".repeat(1025), "a\0b".to_owned(), "a\nb".to_owned()] {
        assert_invalid(issue(&registry, own("ada", "reset", &value)).await, &["value"]);
    }
}

#[tokio::test]
async fn under_22_characters_a_value_of_ones_own_is_a_code_and_characters_are_not_bytes() {
    let registry = Registry::start().await;
    for (value, max_attempts) in
        [("x".repeat(21), 5), ("x".repeat(22), 0), ("ü".repeat(21), 5), ("ü".repeat(22), 0)]
    {
        let (token, _) = issue(&registry, own("ada", "reset", &value)).await.unwrap();
        assert_eq!(token.max_attempts, max_attempts, "{value}");
        let unnamed = consume(&registry, presented("reset", &value)).await;
        if max_attempts == 0 {
            unnamed.unwrap();
        } else {
            assert_invalid(unnamed, &["user_id"]);
        }
    }
}

#[tokio::test]
async fn the_lifetime_has_a_default_and_a_cap_and_is_more_than_nothing() {
    let registry = Registry::start().await;
    let asked = |lifetime| IssueGenericTokenRequest { lifetime, ..secret("ada", "reset") };
    let day = 24 * 3600;
    for (wanted, expected) in
        [(None, 3600), (seconds(1), 1), (seconds(7 * day), 7 * day), (seconds(8 * day), 7 * day)]
    {
        let (token, _) = issue(&registry, asked(wanted)).await.unwrap();
        assert_eq!(lifetime(&token), expected);
    }
    for refused in [seconds(0), seconds(-1)] {
        assert_invalid(issue(&registry, asked(refused)).await, &["lifetime"]);
    }
}

#[tokio::test]
async fn the_attempts_of_a_code_have_a_default_and_a_cap_and_a_secret_has_none() {
    let registry = Registry::start().await;
    let asked = |max_attempts| IssueGenericTokenRequest { max_attempts, ..digits("ada", "mfa", 6) };
    for (wanted, expected) in [(None, 5), (Some(1), 1), (Some(10), 10), (Some(11), 10), (Some(i32::MAX), 10)]
    {
        let (token, _) = issue(&registry, asked(wanted)).await.unwrap();
        assert_eq!(token.max_attempts, expected);
    }
    for refused in [0, -1] {
        assert_invalid(issue(&registry, asked(Some(refused))).await, &["max_attempts"]);
    }
    for of_a_secret in [secret("ada", "reset"), own("ada", "reset", "a value of 22 or more characters")] {
        let request = IssueGenericTokenRequest { max_attempts: Some(3), ..of_a_secret };
        assert_invalid(issue(&registry, request).await, &["max_attempts"]);
    }
}

#[tokio::test]
async fn a_purpose_has_the_policy_that_was_configured_for_it_and_others_the_default() {
    let registry = Registry::start_with(|config| {
        let policy = PurposePolicy {
            lifetime: Some(Duration::from_mins(5)),
            max_lifetime: Some(Duration::from_mins(10)),
            max_attempts: Some(2),
            max_attempts_cap: Some(3),
            ..PurposePolicy::default()
        };
        config.purposes.insert("mfa".to_owned(), policy);
    })
    .await;
    let (token, _) = issue(&registry, digits("ada", "mfa", 6)).await.unwrap();
    assert_eq!((lifetime(&token), token.max_attempts), (300, 2));
    let greedy = |purpose| IssueGenericTokenRequest {
        lifetime: seconds(3600 * 24 * 365),
        max_attempts: Some(1000),
        ..digits("ada", purpose, 6)
    };
    let (token, _) = issue(&registry, greedy("mfa")).await.unwrap();
    assert_eq!((lifetime(&token), token.max_attempts), (600, 3));
    let (token, _) = issue(&registry, greedy("other")).await.unwrap();
    assert_eq!((lifetime(&token), token.max_attempts), (3600 * 24 * 7, 10));
}

#[tokio::test]
async fn an_issue_replaces_the_earlier_ones_of_that_user_and_purpose_and_no_others() {
    let registry = Registry::start().await;
    let (_, first) = issue(&registry, secret("ada", "reset")).await.unwrap();
    let (_, of_another_purpose) = issue(&registry, secret("ada", "confirm")).await.unwrap();
    let (_, of_another_user) = issue(&registry, secret("bob", "reset")).await.unwrap();
    let (_, second) = issue(&registry, secret("ada", "reset")).await.unwrap();
    assert_eq!(state(&registry, "reset", &first).await, TokenState::Revoked);
    assert_eq!(state(&registry, "reset", &second).await, TokenState::Active);
    assert_eq!(state(&registry, "confirm", &of_another_purpose).await, TokenState::Active);
    assert_eq!(state(&registry, "reset", &of_another_user).await, TokenState::Active);

    // A code replaces a secret too: one purpose, one that is alive.
    issue(&registry, digits("ada", "reset", 6)).await.unwrap();
    assert_eq!(state(&registry, "reset", &second).await, TokenState::Revoked);
    issue(&registry, secret("ada", "reset")).await.unwrap();
    let states: Vec<_> =
        list(&registry, "ada").await.iter().map(|t| (t.purpose.clone(), t.state())).collect();
    let alive = states.iter().filter(|(purpose, state)| purpose == "reset" && *state == TokenState::Active);
    assert_eq!(alive.count(), 1, "{states:?}");
}

#[tokio::test]
async fn keep_existing_leaves_the_earlier_ones_alive() {
    let registry = Registry::start().await;
    let (_, first) = issue(&registry, secret("ada", "reset")).await.unwrap();
    let kept = IssueGenericTokenRequest { keep_existing: true, ..secret("ada", "reset") };
    let (_, second) = issue(&registry, kept).await.unwrap();
    consume(&registry, presented("reset", &first)).await.unwrap();
    consume(&registry, presented("reset", &second)).await.unwrap();
}

#[tokio::test]
async fn even_with_keep_existing_one_value_is_good_for_one_claim() {
    let registry = Registry::start().await;
    for value in ["a value of 22 or more characters", "short"] {
        let request = IssueGenericTokenRequest { keep_existing: true, ..own("ada", "reset", value) };
        issue(&registry, request.clone()).await.unwrap();
        issue(&registry, request).await.unwrap();
        consume(&registry, of_user("ada", "reset", value)).await.unwrap();
        let again = consume(&registry, of_user("ada", "reset", value)).await;
        assert_refused(again, FailedPrecondition, "TOKEN_CONSUMED");
    }
}

#[tokio::test]
async fn a_user_never_seen_is_created_unless_users_must_be_known() {
    let lenient = Registry::start().await;
    issue(&lenient, secret("ada", "reset")).await.unwrap();
    let ada = GetUserRequest { user_id: "ada".into() };
    let user = lenient.users.clone().get_user(ada.clone()).await.unwrap().into_inner().user.unwrap();
    assert!(user.active);

    let strict = Registry::start_with(|config| config.require_known_users = true).await;
    for request in [secret("ada", "reset"), digits("ada", "reset", 6)] {
        assert_refused(issue(&strict, request).await, NotFound, "USER_NOT_FOUND");
    }
    assert_refused(strict.users.clone().get_user(ada).await, NotFound, "USER_NOT_FOUND");
    strict.users.clone().create_user(CreateUserRequest { user_id: "ada".into() }).await.unwrap();
    issue(&strict, secret("ada", "reset")).await.unwrap();
}

#[tokio::test]
async fn nothing_is_issued_to_a_suspended_user() {
    let registry = Registry::start().await;
    let suspend = SetUserActiveRequest { user_id: "ada".into(), active: Some(false) };
    registry.users.clone().set_user_active(suspend).await.unwrap();
    for request in [secret("ada", "reset"), digits("ada", "reset", 6)] {
        assert_refused(issue(&registry, request).await, FailedPrecondition, "USER_INACTIVE");
    }
    assert!(list(&registry, "ada").await.is_empty());
}

#[tokio::test]
async fn all_bad_fields_of_an_issue_are_named_at_once() {
    let registry = Registry::start().await;
    let request = IssueGenericTokenRequest {
        user_id: "x".repeat(256),
        purpose: "p".repeat(65),
        digits: Some(5),
        value: None,
        lifetime: seconds(-1),
        max_attempts: Some(0),
        keep_existing: false,
        client: Some(ClientInfo { ip: Some("not an address".into()), ..Default::default() }),
        request_id: Some(String::new()),
    };
    let fields = ["user_id", "purpose", "digits", "lifetime", "max_attempts", "client.ip", "request_id"];
    assert_invalid(issue(&registry, request).await, &fields);
    assert_invalid(issue(&registry, IssueGenericTokenRequest::default()).await, &["user_id", "purpose"]);
}

/// The seed's usage example, word for word: `token="random_token_string", purpose="password_reset",
/// browser="Chrome", os="Windows"`.
#[tokio::test]
async fn the_seeds_example_of_a_generic_token_works() {
    let registry = Registry::start().await;
    let client =
        ClientInfo { browser: Some("Chrome".into()), os: Some("Windows".into()), ..ClientInfo::default() };
    let request = IssueGenericTokenRequest {
        client: Some(client.clone()),
        ..own("user_instance", "password_reset", "random_token_string")
    };
    let (token, value) = issue(&registry, request).await.unwrap();
    assert_eq!(value, "random_token_string");
    assert_eq!(token.purpose, "password_reset");
    assert_eq!(token.base.unwrap().client, Some(client.clone()));
    // Its value has 19 characters: a code, so guesses at it are counted and its user must be named.
    assert_eq!(token.max_attempts, 5);
    assert_invalid(consume(&registry, presented("password_reset", &value)).await, &["user_id"]);
    let consumed = consume(&registry, of_user("user_instance", "password_reset", &value)).await.unwrap();
    assert_eq!(consumed.state(), TokenState::Consumed);
    assert_eq!(consumed.base.unwrap().client, Some(client));
}
