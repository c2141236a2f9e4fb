//! The only place that makes a gRPC status.

use std::collections::HashMap;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::DOMAIN;
use crate::access::Denied;
use crate::registry::{Failure, Refusal, Violation};

/// The reason of refusals that come in floods.
pub const OVERLOADED: &str = "OVERLOADED";

/// After how long a refused caller may try again.
const RETRY_AFTER: Duration = Duration::from_millis(200);

/// The status of a call that has no answer of its own.
pub fn of(failure: Failure) -> Status {
    match failure {
        Failure::Invalid(violations) => invalid(&violations),
        Failure::Refused(refusal) => refused(refusal),
        Failure::DatabaseUnavailable => {
            retriable("DATABASE_UNAVAILABLE", "the database can't be reached; nothing was changed: try again")
        }
        Failure::Overloaded => {
            retriable(OVERLOADED, "the registry is too busy; nothing was changed: try again later")
        }
        Failure::OutcomeUnknown => {
            let details = ErrorDetails::with_error_info("OUTCOME_UNKNOWN", DOMAIN, HashMap::new());
            Status::with_error_details(
                Code::DeadlineExceeded,
                "the outcome is unknown: it may have been carried out; send the same request again, or look",
                details,
            )
        }
        Failure::Fault(text) => {
            // For us, not for the caller.
            tracing::error!(fault = %text, "internal error");
            fault()
        }
    }
}

/// A fault of ours.
pub fn fault() -> Status {
    let details = ErrorDetails::with_error_info("INTERNAL", DOMAIN, HashMap::new());
    Status::with_error_details(
        Code::Internal,
        "a fault in the registry: please report it with the x-request-id of this answer",
        details,
    )
}

/// A call that may not be made.
pub fn denied(denied: &Denied) -> Status {
    let (code, reason, message) = match denied {
        Denied::Nobody => (
            Code::Unauthenticated,
            "UNAUTHENTICATED",
            "callers are told apart here: bring a key or JWT (authorization: Bearer ...) or a certificate",
        ),
        Denied::Unknown | Denied::Unverified | Denied::UnknownKey => (
            Code::Unauthenticated,
            "UNAUTHENTICATED",
            "the key, JWT or certificate is of no caller known here",
        ),
        Denied::Role(_) => {
            (Code::PermissionDenied, "PERMISSION_DENIED", "the caller has no role that may call this")
        }
    };
    Status::with_error_details(code, message, ErrorDetails::with_error_info(reason, DOMAIN, HashMap::new()))
}

/// Most bad fields that a refusal names. It goes into HTTP/2 headers, of which many clients take 8 KiB and no more: with all
/// bad questions of a batch in it they saw a broken connection.
const NAMED_MAX: usize = 24;

/// A request that can't be right.
pub fn invalid(violations: &[Violation]) -> Status {
    let (named, more) = violations.split_at(violations.len().min(NAMED_MAX));
    let mut violations = named.to_vec();
    if !more.is_empty() {
        violations.push(Violation::new("", format!("has {} more fields that are wrong", more.len())));
    }
    let mut details = ErrorDetails::with_error_info("INVALID_REQUEST", DOMAIN, HashMap::new());
    for violation in &violations {
        details.add_bad_request_violation(&violation.field, &violation.problem);
    }
    let told: Vec<String> = violations
        .iter()
        .map(|violation| match violation.field.as_str() {
            "" => format!("the request {}", violation.problem),
            field => format!("{field} {}", violation.problem),
        })
        .collect();
    Status::with_error_details(
        Code::InvalidArgument,
        format!("invalid request: {}", told.join("; ")),
        details,
    )
}

fn retriable(reason: &str, message: &str) -> Status {
    let mut details = ErrorDetails::with_error_info(reason, DOMAIN, HashMap::new());
    details.set_retry_info(Some(RETRY_AFTER));
    Status::with_error_details(Code::Unavailable, message, details)
}

fn refused(refusal: Refusal) -> Status {
    use Code::{AlreadyExists, FailedPrecondition, NotFound, ResourceExhausted};
    let mut metadata = HashMap::new();
    let (code, reason, message) = match refusal {
        Refusal::SessionNotFound => {
            (NotFound, "SESSION_NOT_FOUND", "the user has no such session: log in again")
        }
        Refusal::UserNotFound => (NotFound, "USER_NOT_FOUND", "there is no such user"),
        Refusal::TokenNotFound => (NotFound, "TOKEN_NOT_FOUND", "there is no such token"),
        Refusal::AuthTokenNotFound => (NotFound, "AUTH_TOKEN_NOT_FOUND", "there is no such API key"),
        Refusal::AuthTokenExists => (
            AlreadyExists,
            "AUTH_TOKEN_EXISTS",
            "the user has an API key already: ask for `replace` to have another one in its place",
        ),
        Refusal::SessionExists => (AlreadyExists, "SESSION_EXISTS", "the session exists with another jti"),
        Refusal::TokenReplayed => (
            FailedPrecondition,
            "TOKEN_REPLAYED",
            "a refresh token that may no longer be presented was presented; the session is revoked: log in again",
        ),
        Refusal::TokenDisabled => {
            (FailedPrecondition, "TOKEN_DISABLED", "the session is switched off for now")
        }
        Refusal::SessionRevoked(why) => {
            metadata.insert("revocation_reason".to_owned(), why.name().to_owned());
            (FailedPrecondition, "SESSION_REVOKED", "the session was revoked: log in again")
        }
        Refusal::SessionExpired => {
            (FailedPrecondition, "SESSION_EXPIRED", "the session is over: log in again")
        }
        Refusal::UserInactive => (FailedPrecondition, "USER_INACTIVE", "the user is suspended"),
        Refusal::CredentialsChanged => (
            FailedPrecondition,
            "CREDENTIALS_CHANGED",
            "the user's credentials changed during this login: begin again",
        ),
        Refusal::TokenExpired => {
            (FailedPrecondition, "TOKEN_EXPIRED", "the token is no longer good: ask for a new one")
        }
        Refusal::TokenConsumed => (FailedPrecondition, "TOKEN_CONSUMED", "the token was used before"),
        Refusal::TokenRevoked => {
            (FailedPrecondition, "TOKEN_REVOKED", "the token was revoked or replaced by a newer one")
        }
        Refusal::AttemptsExhausted(remaining) => {
            if let Some(remaining) = remaining {
                metadata.insert("retry_after_seconds".to_owned(), remaining.as_secs().to_string());
            }
            (ResourceExhausted, "ATTEMPTS_EXHAUSTED", "too many wrong guesses: stop trying")
        }
    };
    Status::with_error_details(code, message, ErrorDetails::with_error_info(reason, DOMAIN, metadata))
}

/// What a status that the transport made is for our callers: a message that is too long is their fault.
pub fn of_transport(status: &Status) -> Option<Status> {
    if !status.details().is_empty() {
        return None; // ours
    }
    match status.code() {
        Code::OutOfRange | Code::ResourceExhausted => {
            Some(invalid(&[Violation::new("", "is longer than this service takes")]))
        }
        // Framing that can't be read: tonic calls it internal, but it is the caller's.
        Code::Internal => Some(invalid(&[Violation::new("", "is not a readable gRPC message")])),
        _ => None,
    }
}

/// The machine-readable reason of a status of ours.
pub fn reason(status: &Status) -> Option<String> {
    status.get_details_error_info().map(|info| info.reason)
}
