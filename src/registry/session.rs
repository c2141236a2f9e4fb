//! Sessions and the rotation of their refresh tokens.

use std::time::{Duration, SystemTime};

use super::identifiers::{CredentialVersion, Jti, SessionName, UserId};
use super::refusal::Refusal;
use super::revocation::RevocationReason;
use super::{Limits, TokenState};
use crate::client_info::ClientInfo;

/// What decides whether a session is live, as of one moment of the database's clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Life {
    /// The seed's switch.
    pub enabled: bool,
    /// When the session ends whatever happens.
    pub session_expires: SystemTime,
    /// When it ends without a rotation.
    pub idle_expires: SystemTime,
    /// Whether it was revoked.
    pub revoked: bool,
    /// Whether its user is active. Known of a live session: an inactive user has none.
    pub user_active: bool,
    /// The moment of reading.
    pub as_of: SystemTime,
}

impl Life {
    /// The session's state, by the contract's order.
    #[must_use]
    pub fn state(&self) -> TokenState {
        if !self.user_active {
            TokenState::UserInactive
        } else if self.revoked {
            TokenState::Revoked
        } else if self.session_expires <= self.as_of || self.idle_expires <= self.as_of {
            TokenState::Expired
        } else if !self.enabled {
            TokenState::Disabled
        } else {
            TokenState::Active
        }
    }

    /// Whether the session is live: a disabled one is.
    #[must_use]
    pub fn is_live(&self) -> bool {
        matches!(self.state(), TokenState::Active | TokenState::Disabled)
    }
}

/// One session's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// The row's number, kept over rotations.
    pub id: i64,
    /// Whose session.
    pub user_id: String,
    /// The caller's name of it.
    pub session: String,
    /// The one jti that may be presented now.
    pub jti: String,
    /// The jti before the last rotation.
    pub previous_jti: Option<String>,
    /// When the current jti was issued: the time of the last rotation.
    pub created: SystemTime,
    /// When the session was opened.
    pub session_created: SystemTime,
    /// Its own grace, before the configured cap.
    pub rotation_grace: Duration,
    /// How many times the jti was rotated.
    pub rotations: i64,
    /// How many answers were given inside the grace window.
    pub grace_count: i64,
    /// When and why it was revoked.
    pub revocation: Option<(SystemTime, RevocationReason)>,
    /// The client it was issued to.
    pub client: ClientInfo,
    /// What decides whether it is live.
    pub life: Life,
}

impl Session {
    /// State of one jti of this session, by the contract's order.
    #[must_use]
    pub fn state_of(&self, jti: &Jti) -> TokenState {
        if self.life.is_live() && self.jti != jti.as_str() {
            TokenState::Superseded
        } else {
            self.life.state()
        }
    }

    /// Why the session takes no command that a disabled one would take; `None` if it is live.
    #[must_use]
    pub fn refusal_if_dead(&self) -> Option<Refusal> {
        if self.life.is_live() {
            return None;
        }
        Refusal::of_session(self.life.state(), self.revocation.map(|(_, reason)| reason))
    }
}

/// A request to open a session.
#[derive(Debug, Clone)]
pub struct Opening {
    /// Whose session.
    pub user_id: UserId,
    /// The caller's name of it.
    pub session: SessionName,
    /// Its first jti.
    pub jti: Jti,
    /// Whether it starts switched on.
    pub enabled: bool,
    /// The client that logged in.
    pub client: ClientInfo,
    /// How long it may live, already capped.
    pub session_lifetime: Duration,
    /// How long it may live without a rotation, already capped.
    pub idle_timeout: Duration,
    /// Its grace, already capped.
    pub rotation_grace: Duration,
    /// The version of the user's credentials that the login was judged by.
    pub credential_version: Option<CredentialVersion>,
}

/// A request to rotate.
#[derive(Debug, Clone)]
pub struct Rotation {
    /// Whose session.
    pub user_id: UserId,
    /// Which session.
    pub session: SessionName,
    /// The jti presented.
    pub jti: Jti,
    /// Its successor: the caller's, or minted.
    pub new_jti: Jti,
    /// The client that presented it, if it was told.
    pub client: Option<ClientInfo>,
}

/// How a rotation was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RotationOutcome {
    /// The jti was current and was swapped.
    Rotated,
    /// The last rotation's own pair again; nothing changed.
    Retried,
    /// The immediate predecessor, in time; the winner's jti is the answer.
    Grace,
}

impl Rotation {
    /// The answer of a rotation whose conditional write changed this row.
    ///
    /// # Errors
    /// The write revoked the session: a replay.
    pub fn written(&self, row: Session) -> Result<(Session, RotationOutcome), Refusal> {
        if row.revocation.is_some() {
            return Err(Refusal::TokenReplayed);
        }
        let is_ours = row.jti == self.new_jti.as_str();
        Ok((row, if is_ours { RotationOutcome::Rotated } else { RotationOutcome::Grace }))
    }

    /// Explains why the conditional write changed nothing, from the row as it is now.
    #[must_use]
    pub fn explain(&self, row: Option<&Session>, limits: &Limits) -> Explanation {
        let Some(row) = row else {
            return Explanation::Refused(Refusal::SessionNotFound);
        };
        if let Some(refusal) = row.refusal_if_dead() {
            return Explanation::Refused(refusal);
        }
        let is_current = row.jti == self.jti.as_str();
        let is_predecessor = row.previous_jti.as_deref() == Some(self.jti.as_str());
        let grace = row.rotation_grace.min(limits.rotation_grace);
        let within = |window: Duration| row.created + window > row.life.as_of;
        let is_retry =
            is_predecessor && row.jti == self.new_jti.as_str() && within(grace.max(limits.retry_window));
        if !(is_current || is_retry || is_predecessor && within(grace)) {
            return Explanation::Again;
        }
        if !row.life.enabled {
            Explanation::Refused(Refusal::TokenDisabled)
        } else if is_retry {
            Explanation::Retried
        } else if is_current && row.previous_jti.as_deref() == Some(self.new_jti.as_str()) {
            Explanation::NewJtiWasPrevious
        } else {
            Explanation::Again
        }
    }
}

/// Why a rotation changed nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Explanation {
    /// The last rotation's own pair again: the row is the answer.
    Retried,
    /// The rules refuse it.
    Refused(Refusal),
    /// The suggested successor is the jti before this one.
    NewJtiWasPrevious,
    /// By this row it would be written: something changed in between, so try again. Never a verdict.
    Again,
}

#[cfg(test)]
mod tests;
