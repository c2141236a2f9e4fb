//! Users, as far as tokens are concerned.

use std::time::SystemTime;

/// What the registry knows of a subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The caller's name of the user.
    pub user_id: String,
    /// False while suspended.
    pub active: bool,
    /// Moves when the user's credentials are revoked or the user is suspended. Shown to callers as an opaque text.
    pub credential_version: i64,
    /// When the registry first heard of the user.
    pub created: SystemTime,
}

/// Counts of a user's things, by kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Sessions.
    pub sessions: i64,
    /// One-time tokens.
    pub generic_tokens: i64,
    /// API keys.
    pub auth_tokens: i64,
}
