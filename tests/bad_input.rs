//! Requests that can't be right: refused at once, with every bad field named, and nothing written.
//!
//! Every field of every method is tried, from the descriptors: a field that has no rule here fails the test, so that a
//! new one can't be forgotten.

use std::collections::BTreeSet;

use prost::Message;
use prost_types::FieldDescriptorProto;
use prost_types::field_descriptor_proto::{Label, Type};
use token_registry::proto::{
    AddRefreshTokenRequest, AuthenticateAuthTokenRequest, BatchCheckSessionsRequest,
    CheckGenericTokenRequest, CheckRefreshTokenRequest, CheckSessionRequest, ClientInfo,
    ConsumeGenericTokenRequest, CreateAuthTokenRequest, CreateUserRequest, DeleteAuthTokenRequest,
    DeleteUserRequest, GetAuthTokenRequest, GetRefreshTokenRequest, GetStatisticsRequest, GetUserRequest,
    IssueGenericTokenRequest, ListAuthTokensRequest, ListGenericTokensRequest, ListRefreshTokensRequest,
    PurgeExpiredRequest, RevokeCredentialsRequest, RevokeGenericTokensRequest, RevokeSessionRequest,
    RevokeUserSessionsRequest, RotateRefreshTokenRequest, SessionQuestion, SetRefreshTokenEnabledRequest,
    SetUserActiveRequest, TokenState,
};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::support::raw::{Method, call, methods, put_bytes, put_varint};
use crate::support::{Registry, assert_invalid, assert_refused, channel};

/// A request of this method that would be carried out, about what [`seeded`] has made.
pub fn good_request(method: &str) -> Vec<u8> {
    fn bytes(message: &impl Message) -> Vec<u8> {
        message.encode_to_vec()
    }
    let (user_id, session, purpose) = ("ada".to_owned(), "laptop".to_owned(), "reset".to_owned());
    let secret = "a secret that is long enough".to_owned();
    match method {
        "AddRefreshToken" => {
            bytes(&AddRefreshTokenRequest { user_id, session, jti: "one".into(), ..Default::default() })
        }
        "RotateRefreshToken" => {
            bytes(&RotateRefreshTokenRequest { user_id, session, jti: "one".into(), ..Default::default() })
        }
        "CheckRefreshToken" => bytes(&CheckRefreshTokenRequest { user_id, session, jti: "one".into() }),
        "CheckSession" => bytes(&CheckSessionRequest { user_id, session }),
        "BatchCheckSessions" => {
            bytes(&BatchCheckSessionsRequest { sessions: vec![SessionQuestion { user_id, session }] })
        }
        "GetRefreshToken" => bytes(&GetRefreshTokenRequest { user_id, session }),
        "ListRefreshTokens" => bytes(&ListRefreshTokensRequest { user_id, ..Default::default() }),
        "SetRefreshTokenEnabled" => {
            bytes(&SetRefreshTokenEnabledRequest { user_id, session, enabled: Some(false) })
        }
        "RevokeSession" => bytes(&RevokeSessionRequest { user_id, session, reason: 1 }),
        "RevokeUserSessions" => bytes(&RevokeUserSessionsRequest { user_id, ..Default::default() }),
        "IssueGenericToken" => {
            // A code, since of a secret max_attempts is refused anyway.
            bytes(&IssueGenericTokenRequest { user_id, purpose, digits: Some(6), ..Default::default() })
        }
        "ConsumeGenericToken" => bytes(&ConsumeGenericTokenRequest {
            purpose,
            value: secret,
            user_id: Some(user_id),
            ..Default::default()
        }),
        "CheckGenericToken" => bytes(&CheckGenericTokenRequest { purpose, value: secret, user_id: None }),
        "ListGenericTokens" => bytes(&ListGenericTokensRequest { user_id, ..Default::default() }),
        "RevokeGenericTokens" => bytes(&RevokeGenericTokensRequest { user_id, ..Default::default() }),
        "CreateAuthToken" => {
            bytes(&CreateAuthTokenRequest { user_id, name: "deploys".into(), ..Default::default() })
        }
        "AuthenticateAuthToken" => bytes(&AuthenticateAuthTokenRequest { key: "0".repeat(40) }),
        "GetAuthToken" => bytes(&GetAuthTokenRequest { user_id, prefix: None }),
        "ListAuthTokens" => bytes(&ListAuthTokensRequest { user_id, ..Default::default() }),
        "DeleteAuthToken" => bytes(&DeleteAuthTokenRequest { user_id, prefix: None }),
        "CreateUser" => bytes(&CreateUserRequest { user_id: "grace".into() }),
        "GetUser" => bytes(&GetUserRequest { user_id }),
        "SetUserActive" => bytes(&SetUserActiveRequest { user_id, active: Some(false) }),
        "RevokeCredentials" => {
            bytes(&RevokeCredentialsRequest { user_id, keep_auth_tokens: Some(false), ..Default::default() })
        }
        "PurgeExpired" => bytes(&PurgeExpiredRequest::default()),
        "GetStatistics" => bytes(&GetStatisticsRequest {}),
        "DeleteUser" => bytes(&DeleteUserRequest { user_id }),
        new => panic!("{new} has no good request here yet"),
    }
}

/// A registry with a user who has a session, a one-time token and an API key.
pub async fn seeded() -> Registry {
    let registry = Registry::start().await;
    registry.add("ada", "laptop", "one").await.unwrap();
    let issue = IssueGenericTokenRequest {
        user_id: "ada".into(),
        purpose: "reset".into(),
        value: Some("a secret that is long enough".into()),
        ..Default::default()
    };
    registry.generic.clone().issue_generic_token(issue).await.unwrap();
    crate::support::keys::create(&registry, crate::support::keys::wanted("ada")).await.unwrap();
    registry
}

/// What a field can be wrong by: bytes to append to a good request (of a field that comes twice, the last one counts).
fn bad_values(field: &FieldDescriptorProto) -> Vec<Vec<u8>> {
    let number = field.number();
    let texts = |max: usize, more: &[&str]| {
        let mut texts = vec![
            String::new(),
            "x".repeat(max + 1),
            "😀".repeat(max + 1),
            "a\0b".into(),
            "a\nb".into(),
            "a\u{85}b".into(),
            "\u{7f}".into(),
        ];
        texts.extend(more.iter().map(ToString::to_string));
        let field = |text: &String| {
            let mut bytes = Vec::new();
            put_bytes(&mut bytes, number, text.as_bytes());
            bytes
        };
        texts.iter().map(field).collect::<Vec<_>>()
    };
    let numbers = |values: &[i64]| {
        let field = |value: &i64| {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, number, *value);
            bytes
        };
        values.iter().map(field).collect::<Vec<_>>()
    };
    let durations = |more: &[(i64, i64)]| {
        let bad = [
            (-1, 0),
            (0, -1),
            (1, -1),
            (-1, -1),
            (i64::MAX, 0),
            (i64::MIN, 0),
            (315_576_000_001, 0),
            (0, 1_000_000_000),
            (1, i64::from(i32::MAX)),
        ];
        let field = |(seconds, nanos): &(i64, i64)| {
            let (mut duration, mut bytes) = (Vec::new(), Vec::new());
            put_varint(&mut duration, 1, *seconds);
            put_varint(&mut duration, 2, *nanos);
            put_bytes(&mut bytes, number, &duration);
            bytes
        };
        bad.iter().chain(more).map(field).collect::<Vec<_>>()
    };
    match field.name() {
        "user_id" | "session" | "jti" | "new_jti" | "except_session" | "request_id" | "consumption_id"
        | "challenge" | "credential_version" | "prefix" => texts(255, &[]),
        // Empty is no name.
        "name" => texts(255, &[]).split_off(1),
        "purpose" | "purposes" | "keep_purposes" => texts(64, &[]),
        "value" | "key" => texts(1024, &[]),
        "page_token" => {
            let forged = ["AAAA", "not base64!", "\0", &"A".repeat(64), &"A".repeat(5000)];
            let field = |text: &str| {
                let mut bytes = Vec::new();
                put_bytes(&mut bytes, number, text.as_bytes());
                bytes
            };
            forged.map(field).into()
        }
        "page_size" | "batch_size" => numbers(&[-1, i64::from(i32::MIN)]),
        "digits" => numbers(&[5, 11, 0, -1, i64::from(i32::MAX)]),
        "max_attempts" => numbers(&[0, -1, i64::from(i32::MIN)]),
        "state" => numbers(&[99, -1]),
        "reason" => numbers(&[99, -1, 2, 6]),
        "session_lifetime" | "idle_timeout" | "lifetime" => durations(&[(0, 0)]),
        "rotation_grace" | "older_than" => durations(&[]),
        "client" => {
            let not_addresses = [
                "",
                "nobody",
                "10.0.0.1:80",
                "fe80::1%eth0",
                "10.0.0.0/8",
                "1.2.3",
                "10.0.0.1\0",
                &"1".repeat(999),
            ];
            let field = |ip: &str| {
                let client = ClientInfo { ip: Some(ip.into()), ..Default::default() };
                let mut bytes = Vec::new();
                put_bytes(&mut bytes, number, &client.encode_to_vec());
                bytes
            };
            not_addresses.map(field).into()
        }
        // Any value is one, and absence is tried below; so is the list of messages.
        "enabled" | "active" | "keep_existing" | "keep_auth_tokens" | "replace" | "apply" | "sessions" => {
            Vec::new()
        }
        new => panic!("{new} has no rule here yet"),
    }
}

/// Its name in `BadRequest`.
fn path_of(field: &FieldDescriptorProto) -> String {
    match (field.name(), field.label()) {
        ("client", _) => "client.ip".to_owned(),
        (name, Label::Repeated) => format!("{name}[0]"),
        (name, _) => name.to_owned(),
    }
}

/// The fields that `BadRequest` names.
pub fn named(status: &Status) -> BTreeSet<String> {
    let details = status.get_details_bad_request().expect("BadRequest");
    details.field_violations.into_iter().map(|violation| violation.field).collect()
}

fn set<const N: usize>(fields: [&str; N]) -> BTreeSet<String> {
    fields.map(str::to_owned).into()
}

async fn assert_refused_naming(
    registry: &Registry,
    method: &Method,
    request: Vec<u8>,
    expected: &BTreeSet<String>,
) {
    let answer = call(&channel_of(registry), &method.path, request).await;
    let status = assert_refused(answer, Code::InvalidArgument, "INVALID_REQUEST");
    assert_eq!(&named(&status), expected, "{}: {status:?}", method.name);
}

fn channel_of(registry: &Registry) -> tonic::transport::Channel {
    channel(registry.address)
}

#[tokio::test]
async fn every_bad_value_of_every_field_of_every_method_is_refused_by_name_and_nothing_is_written() {
    let registry = seeded().await;
    let before = registry.contents().await;
    let channel = channel_of(&registry);
    for method in methods() {
        let good = good_request(&method.name);
        for field in &method.input.field {
            for bad in bad_values(field) {
                let expected = match (method.name.as_str(), field.name()) {
                    // The good request asks for digits.
                    ("IssueGenericToken", "value") => set(["digits", "value"]),
                    _ => [path_of(field)].into(),
                };
                let request = [good.clone(), bad].concat();
                let answer = call(&channel, &method.path, request).await;
                let status = assert_refused(answer, Code::InvalidArgument, "INVALID_REQUEST");
                assert_eq!(named(&status), expected, "{}.{}: {status:?}", method.name, field.name());
            }
        }
        assert_eq!(registry.contents().await, before, "{} has written", method.name);
    }
    assert_eq!(registry.check_session("ada", "laptop").await, TokenState::Active);
}

#[tokio::test]
async fn all_bad_fields_of_a_request_are_named_at_once() {
    let registry = seeded().await;
    let before = registry.contents().await;
    for method in methods() {
        let mut request = good_request(&method.name);
        let mut expected = BTreeSet::new();
        for field in &method.input.field {
            if let Some(bad) = bad_values(field).pop() {
                request.extend(bad);
                expected.insert(path_of(field));
            }
        }
        if !expected.is_empty() {
            assert_refused_naming(&registry, &method, request, &expected).await;
        }
    }
    assert_eq!(registry.contents().await, before);
}

#[tokio::test]
async fn an_empty_request_names_everything_that_it_lacks() {
    let registry = seeded().await;
    let before = registry.contents().await;
    for method in methods() {
        let expected = match method.name.as_str() {
            "AddRefreshToken" | "RotateRefreshToken" | "CheckRefreshToken" => {
                set(["user_id", "session", "jti"])
            }
            "CheckSession" | "GetRefreshToken" | "RevokeSession" => set(["user_id", "session"]),
            "SetRefreshTokenEnabled" => set(["user_id", "session", "enabled"]),
            "BatchCheckSessions" => set(["sessions"]),
            // They lack nothing.
            "PurgeExpired" | "GetStatistics" => continue,
            "IssueGenericToken" => set(["user_id", "purpose"]),
            "ConsumeGenericToken" | "CheckGenericToken" => set(["purpose", "value"]),
            "AuthenticateAuthToken" => set(["key"]),
            "SetUserActive" => set(["user_id", "active"]),
            "RevokeCredentials" => set(["user_id", "keep_auth_tokens"]),
            _ => set(["user_id"]),
        };
        assert_refused_naming(&registry, &method, Vec::new(), &expected).await;
    }
    assert_eq!(registry.contents().await, before);
}

#[tokio::test]
async fn a_batch_names_each_bad_question_by_its_place() {
    let registry = seeded().await;
    let question =
        |user_id: &str, session: &str| SessionQuestion { user_id: user_id.into(), session: session.into() };
    let ask = async |sessions: Vec<SessionQuestion>| {
        registry.whitelist.clone().batch_check_sessions(BatchCheckSessionsRequest { sessions }).await
    };
    let mut sessions = vec![question("ada", "laptop"); 500];
    sessions[3] = question("", "laptop");
    sessions[499] = question("a\0", &"s".repeat(256));
    assert_invalid(
        ask(sessions).await,
        &["sessions[3].user_id", "sessions[499].user_id", "sessions[499].session"],
    );
    // More than headers hold: the first are named, and how many more there are.
    let status = ask(vec![question("", "a\0"); 500]).await.unwrap_err();
    let named = status.get_details_bad_request().expect("BadRequest").field_violations;
    assert_eq!((named.len(), named[0].field.as_str()), (25, "sessions[0].user_id"));
    assert!(named[24].description.contains("976 more"), "{named:?}");
    assert!(status.message().len() + status.details().len() * 4 / 3 < 8000, "{status:?}");
    assert_invalid(ask(vec![question("ada", "laptop"); 501]).await, &["sessions"]);
    assert_invalid(ask(Vec::new()).await, &["sessions"]);
    // As long as 500 questions can be: four bytes a character.
    let longest = question(&"😀".repeat(255), &"😀".repeat(255));
    assert_eq!(ask(vec![longest; 500]).await.unwrap().into_inner().results.len(), 500);
}

#[tokio::test]
async fn what_contradicts_itself_names_both_sides() {
    let registry = seeded().await;
    let issue = |change: &dyn Fn(&mut IssueGenericTokenRequest)| {
        let mut request =
            IssueGenericTokenRequest { user_id: "ada".into(), purpose: "reset".into(), ..Default::default() };
        change(&mut request);
        let mut client = registry.generic.clone();
        async move { client.issue_generic_token(request).await }
    };
    let both = issue(&|r| {
        r.digits = Some(6);
        r.value = Some("my own".into());
    });
    assert_invalid(both.await, &["digits", "value"]);
    assert_invalid(issue(&|r| r.max_attempts = Some(3)).await, &["max_attempts"]);
    let code_without_user =
        ConsumeGenericTokenRequest { purpose: "reset".into(), value: "123456".into(), ..Default::default() };
    assert_invalid(registry.generic.clone().consume_generic_token(code_without_user).await, &["user_id"]);
    let code = CheckGenericTokenRequest {
        purpose: "reset".into(),
        value: "123456".into(),
        user_id: Some("ada".into()),
    };
    assert_invalid(registry.generic.clone().check_generic_token(code).await, &["value"]);
    assert_invalid(registry.rotate("ada", "laptop", "one", "one").await, &["new_jti"]);
}

#[tokio::test]
async fn too_many_purposes_are_refused_as_one_field() {
    let registry = seeded().await;
    let purposes = vec!["reset".to_owned(); 101];
    let revoke = RevokeGenericTokensRequest { user_id: "ada".into(), purposes: purposes.clone() };
    assert_invalid(registry.generic.clone().revoke_generic_tokens(revoke).await, &["purposes"]);
    let change = RevokeCredentialsRequest {
        user_id: "ada".into(),
        keep_auth_tokens: Some(true),
        keep_purposes: purposes,
        ..Default::default()
    };
    assert_invalid(registry.users.clone().revoke_credentials(change).await, &["keep_purposes"]);
}

#[tokio::test]
async fn a_page_token_of_another_query_is_a_forged_one() {
    let registry = seeded().await;
    registry.add("ada", "phone", "one").await.unwrap();
    registry.add("bob", "laptop", "one").await.unwrap();
    let list = async |user_id: &str, state: TokenState, page_token: String| {
        let request = ListRefreshTokensRequest {
            user_id: user_id.into(),
            page_size: 1,
            page_token,
            state: state.into(),
        };
        registry.whitelist.clone().list_refresh_tokens(request).await
    };
    let page = list("ada", TokenState::Unspecified, String::new()).await.unwrap().into_inner();
    let token = page.next_page_token;
    assert_ne!(token, "");
    list("ada", TokenState::Unspecified, token.clone()).await.unwrap();
    assert_invalid(list("bob", TokenState::Unspecified, token.clone()).await, &["page_token"]);
    assert_invalid(list("ada", TokenState::Active, token.clone()).await, &["page_token"]);
    let of_other_method =
        ListGenericTokensRequest { user_id: "ada".into(), page_token: token.clone(), ..Default::default() };
    assert_invalid(registry.generic.clone().list_generic_tokens(of_other_method).await, &["page_token"]);
    // Each character changed alone, but for the last one, whose low bits may mean nothing.
    for place in 0..token.len() - 1 {
        let mut changed = token.clone().into_bytes();
        changed[place] = if changed[place] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).unwrap();
        assert_invalid(list("ada", TokenState::Unspecified, changed).await, &["page_token"]);
    }
}

#[tokio::test]
async fn the_longest_identifiers_are_counted_in_characters_and_accepted() {
    let registry = seeded().await;
    let long = "😀".repeat(255);
    let added = registry.add(&long, &long, &long).await.unwrap();
    assert_eq!((added.user_id, added.session, added.jti), (long.clone(), long.clone(), long.clone()));
    let next = "ü".repeat(255);
    assert_eq!(registry.rotate(&long, &long, &long, &next).await.unwrap().token.unwrap().jti, next);
    let issue = IssueGenericTokenRequest {
        user_id: long.clone(),
        purpose: "😀".repeat(64),
        value: Some("😀".repeat(1024)),
        request_id: Some(long.clone()),
        ..Default::default()
    };
    registry.generic.clone().issue_generic_token(issue).await.unwrap();
    let consume = ConsumeGenericTokenRequest {
        purpose: "😀".repeat(64),
        value: "😀".repeat(1024),
        user_id: Some(long.clone()),
        challenge: None,
        consumption_id: Some(long.clone()),
    };
    registry.generic.clone().consume_generic_token(consume).await.unwrap();
}

#[tokio::test]
async fn a_strange_device_never_fails_a_login() {
    let registry = Registry::start().await;
    // The control characters that a text may hold, and a length that no column has.
    let strange = format!("a\0b\n\u{85}{}", "😀".repeat(10_000));
    let client = ClientInfo {
        browser: Some(strange.clone()),
        browser_version: Some(strange.clone()),
        os: Some(strange.clone()),
        os_version: Some(strange.clone()),
        device: Some(strange.clone()),
        device_brand: Some(strange.clone()),
        device_model: Some(strange.clone()),
        user_agent: Some(strange),
        ..Default::default()
    };
    let added = registry
        .add_as(AddRefreshTokenRequest {
            user_id: "ada".into(),
            session: "laptop".into(),
            jti: "one".into(),
            client: Some(client),
            ..Default::default()
        })
        .await
        .unwrap();
    let kept = added.base.unwrap().client.unwrap();
    assert_eq!(kept.browser.unwrap(), format!("ab{}", "😀".repeat(62)));
    assert_eq!(kept.user_agent, None);
}

/// Whether a field is a text, or several.
pub fn is_text(field: &FieldDescriptorProto) -> bool {
    field.r#type() == Type::String
}
