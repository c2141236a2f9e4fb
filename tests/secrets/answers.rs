//! Answers to wrong and to unknown values are the same bytes: nobody learns from them which of the two it was.

use token_registry::proto::{
    AuthenticateAuthTokenRequest, CheckGenericTokenRequest, CheckRefreshTokenRequest, CheckSessionRequest,
    ConsumeGenericTokenRequest, IssueGenericTokenRequest,
};
use tonic::codegen::http::HeaderMap;

use crate::support::Registry;
use crate::support::wire::{exchange, framed};

const GENERIC: &str = "/tokenregistry.v1.GenericTokenService";
const AUTHENTICATE: &str = "/tokenregistry.v1.AuthTokenService/AuthenticateAuthToken";
const WHITELIST: &str = "/tokenregistry.v1.WhitelistService";

/// All that a caller gets, but for the time of day and the request's id.
async fn answer(
    registry: &Registry,
    path: &str,
    request: &impl prost::Message,
) -> (Vec<(String, Vec<u8>)>, Vec<u8>) {
    let answer = exchange(registry.address, path, &[("x-request-id", "the-same")], framed(request)).await;
    let told = |headers: &HeaderMap| {
        let headers = headers.iter().filter(|(name, _)| *name != "date");
        let mut told: Vec<_> =
            headers.map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())).collect();
        told.sort();
        told
    };
    (told(&answer.headers), answer.body)
}

#[tokio::test]
async fn wrong_and_unknown_values_are_answered_with_the_same_bytes() {
    let registry = Registry::start().await;
    let issue = |purpose: &str, digits: Option<i32>| IssueGenericTokenRequest {
        user_id: "ada".into(),
        purpose: purpose.into(),
        digits,
        ..Default::default()
    };
    let mut generic = registry.generic.clone();
    let secret = generic.issue_generic_token(issue("secret", None)).await.unwrap().into_inner().value;
    let code = generic.issue_generic_token(issue("code", Some(6))).await.unwrap().into_inner().value;
    let wrong_code = if code == "123456" { "654321" } else { "123456" };
    registry.add("ada", "laptop", "one").await.unwrap();

    let consume = |purpose: &str, value: &str, user_id: Option<&str>| ConsumeGenericTokenRequest {
        purpose: purpose.into(),
        value: value.into(),
        user_id: user_id.map(Into::into),
        ..Default::default()
    };
    let check = |purpose: &str, value: &str, user_id: Option<&str>| CheckGenericTokenRequest {
        purpose: purpose.into(),
        value: value.into(),
        user_id: user_id.map(Into::into),
    };
    let unknown = "A".repeat(secret.len());
    let secrets = [
        (unknown.as_str(), None, "secret"),
        (&unknown, Some("ada"), "secret"),
        // The right value in the wrong place.
        (&secret, Some("grace"), "secret"),
        (&secret, None, "other"),
        (&secret, Some("ada"), "code"),
        (&secret[1..], None, "secret"),
    ];
    let (mut consumed, mut checked) = (Vec::new(), Vec::new());
    for (value, user_id, purpose) in secrets {
        consumed.push(
            answer(&registry, &format!("{GENERIC}/ConsumeGenericToken"), &consume(purpose, value, user_id))
                .await,
        );
        checked.push(
            answer(&registry, &format!("{GENERIC}/CheckGenericToken"), &check(purpose, value, user_id)).await,
        );
    }
    for (value, user_id, purpose) in [
        // A guess that is wrong, one at a user who has no code, at nobody, and the right one at another purpose.
        (wrong_code, "ada", "code"),
        (wrong_code, "grace", "code"),
        (code.as_str(), "grace", "code"),
        (&code, "ada", "other"),
    ] {
        let consume = consume(purpose, value, Some(user_id));
        consumed.push(answer(&registry, &format!("{GENERIC}/ConsumeGenericToken"), &consume).await);
    }
    for answers in [consumed, checked] {
        for answer in &answers {
            assert_eq!(answer, &answers[0]);
        }
    }

    // Who is not there and what is not there look the same, too.
    let session = |user_id: &str, session: &str| CheckSessionRequest {
        user_id: user_id.into(),
        session: session.into(),
    };
    let nobody = answer(&registry, &format!("{WHITELIST}/CheckSession"), &session("nobody", "laptop")).await;
    let nothing = answer(&registry, &format!("{WHITELIST}/CheckSession"), &session("ada", "nothing")).await;
    assert_eq!(nobody, nothing);
    let jti = |user_id: &str, session: &str| CheckRefreshTokenRequest {
        user_id: user_id.into(),
        session: session.into(),
        jti: "one".into(),
    };
    let nobody = answer(&registry, &format!("{WHITELIST}/CheckRefreshToken"), &jti("nobody", "laptop")).await;
    let nothing = answer(&registry, &format!("{WHITELIST}/CheckRefreshToken"), &jti("ada", "nothing")).await;
    assert_eq!(nobody, nothing);

    // Keys: one that can't be one, and two that could be.
    let mut keys = Vec::new();
    for key in ["no key", "0123456789abcdef0123456789abcdef01234567", &"f".repeat(40)] {
        let key = AuthenticateAuthTokenRequest { key: key.into() };
        keys.push(answer(&registry, AUTHENTICATE, &key).await);
    }
    assert!(keys.iter().all(|answer| answer == &keys[0]), "{keys:?}");

    // And the right ones are still good: the comparison was with what there is.
    generic.consume_generic_token(consume("secret", &secret, None)).await.unwrap();
    generic.consume_generic_token(consume("code", &code, Some("ada"))).await.unwrap();
}
