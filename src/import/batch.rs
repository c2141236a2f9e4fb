//! Rows of the other side, parsed, and what became of them.

use std::time::{Duration, SystemTime};

use super::rules::Kept;
use super::tokens::KeptValue;
use crate::client_info::ClientInfo;
use crate::registry::{Challenge, Jti, Purpose, SessionName, UserId};

/// A user there.
#[derive(Debug, Clone)]
pub struct OldUser {
    /// The registry's name of the user.
    pub user_id: UserId,
    /// The primary key there, as text.
    pub key: String,
    /// Whether the user may log in.
    pub active: bool,
}

/// A refresh token there: the newest of its session.
#[derive(Debug, Clone)]
pub struct OldSession {
    /// The row's primary key there, as text.
    pub key: String,
    /// Whose.
    pub user_id: UserId,
    /// Of which session.
    pub session: SessionName,
    /// What names it.
    pub jti: Jti,
    /// The switch.
    pub enabled: bool,
    /// When it was issued.
    pub created: SystemTime,
    /// The client that it was issued to.
    pub client: ClientInfo,
}

/// A one-time token there. No `Debug`: the digest of a short value can be searched.
#[derive(Clone)]
pub struct OldToken {
    /// The row's primary key there, as text.
    pub key: String,
    /// Whose.
    pub user_id: UserId,
    /// What it is good for.
    pub purpose: Purpose,
    /// What is kept of the value.
    pub value: KeptValue,
    /// Its public name here.
    pub challenge: Challenge,
    /// When it was issued.
    pub created: SystemTime,
    /// How long it is good.
    pub lifetime: Duration,
    /// Wrong guesses it stands; 0 of a secret.
    pub max_attempts: i32,
    /// The client that it was issued to.
    pub client: ClientInfo,
}

/// A key of `rest_framework.authtoken` there. No `Debug`: it is a secret.
#[derive(Clone)]
pub struct OldKey {
    /// Whose.
    pub user_id: UserId,
    /// What is kept of it.
    pub digest: [u8; 32],
    /// Its public name here.
    pub prefix: String,
    /// When it was made.
    pub created: SystemTime,
}

/// Some users with all of theirs, or with a part of it if they have very much.
#[derive(Default)]
pub struct Batch {
    /// The users, all that the other rows name.
    pub users: Vec<OldUser>,
    /// Their sessions.
    pub sessions: Vec<OldSession>,
    /// Their one-time tokens.
    pub tokens: Vec<OldToken>,
    /// Their API keys.
    pub keys: Vec<OldKey>,
}

impl Batch {
    /// How many rows hang on the users.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.sessions.len() + self.tokens.len() + self.keys.len()
    }
}

/// What became of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is here now.
    New {
        /// It came as ended: its user is suspended, or credentials changed or a newer token was issued here since.
        ended: bool,
        /// Its lifetime is counted from now.
        from_now: bool,
        /// Its lifetime is over.
        expired: bool,
    },
    /// It was here, and follows the other side.
    Changed,
    /// It is here as it is there, or nothing has happened there.
    Same,
    /// It stays as the registry has it.
    Kept(Kept),
    /// A one-time token whose value is here already.
    ValueIsHere,
    /// An API key whose user has another one here.
    OtherKeyIsHere,
}

/// What became of a batch, row by row in its order.
#[derive(Debug, Default)]
pub struct Fates {
    /// Of the users.
    pub users: Vec<Fate>,
    /// Of the sessions.
    pub sessions: Vec<Fate>,
    /// Of the one-time tokens.
    pub tokens: Vec<Fate>,
    /// Of the API keys.
    pub keys: Vec<Fate>,
}

/// By which terms rows come.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// The lifetimes of sessions.
    pub lifetimes: super::rules::Lifetimes,
    /// The grace of a predecessor, which imported sessions get.
    pub rotation_grace: Duration,
    /// Whether one-time tokens that are over get their lifetime anew.
    pub renew_expired_tokens: bool,
    /// Whether all is undone in the end.
    pub dry_run: bool,
}
