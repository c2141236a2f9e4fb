//! The specification of one session: which jti may be presented now, and what becomes of the others.

use super::words::{
    Answer, ErrorReason as E, Made, Name, RevocationReason, RotationOutcome, SessionRow, TokenState,
};

/// A session that was opened. Its user is active, or it is revoked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Session {
    /// The one jti that may be presented now.
    jti: Name,
    /// The one before the last rotation.
    previous: Option<Name>,
    enabled: bool,
    /// Without grace for the predecessor.
    strict: bool,
    rotations: i64,
    graces: i64,
    revoked: Option<RevocationReason>,
}

impl Session {
    pub fn open(jti: Name, enabled: bool, strict: bool) -> Self {
        Self { jti, previous: None, enabled, strict, rotations: 0, graces: 0, revoked: None }
    }

    pub fn is_live(&self) -> bool {
        self.revoked.is_none()
    }

    pub fn state(&self, user_active: bool) -> TokenState {
        if !user_active {
            TokenState::UserInactive
        } else if !self.is_live() {
            TokenState::Revoked
        } else if !self.enabled {
            TokenState::Disabled
        } else {
            TokenState::Active
        }
    }

    /// Why it takes no commands; `None` while it is live.
    fn refusal(&self, user_active: bool) -> Option<Answer> {
        if !user_active {
            return Some(Answer::refused(E::UserInactive));
        }
        self.revoked.map(|reason| Answer::Refused(E::SessionRevoked, reason))
    }

    pub fn row(&self, user_active: bool) -> SessionRow {
        SessionRow {
            jti: self.jti,
            enabled: self.enabled,
            state: self.state(user_active),
            rotations: self.rotations,
            graces: self.graces,
            reason: self.revoked.unwrap_or_default(),
        }
    }

    /// The same Add again is a safe retry while the session lives.
    pub fn opened_again(&self, jti: Name, user_active: bool) -> Answer {
        if jti != self.jti {
            return Answer::refused(E::SessionExists);
        }
        self.refusal(user_active).unwrap_or_else(|| Answer::Session(self.row(user_active)))
    }

    /// The rules of rotation: the first that matches.
    pub fn rotate(&mut self, jti: Name, new_jti: Option<Name>, made: Made, user_active: bool) -> Answer {
        if new_jti == Some(jti) {
            return Answer::refused(E::InvalidRequest);
        }
        if let Some(refusal) = self.refusal(user_active) {
            return refusal;
        }
        let is_predecessor = self.previous == Some(jti);
        let is_retry = is_predecessor && new_jti == Some(self.jti);
        let is_in_grace = is_predecessor && !self.strict;
        if jti != self.jti && !is_retry && !is_in_grace {
            self.revoke(RevocationReason::Replay);
            return Answer::refused(E::TokenReplayed);
        }
        if !self.enabled {
            return Answer::refused(E::TokenDisabled);
        }
        let outcome = if is_retry {
            RotationOutcome::Retried
        } else if is_in_grace {
            self.graces += 1;
            RotationOutcome::Grace
        } else if new_jti.is_some() && new_jti == self.previous {
            return Answer::refused(E::InvalidRequest);
        } else {
            self.previous = Some(jti);
            self.jti = new_jti.unwrap_or(made.name);
            self.rotations += 1;
            RotationOutcome::Rotated
        };
        Answer::Rotated(outcome, self.row(user_active))
    }

    /// A question: nothing changes. Of a live session, whatever isn't current is superseded.
    pub fn check(&self, jti: Name, user_active: bool) -> Answer {
        let state = if user_active && self.is_live() && jti != self.jti {
            TokenState::Superseded
        } else {
            self.state(user_active)
        };
        Answer::Asked(state, Some(SessionRow { state, ..self.row(user_active) }))
    }

    pub fn set_enabled(&mut self, enabled: bool, user_active: bool) -> Answer {
        if let Some(refusal) = self.refusal(user_active) {
            return refusal;
        }
        self.enabled = enabled;
        Answer::Session(self.row(user_active))
    }

    /// Answers how many live ones this ended. The first reason stays.
    pub fn revoke(&mut self, reason: RevocationReason) -> i64 {
        if !self.is_live() {
            return 0;
        }
        self.revoked = Some(reason);
        1
    }
}
