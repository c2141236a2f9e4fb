//! Why a command was not carried out.

use std::time::Duration;

use super::TokenState;
use super::fields::Violation;
use super::revocation::RevocationReason;

/// A command that was understood and is not carried out, by the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The user has no session of that name.
    SessionNotFound,
    /// There is no such user.
    UserNotFound,
    /// No such one-time token, or a wrong guess.
    TokenNotFound,
    /// No such API key.
    AuthTokenNotFound,
    /// The session exists with another jti.
    SessionExists,
    /// The user has an API key already.
    AuthTokenExists,
    /// A jti that may no longer be presented; the session is revoked.
    TokenReplayed,
    /// The session is switched off.
    TokenDisabled,
    /// The session was revoked, for this reason.
    SessionRevoked(RevocationReason),
    /// The session's absolute or idle lifetime is over.
    SessionExpired,
    /// The user is suspended.
    UserInactive,
    /// The user's credentials are no longer those that the login was judged by.
    CredentialsChanged,
    /// The one-time token's lifetime is over.
    TokenExpired,
    /// The one-time token was used before.
    TokenConsumed,
    /// The one-time token was revoked or replaced.
    TokenRevoked,
    /// Too many wrong guesses, at one code or in the window, which then ends after this time.
    AttemptsExhausted(Option<Duration>),
}

/// Why a call has no answer of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The request can't be right; these fields are wrong.
    Invalid(Vec<Violation>),
    /// The rules refuse it.
    Refused(Refusal),
    /// The database can't be reached; definitely not applied.
    DatabaseUnavailable,
    /// Too busy; definitely not applied.
    Overloaded,
    /// It may have been applied, or not.
    OutcomeUnknown,
    /// A fault of ours. The text is for our log, never for the caller.
    Fault(String),
}

impl Failure {
    /// One field can't be right.
    #[must_use]
    pub fn invalid(field: &str, problem: &str) -> Self {
        Self::Invalid(vec![Violation::new(field, problem)])
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Vec<Violation>> for Failure {
    fn from(violations: Vec<Violation>) -> Self {
        Self::Invalid(violations)
    }
}

impl Refusal {
    /// Why a session in this state takes no command; `None` where the state itself is no obstacle.
    #[must_use]
    pub fn of_session(state: TokenState, reason: Option<RevocationReason>) -> Option<Self> {
        match state {
            TokenState::UserInactive => Some(Self::UserInactive),
            TokenState::Revoked => Some(Self::SessionRevoked(reason.unwrap_or_default())),
            TokenState::Expired => Some(Self::SessionExpired),
            TokenState::Disabled => Some(Self::TokenDisabled),
            TokenState::Unknown => Some(Self::SessionNotFound),
            _ => None,
        }
    }

    /// Why a one-time token in this state can't be consumed; `None` where it can.
    #[must_use]
    pub fn of_generic_token(state: TokenState) -> Option<Self> {
        match state {
            TokenState::UserInactive => Some(Self::UserInactive),
            TokenState::Revoked => Some(Self::TokenRevoked),
            TokenState::Expired => Some(Self::TokenExpired),
            TokenState::Consumed => Some(Self::TokenConsumed),
            TokenState::AttemptsExhausted => Some(Self::AttemptsExhausted(None)),
            TokenState::Unknown => Some(Self::TokenNotFound),
            _ => None,
        }
    }
}
