//! One-time tokens: secrets and codes.

use std::time::{Duration, SystemTime};

use super::TokenState;
use super::identifiers::{Challenge, ConsumptionId, Purpose, RequestId, UserId};
use super::refusal::Refusal;
use super::secrets::{Kind, is_code};
use crate::client_info::ClientInfo;
use crate::config::GenericTokenPolicy;

/// One one-time token's row. It never has the value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GenericToken {
    /// The row's number; a greater one is newer.
    pub id: i64,
    /// Whose token.
    pub user_id: String,
    /// What it is good for.
    pub purpose: String,
    /// Whether guesses at it are counted.
    pub is_code: bool,
    /// What is kept of the value.
    pub digest: Vec<u8>,
    /// Its public name in a guess.
    pub challenge: String,
    /// When it was issued.
    pub created: SystemTime,
    /// When it stops being good.
    pub expires: SystemTime,
    /// Wrong guesses charged.
    pub attempts: i32,
    /// Wrong guesses after which it is dead; 0 of a secret.
    pub max_attempts: i32,
    /// When it was claimed, and by which consumption id.
    pub consumption: Option<(SystemTime, Option<String>)>,
    /// Whether it was revoked or replaced.
    pub revoked: bool,
    /// The client it was issued for.
    pub client: ClientInfo,
    /// Whether its user is active. Known of an unspent token: an inactive user has none.
    pub user_active: bool,
    /// The moment of reading, by the database's clock.
    pub as_of: SystemTime,
}

impl GenericToken {
    /// The token's state.
    #[must_use]
    pub fn state(&self) -> TokenState {
        if !self.user_active {
            TokenState::UserInactive
        } else if self.consumption.is_some() {
            TokenState::Consumed
        } else if self.revoked {
            TokenState::Revoked
        } else if self.expires <= self.as_of {
            TokenState::Expired
        } else if self.is_code && self.attempts >= self.max_attempts {
            TokenState::AttemptsExhausted
        } else {
            TokenState::Active
        }
    }

    /// Whether this is the winner's claim come again.
    #[must_use]
    pub fn was_consumed_by(&self, consumption_id: Option<&ConsumptionId>) -> bool {
        match (&self.consumption, consumption_id) {
            (Some((_, Some(winner))), Some(id)) => winner == id.as_str(),
            _ => false,
        }
    }
}

/// What the caller wants as the value.
#[derive(Clone)]
pub enum Wanted {
    /// 256 random bits.
    Secret,
    /// A code of so many digits.
    Digits(u32),
    /// The caller's own.
    Own(String),
}

impl Wanted {
    /// What the value will be.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Secret => Kind::RandomSecret,
            Self::Digits(_) => Kind::Code,
            Self::Own(value) if is_code(value) => Kind::Code,
            Self::Own(_) => Kind::OwnSecret,
        }
    }
}

/// A request to issue. No `Debug`: it may hold the value.
#[derive(Clone)]
pub struct Issue {
    /// Whose token.
    pub user_id: UserId,
    /// What it is good for.
    pub purpose: Purpose,
    /// What its value is.
    pub wanted: Wanted,
    /// How long it is good, already capped.
    pub lifetime: Duration,
    /// Wrong guesses it stands, already capped; 0 of a secret.
    pub max_attempts: u32,
    /// Whether earlier ones stay.
    pub keep_existing: bool,
    /// The client that asked.
    pub client: ClientInfo,
    /// Makes it safe to retry.
    pub request_id: Option<RequestId>,
}

/// A request to consume. No `Debug`: it holds the value.
#[derive(Clone)]
pub struct Consumption {
    /// What the value is meant for.
    pub purpose: Purpose,
    /// The value presented.
    pub value: String,
    /// Whose token it must be.
    pub user_id: Option<UserId>,
    /// Which token is meant.
    pub challenge: Option<Challenge>,
    /// Makes it safe to retry.
    pub consumption_id: Option<ConsumptionId>,
}

/// The window over which wrong guesses of one user and purpose are counted, over re-issues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Wrong guesses charged in it.
    pub attempts: i32,
    /// When it began.
    pub started: SystemTime,
    /// The moment of reading, by the database's clock.
    pub as_of: SystemTime,
}

impl Window {
    fn end(&self, policy: &GenericTokenPolicy) -> SystemTime {
        self.started + policy.window
    }

    /// How long the window still refuses codes; `None` if it doesn't.
    #[must_use]
    pub fn exhausted_for(&self, policy: &GenericTokenPolicy) -> Option<Duration> {
        let remaining = self.end(policy).duration_since(self.as_of).ok()?;
        (i64::from(self.attempts) >= i64::from(policy.window_attempts) && !remaining.is_zero())
            .then_some(remaining)
    }

    /// The window after one more wrong guess.
    #[must_use]
    pub fn charged(&self, policy: &GenericTokenPolicy) -> Self {
        if self.end(policy) <= self.as_of {
            Self { attempts: 1, started: self.as_of, ..*self }
        } else {
            Self { attempts: self.attempts.saturating_add(1), ..*self }
        }
    }

    /// The window after a success.
    #[must_use]
    pub fn reset(&self) -> Self {
        Self { attempts: 0, started: self.as_of, ..*self }
    }
}

/// A code that a guess can be about, and whether the guess is right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The code's row.
    pub token: GenericToken,
    /// Whether the guessed value is its value.
    pub matches: bool,
}

/// What becomes of a guess. Made under the lock that orders guesses, and carried out before it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judgement<'a> {
    /// The winner's claim come again: the same answer.
    AlreadyWon(&'a GenericToken),
    /// Right: claim it, and the window begins anew.
    Claim(&'a GenericToken),
    /// Wrong: charge the code and the window, then answer not found.
    Charge(&'a GenericToken),
    /// Refused, and nobody is charged.
    Refuse(Refusal),
}

/// Judges a guess at a code.
///
/// `candidates` are, newest first, the codes of that user and purpose that still stand and the dead ones of the very
/// same value.
#[must_use]
pub fn judge_guess<'a>(
    guess: &Consumption,
    candidates: &'a [Candidate],
    window: &Window,
    policy: &GenericTokenPolicy,
) -> Judgement<'a> {
    let won = candidates.iter().find(|c| c.matches && c.token.was_consumed_by(guess.consumption_id.as_ref()));
    if let Some(won) = won {
        return Judgement::AlreadyWon(&won.token);
    }
    let stands =
        |token: &GenericToken| matches!(token.state(), TokenState::Active | TokenState::AttemptsExhausted);
    let meant = candidates.iter().find(|c| {
        stands(&c.token)
            && guess.challenge.as_ref().is_none_or(|challenge| c.token.challenge == challenge.as_str())
    });
    // A late copy of a code that is over is told so, whichever code was meant, and charged to nobody.
    let late = candidates.iter().find(|c| c.matches && !stands(&c.token));
    if let Some(late) = late
        && !meant.is_some_and(|meant| meant.matches)
    {
        let refusal = Refusal::of_generic_token(late.token.state());
        return Judgement::Refuse(refusal.unwrap_or(Refusal::TokenNotFound));
    }
    let Some(meant) = meant else {
        return Judgement::Refuse(Refusal::TokenNotFound);
    };
    if let Some(remaining) = window.exhausted_for(policy) {
        return Judgement::Refuse(Refusal::AttemptsExhausted(Some(remaining)));
    }
    if meant.token.state() == TokenState::AttemptsExhausted {
        return Judgement::Refuse(Refusal::AttemptsExhausted(None));
    }
    if meant.matches { Judgement::Claim(&meant.token) } else { Judgement::Charge(&meant.token) }
}

#[cfg(test)]
mod tests;
