//! The specification of a user's one-time tokens of one purpose.

use super::purge::{is_one_of, without_the_first};
use super::words::{Answer, Call, ErrorReason as E, Made, Name, TokenRow, TokenState, Value, Wanted, Which};

/// Wrong guesses at codes of one user and purpose, over re-issues, in a window that outlasts a history. The servers
/// that are judged by this model are configured so.
pub const WINDOW_ATTEMPTS: i32 = 4;

/// A token that was issued.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Token {
    challenge: Name,
    value: Value,
    attempts: i32,
    max_attempts: i32,
    consumed: bool,
    /// The winner's consumption id.
    consumed_by: Option<u8>,
    /// Revoked, or replaced by a newer one.
    revoked: bool,
    request: Option<u8>,
}

/// All tokens of a purpose, oldest first, and the window of guesses.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Tokens {
    issued: Vec<Token>,
    window: i32,
}

impl Token {
    fn is_unspent(&self) -> bool {
        !self.consumed && !self.revoked
    }

    fn is_exhausted(&self) -> bool {
        self.value.is_code && self.attempts >= self.max_attempts
    }

    fn was_consumed_by(&self, id: Option<u8>) -> bool {
        id.is_some() && self.consumed_by == id
    }

    fn claim(&mut self, id: Option<u8>) {
        self.consumed = true;
        self.consumed_by = id;
    }

    fn state(&self, user_active: bool) -> TokenState {
        if !user_active {
            TokenState::UserInactive
        } else if self.consumed {
            TokenState::Consumed
        } else if self.revoked {
            TokenState::Revoked
        } else if self.is_exhausted() {
            TokenState::AttemptsExhausted
        } else {
            TokenState::Active
        }
    }

    fn row(&self, user_active: bool) -> TokenRow {
        TokenRow {
            challenge: self.challenge,
            state: self.state(user_active),
            attempts: self.attempts,
            max_attempts: self.max_attempts,
        }
    }

    fn refusal(&self, user_active: bool) -> Answer {
        Answer::refused(match self.state(user_active) {
            TokenState::UserInactive => E::UserInactive,
            TokenState::Consumed => E::TokenConsumed,
            TokenState::Revoked => E::TokenRevoked,
            TokenState::AttemptsExhausted => E::AttemptsExhausted,
            other => unreachable!("{other:?} is no reason to refuse"),
        })
    }
}

/// An issue, as asked for.
#[derive(Debug, Clone, Copy)]
pub struct Issue {
    pub wanted: Wanted,
    pub max_attempts: u8,
    pub keep_existing: bool,
    pub request: Option<u8>,
}

/// A claim, as asked for.
#[derive(Debug, Clone, Copy)]
pub struct Claim {
    pub value: Value,
    pub names_user: bool,
    pub challenge: Option<Name>,
    pub id: Option<u8>,
}

impl Tokens {
    /// Of an active user. Unless `keep_existing`, exactly this one is alive afterwards; and never two of one value.
    pub fn issue(&mut self, issue: Issue, made: Made) -> Answer {
        let Issue { wanted, max_attempts, keep_existing, request } = issue;
        let earlier = self.issued.iter().rev().find(|token| request.is_some() && token.request == request);
        if let Some(earlier) = earlier {
            return Answer::Issued(earlier.row(true), earlier.value);
        }
        let is_code = wanted.is_code();
        if is_code && self.window >= WINDOW_ATTEMPTS {
            return Answer::refused(E::AttemptsExhausted);
        }
        let value = match wanted {
            Wanted::Own(value) => value,
            Wanted::Secret | Wanted::Digits => Value { is_code, which: Which::Made(made.value) },
        };
        for token in &mut self.issued {
            if token.is_unspent() && (!keep_existing || token.value == value) {
                token.revoked = true;
            }
        }
        let token = Token {
            challenge: made.name,
            value,
            attempts: 0,
            max_attempts: if is_code { i32::from(max_attempts) } else { 0 },
            consumed: false,
            consumed_by: None,
            revoked: false,
            request,
        };
        let answer = Answer::Issued(token.row(true), value);
        self.issued.push(token);
        answer
    }

    pub fn consume(&mut self, claim: Claim, user_active: bool) -> Answer {
        match (claim.value.is_code, claim.names_user) {
            (true, false) => Answer::refused(E::InvalidRequest),
            (true, true) => self.guess(claim, user_active),
            (false, _) => self.claim_secret(claim.value, claim.id, user_active),
        }
    }

    /// The newest of that value is meant, but a winner's retry means the one that it won.
    fn claim_secret(&mut self, value: Value, id: Option<u8>, user_active: bool) -> Answer {
        let meant = |won: bool| {
            let fits = |token: &Token| token.value == value && (!won || token.was_consumed_by(id));
            self.issued.iter().rposition(fits)
        };
        let Some(n) = meant(true).or_else(|| meant(false)) else {
            return Answer::refused(E::TokenNotFound);
        };
        let token = &mut self.issued[n];
        if token.is_unspent() {
            token.claim(id);
        } else if !token.was_consumed_by(id) {
            return token.refusal(user_active);
        }
        Answer::Claimed(token.row(user_active))
    }

    /// A guess at a code is charged unless it is right, and unless it is a late copy of a code that is over.
    fn guess(&mut self, claim: Claim, user_active: bool) -> Answer {
        let Claim { value, challenge, id, .. } = claim;
        let is_right = |token: &Token| token.value == value;
        if let Some(won) = self.issued.iter().rfind(|token| is_right(token) && token.was_consumed_by(id)) {
            return Answer::Claimed(won.row(user_active));
        }
        let meant = self.issued.iter().rposition(|token| {
            token.value.is_code
                && token.is_unspent()
                && challenge.is_none_or(|challenge| token.challenge == challenge)
        });
        let late = self.issued.iter().rfind(|token| is_right(token) && !token.is_unspent());
        if let Some(late) = late
            && !meant.is_some_and(|n| is_right(&self.issued[n]))
        {
            return late.refusal(user_active);
        }
        let Some(n) = meant else {
            return Answer::refused(E::TokenNotFound);
        };
        if self.window >= WINDOW_ATTEMPTS || self.issued[n].is_exhausted() {
            return Answer::refused(E::AttemptsExhausted);
        }
        if is_right(&self.issued[n]) {
            self.issued[n].claim(id);
            self.window = 0;
            return Answer::Claimed(self.issued[n].row(user_active));
        }
        self.issued[n].attempts += 1;
        self.window += 1;
        Answer::refused(E::TokenNotFound)
    }

    /// A question about a secret.
    pub fn check(&self, value: Value, user_active: bool) -> Answer {
        if value.is_code {
            return Answer::refused(E::InvalidRequest);
        }
        let newest = self.issued.iter().rfind(|token| token.value == value);
        Answer::State(newest.map_or(TokenState::Unknown, |token| token.state(user_active)))
    }

    pub fn list(&self, user_active: bool) -> Vec<TokenRow> {
        self.issued.iter().rev().map(|token| token.row(user_active)).collect()
    }

    /// What a purge may have left, of the tokens that a call is about.
    pub fn purged(&self, call: &Call, answer: Option<&Answer>) -> Vec<Self> {
        match (call, answer) {
            (Call::Issue { request: Some(request), .. }, _) => {
                self.without(None, |token| token.request == Some(*request))
            }
            (Call::Consume { value, id, .. }, _) => self.without(*id, |token| token.value == *value),
            (Call::CheckSecret { value, .. }, _) => self.without(None, |token| token.value == *value),
            (Call::ListTokens { .. }, Some(Answer::Tokens(rows))) => {
                let is_listed = |token: &Token| rows.iter().any(|row| row.challenge == token.challenge);
                self.without(None, |token| !is_listed(token)).pop().into_iter().collect()
            }
            _ => Vec::new(),
        }
    }

    /// Without the first of those that are over and meant, without the first two, and so on. Those that were won under
    /// the id come first, then the newest.
    fn without(&self, id: Option<u8>, is_meant: impl Fn(&Token) -> bool) -> Vec<Self> {
        let is_over = |n: &usize| !self.issued[*n].is_unspent() && is_meant(&self.issued[*n]);
        let mut over: Vec<_> = (0..self.issued.len()).rev().filter(is_over).collect();
        over.sort_by_key(|n| !self.issued[*n].was_consumed_by(id));
        let left = without_the_first(&self.issued, &over).into_iter();
        left.map(|issued| Self { issued, window: self.window }).collect()
    }

    /// Loses so many of those that are over, if there are.
    pub fn lose(&mut self, gone: &mut i64) {
        self.issued.retain(|token| token.is_unspent() || !is_one_of(gone));
    }

    /// Answers how many this ended.
    pub fn revoke(&mut self) -> i64 {
        let mut revoked = 0;
        for token in self.issued.iter_mut().filter(|token| token.is_unspent()) {
            token.revoked = true;
            revoked += 1;
        }
        revoked
    }

    pub fn challenges(&self) -> impl Iterator<Item = Name> {
        self.issued.iter().map(|token| token.challenge)
    }

    /// How many could be consumed.
    pub fn live(&self) -> i64 {
        count(self.issued.iter().filter(|token| token.is_unspent() && !token.is_exhausted()))
    }

    pub fn all(&self) -> i64 {
        count(self.issued.iter())
    }
}

fn count<'a>(tokens: impl Iterator<Item = &'a Token>) -> i64 {
    i64::try_from(tokens.count()).unwrap_or(i64::MAX)
}
