//! The contract's table of errors: every reason is produced, with its status and its details.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;
use prost::Message as _;
use prost_types::FileDescriptorSet;
use token_registry::proto::{
    AddRefreshTokenRequest, ConsumeGenericTokenRequest, CreateUserRequest, DESCRIPTORS, GetUserRequest,
    IssueGenericTokenRequest, RevocationReason, RevokeCredentialsRequest, RevokeSessionRequest,
    RotateRefreshTokenRequest, SetRefreshTokenEnabledRequest, SetUserActiveRequest,
};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::support::wire::{exchange, framed};
use crate::support::{Registry, assert_refused};

const ROTATE: &str = "/tokenregistry.v1.WhitelistService/RotateRefreshToken";

/// What a scenario gets: a registry of its own, and what it is refused with at last.
async fn refusal(reason: &str) -> Status {
    let registry = Registry::start_with(|config| config.max_sessions_per_user = 2).await;
    match reason {
        "INVALID_REQUEST" => registry.add("", "laptop", "one").await.unwrap_err(),
        "SESSION_NOT_FOUND" => registry.rotate("ada", "laptop", "one", "two").await.unwrap_err(),
        "USER_NOT_FOUND" => {
            let get = GetUserRequest { user_id: "ada".into() };
            registry.users.clone().get_user(get).await.unwrap_err()
        }
        "SESSION_EXISTS" => {
            registry.add("ada", "laptop", "one").await.unwrap();
            registry.add("ada", "laptop", "two").await.unwrap_err()
        }
        "TOKEN_REPLAYED" => {
            registry.add("ada", "laptop", "one").await.unwrap();
            registry.rotate("ada", "laptop", "zero", "two").await.unwrap_err()
        }
        "TOKEN_DISABLED" => {
            registry.add("ada", "laptop", "one").await.unwrap();
            let disable = SetRefreshTokenEnabledRequest {
                user_id: "ada".into(),
                session: "laptop".into(),
                enabled: Some(false),
            };
            registry.whitelist.clone().set_refresh_token_enabled(disable).await.unwrap();
            registry.rotate("ada", "laptop", "one", "two").await.unwrap_err()
        }
        "SESSION_REVOKED" => {
            registry.add("ada", "laptop", "one").await.unwrap();
            registry.log_out("ada", "laptop").await;
            registry.rotate("ada", "laptop", "one", "two").await.unwrap_err()
        }
        "SESSION_EXPIRED" => {
            registry.add("ada", "laptop", "one").await.unwrap();
            registry.sql().await.execute("update sessions set idle_expires = now()", &[]).await.unwrap();
            registry.rotate("ada", "laptop", "one", "two").await.unwrap_err()
        }
        "USER_INACTIVE" => {
            set_active(&registry, false).await;
            registry.add("ada", "laptop", "one").await.unwrap_err()
        }
        "CREDENTIALS_CHANGED" => {
            let create = CreateUserRequest { user_id: "ada".into() };
            registry.users.clone().create_user(create).await.unwrap();
            let add = AddRefreshTokenRequest {
                user_id: "ada".into(),
                session: "laptop".into(),
                jti: "one".into(),
                credential_version: Some("another".into()),
                ..Default::default()
            };
            registry.add_as(add).await.unwrap_err()
        }
        "OUTCOME_UNKNOWN" => {
            registry.add("ada", "laptop", "one").await.unwrap();
            let mut other = registry.sql().await;
            let lock = other.transaction().await.unwrap();
            lock.execute("select from sessions for update", &[]).await.unwrap();
            let rotate = RotateRefreshTokenRequest {
                user_id: "ada".into(),
                session: "laptop".into(),
                jti: "one".into(),
                ..Default::default()
            };
            exchange(registry.address, ROTATE, &[("grpc-timeout", "300m")], framed(&rotate)).await.status()
        }
        "OVERLOADED" => {
            let short = |config: &mut token_registry::config::Config| {
                config.lock_timeout = std::time::Duration::from_millis(20);
            };
            let registry = Registry::start_with(short).await;
            registry.add("ada", "laptop", "one").await.unwrap();
            let mut other = registry.sql().await;
            let lock = other.transaction().await.unwrap();
            lock.execute("select from sessions for update", &[]).await.unwrap();
            registry.rotate("ada", "laptop", "one", "two").await.unwrap_err()
        }
        "DATABASE_UNAVAILABLE" => {
            // Nothing listens on port 1.
            let registry =
                Registry::launch("postgres://nobody@127.0.0.1:1/nothing", |_| {}, || unreachable!()).await;
            registry.add("ada", "laptop", "one").await.unwrap_err()
        }
        _ => refusal_of_a_code(&registry, reason).await,
    }
}

async fn refusal_of_a_code(registry: &Registry, reason: &str) -> Status {
    let value = issue(registry).await;
    let sql = registry.sql().await;
    match reason {
        "TOKEN_NOT_FOUND" => consume(registry, "no such value").await.unwrap_err(),
        "TOKEN_EXPIRED" => {
            sql.execute("update generic_tokens set expires = now()", &[]).await.unwrap();
            consume(registry, &value).await.unwrap_err()
        }
        "TOKEN_CONSUMED" => {
            consume(registry, &value).await.unwrap();
            consume(registry, &value).await.unwrap_err()
        }
        "TOKEN_REVOKED" => {
            issue(registry).await;
            consume(registry, &value).await.unwrap_err()
        }
        "ATTEMPTS_EXHAUSTED" => {
            for _ in 0..5 {
                assert_refused(consume(registry, "wrong").await, Code::NotFound, "TOKEN_NOT_FOUND");
            }
            consume(registry, &value).await.unwrap_err()
        }
        new => panic!("{new} is produced by nothing here yet"),
    }
}

async fn set_active(registry: &Registry, active: bool) {
    let set = SetUserActiveRequest { user_id: "ada".into(), active: Some(active) };
    registry.users.clone().set_user_active(set).await.unwrap();
}

async fn issue(registry: &Registry) -> String {
    let issue = IssueGenericTokenRequest {
        user_id: "ada".into(),
        purpose: "login".into(),
        digits: Some(8),
        ..Default::default()
    };
    registry.generic.clone().issue_generic_token(issue).await.unwrap().into_inner().value
}

async fn consume(registry: &Registry, value: &str) -> Result<(), Status> {
    let consume = ConsumeGenericTokenRequest {
        purpose: "login".into(),
        value: value.into(),
        user_id: Some("ada".into()),
        ..Default::default()
    };
    registry.generic.clone().consume_generic_token(consume).await.map(|_| ())
}

#[tokio::test]
async fn every_reason_of_the_contract_comes_with_its_status() {
    let table: BTreeMap<&str, Code> = [
        ("INVALID_REQUEST", Code::InvalidArgument),
        ("SESSION_NOT_FOUND", Code::NotFound),
        ("USER_NOT_FOUND", Code::NotFound),
        ("TOKEN_NOT_FOUND", Code::NotFound),
        ("SESSION_EXISTS", Code::AlreadyExists),
        ("TOKEN_REPLAYED", Code::FailedPrecondition),
        ("TOKEN_DISABLED", Code::FailedPrecondition),
        ("SESSION_REVOKED", Code::FailedPrecondition),
        ("SESSION_EXPIRED", Code::FailedPrecondition),
        ("USER_INACTIVE", Code::FailedPrecondition),
        ("CREDENTIALS_CHANGED", Code::FailedPrecondition),
        ("TOKEN_EXPIRED", Code::FailedPrecondition),
        ("TOKEN_CONSUMED", Code::FailedPrecondition),
        ("TOKEN_REVOKED", Code::FailedPrecondition),
        ("ATTEMPTS_EXHAUSTED", Code::ResourceExhausted),
        ("DATABASE_UNAVAILABLE", Code::Unavailable),
        ("OVERLOADED", Code::Unavailable),
        ("OUTCOME_UNKNOWN", Code::DeadlineExceeded),
    ]
    .into();
    // The .proto names the same reasons, but for those of the API keys, which come with their service, and the one
    // that no call may ever produce.
    let not_here = ["UNSPECIFIED", "AUTH_TOKEN_NOT_FOUND", "AUTH_TOKEN_EXISTS", "INTERNAL"];
    // What needs a registry that tells callers apart is in tests/callers.rs.
    let not_here = [&not_here[..], &["UNAUTHENTICATED", "PERMISSION_DENIED"]].concat();
    let mut declared = declared_reasons();
    declared.retain(|reason| !not_here.contains(&reason.as_str()));
    assert_eq!(declared, table.keys().map(ToString::to_string).collect());

    let refusals = join_all(table.keys().map(|reason| refusal(reason))).await;
    for ((reason, code), status) in table.into_iter().zip(refusals) {
        let status = assert_refused::<()>(Err(status), code, reason);
        assert!(!status.message().is_empty());
        let retry = status.get_details_retry_info().and_then(|retry| retry.retry_delay);
        assert_eq!(retry.is_some(), code == Code::Unavailable, "{reason}: RetryInfo");
    }
}

fn declared_reasons() -> BTreeSet<String> {
    let set = FileDescriptorSet::decode(DESCRIPTORS).unwrap();
    let enums = set.file.iter().flat_map(|file| &file.enum_type);
    let reasons = enums.into_iter().find(|declared| declared.name() == "ErrorReason").unwrap();
    let name = |name: &str| name.strip_prefix("ERROR_REASON_").unwrap().to_owned();
    reasons.value.iter().map(|value| name(value.name())).collect()
}

fn revocation_reason(status: &Status) -> String {
    status.get_details_error_info().unwrap().metadata["revocation_reason"].clone()
}

#[tokio::test]
async fn a_revoked_session_is_refused_with_the_reason_it_was_revoked_for() {
    let registry = Registry::start_with(|config| config.max_sessions_per_user = 1).await;
    let refused = async |user: &str, expected: &str| {
        for refused in [
            registry.rotate(user, "laptop", "one", "two").await.map(|_| ()),
            registry.add(user, "laptop", "one").await.map(|_| ()),
        ] {
            let status = assert_refused(refused, Code::FailedPrecondition, "SESSION_REVOKED");
            assert_eq!(revocation_reason(&status), expected);
        }
    };
    for reason in [
        RevocationReason::Unspecified,
        RevocationReason::Logout,
        RevocationReason::CredentialChange,
        RevocationReason::UserDeactivated,
        RevocationReason::Administrative,
    ] {
        let name = reason.as_str_name().strip_prefix("REVOCATION_REASON_").unwrap();
        registry.add(name, "laptop", "one").await.unwrap();
        let revoke =
            RevokeSessionRequest { user_id: name.into(), session: "laptop".into(), reason: reason.into() };
        registry.whitelist.clone().revoke_session(revoke).await.unwrap();
        refused(name, name).await;
    }

    registry.add("bob", "laptop", "one").await.unwrap();
    registry.rotate("bob", "laptop", "zero", "two").await.unwrap_err();
    refused("bob", "REPLAY").await;

    registry.add("eve", "laptop", "one").await.unwrap();
    registry.add("eve", "phone", "one").await.unwrap();
    refused("eve", "SESSION_LIMIT").await;

    registry.add("ada", "laptop", "one").await.unwrap();
    let change = RevokeCredentialsRequest {
        user_id: "ada".into(),
        keep_auth_tokens: Some(true),
        ..Default::default()
    };
    registry.users.clone().revoke_credentials(change).await.unwrap();
    refused("ada", "CREDENTIAL_CHANGE").await;

    // A suspension is told before the revocation that it caused.
    registry.add("ada", "phone", "one").await.unwrap();
    set_active(&registry, false).await;
    let suspended = registry.rotate("ada", "phone", "one", "two").await;
    assert_refused(suspended, Code::FailedPrecondition, "USER_INACTIVE");
    set_active(&registry, true).await;
    let revived = registry.rotate("ada", "phone", "one", "two").await;
    let status = assert_refused(revived, Code::FailedPrecondition, "SESSION_REVOKED");
    assert_eq!(revocation_reason(&status), "USER_DEACTIVATED");
}

#[tokio::test]
async fn a_used_up_window_of_guesses_says_how_long_it_lasts() {
    let registry = Registry::start_with(|config| config.generic_tokens.window_attempts = 1).await;
    issue(&registry).await;
    assert_refused(consume(&registry, "wrong").await, Code::NotFound, "TOKEN_NOT_FOUND");
    let refused = consume(&registry, "wrong").await;
    let status = assert_refused(refused, Code::ResourceExhausted, "ATTEMPTS_EXHAUSTED");
    let seconds: u64 =
        status.get_details_error_info().unwrap().metadata["retry_after_seconds"].parse().unwrap();
    assert!((1..=24 * 3600).contains(&seconds), "{seconds}");
}

#[tokio::test]
async fn no_message_carries_sql_or_a_value() {
    let registry = Registry::start().await;
    // A fault on purpose: the column that a rotation writes is gone.
    registry.add("ada", "laptop", "one").await.unwrap();
    let sql = registry.sql().await;
    sql.batch_execute("alter table sessions rename column grace_count to gone").await.unwrap();
    let failed = registry.rotate("ada", "laptop", "one", "a-canary").await;
    let status = assert_refused(failed, Code::Internal, "INTERNAL");
    let said = format!("{status:?}").to_lowercase();
    for word in ["grace_count", "sqlstate", "update", "sessions", "a-canary", "column", ".rs"] {
        assert!(!said.contains(word), "{word} in {said}");
    }
}
