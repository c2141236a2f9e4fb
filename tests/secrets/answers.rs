//! Answers to wrong and to unknown values are the same bytes: nobody learns from them which of the two it was.

use token_registry::proto::{
    AuthenticateAuthTokenRequest, CheckGenericTokenRequest, CheckRefreshTokenRequest, CheckSessionRequest,
    ConsumeGenericTokenRequest, IssueGenericTokenRequest, TokenState,
};
use tonic::codegen::http::HeaderMap;

use crate::support::Registry;
use crate::support::keys::{create, delete, prefixed, state, wanted};
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
    registry.add("ben", "phone", "one").await.unwrap();

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
    // One that was claimed, in the wrong place.
    let claimed = generic.issue_generic_token(issue("claimed", None)).await.unwrap().into_inner().value;
    generic.consume_generic_token(consume("claimed", &claimed, None)).await.unwrap();
    let elsewhere = consume("other", &claimed, None);
    consumed.push(answer(&registry, &format!("{GENERIC}/ConsumeGenericToken"), &elsewhere).await);
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
    let of_another = answer(&registry, &format!("{WHITELIST}/CheckSession"), &session("ben", "laptop")).await;
    assert_eq!([&nobody, &nobody], [&nothing, &of_another]);
    let jti = |user_id: &str, session: &str| CheckRefreshTokenRequest {
        user_id: user_id.into(),
        session: session.into(),
        jti: "one".into(),
    };
    let nobody = answer(&registry, &format!("{WHITELIST}/CheckRefreshToken"), &jti("nobody", "laptop")).await;
    let nothing = answer(&registry, &format!("{WHITELIST}/CheckRefreshToken"), &jti("ada", "nothing")).await;
    assert_eq!(nobody, nothing);

    // And the right ones are still good: the comparison was with what there is.
    generic.consume_generic_token(consume("secret", &secret, None)).await.unwrap();
    generic.consume_generic_token(consume("code", &code, Some("ada"))).await.unwrap();
}

/// A key of the model `prefixed` with the right checksum, of these characters of its own.
fn well_formed(random: &str) -> String {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut rest = usize::try_from(crc32fast::hash(random.as_bytes())).unwrap();
    let mut checksum = String::new();
    for _ in 0..6 {
        checksum.insert(0, char::from(DIGITS[rest % 62]));
        rest /= 62;
    }
    format!("trk_{random}{checksum}")
}

#[tokio::test]
async fn keys_that_are_none_are_answered_with_the_same_bytes() {
    let registry = Registry::start_with(prefixed).await;
    let (_, key) = create(&registry, wanted("ada")).await.unwrap();
    let (deleted, gone) = create(&registry, wanted("ada")).await.unwrap();
    delete(&registry, "ada", Some(&deleted.prefix)).await.unwrap();
    let random = &key["trk_".len()..key.len() - 6];
    assert_eq!(well_formed(random), key);
    let last = |text: &str| if text.ends_with('x') { "y" } else { "x" };
    let wrong_secret = format!("{}{}", &random[..42], last(random));
    let mut answers = Vec::new();
    for key in [
        "no key",
        // Unknown, of both models.
        "0123456789abcdef0123456789abcdef01234567",
        &well_formed(&"A".repeat(43)),
        // The right prefix.
        &well_formed(&wrong_secret),
        // The right one, but for its checksum.
        &format!("{}{}", &key[..key.len() - 1], last(&key)),
        &gone,
    ] {
        let key = AuthenticateAuthTokenRequest { key: key.into() };
        answers.push(answer(&registry, AUTHENTICATE, &key).await);
    }
    assert!(answers.iter().all(|answer| answer == &answers[0]), "{answers:?}");
    assert_eq!(state(&registry, &key).await, TokenState::Active);
}
