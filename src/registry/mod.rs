//! The domain: what sessions, one-time tokens and users are, and by which rules they live and end.
//!
//! Nothing here knows of gRPC or SQL, reads a clock or draws a random number of its own: times come with the rows (the
//! database's clock) and randomness is a parameter, so every rule can be tried with made-up rows.

pub mod auth_token;
pub mod fields;
pub mod generic_token;
pub mod identifiers;
pub mod limits;
pub mod maintenance;
pub mod page;
pub mod refusal;
pub mod revocation;
pub mod secrets;
pub mod session;
pub mod user;

pub use auth_token::AuthToken;
pub use fields::{Fields, Violation};
pub use generic_token::GenericToken;
pub use identifiers::{
    Challenge, ConsumptionId, CredentialVersion, Jti, KeyName, KeyPrefix, Purpose, RequestId, SessionName,
    UserId,
};
pub use limits::Limits;
pub use refusal::{Failure, Refusal};
pub use revocation::RevocationReason;
pub use session::Session;
pub use user::{Counts, User};

/// What may be done with a token now, and why not. Only [`TokenState::Active`] permits anything.
///
/// The same names as `tokenregistry.v1.TokenState`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenState {
    /// May be used now.
    Active,
    /// Switched off for now, reversibly.
    Disabled,
    /// The user is suspended.
    UserInactive,
    /// Past its lifetime, or its session's absolute or idle lifetime.
    Expired,
    /// Revoked, or replaced by a newer one.
    Revoked,
    /// Of a live session, but not the jti that may be presented now.
    Superseded,
    /// A one-time token that was used.
    Consumed,
    /// A code that was guessed wrong too often.
    AttemptsExhausted,
    /// The registry has no such token.
    Unknown,
}
