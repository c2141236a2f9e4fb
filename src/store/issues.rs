//! One-time tokens are issued: one at a time, with everything of their user and purpose standing still.

use super::connection::{BEGIN, Connection, Params, StatementError};
use super::rows::{ClientParams, generic_token, window};
use super::statements::{
    GENERIC_FIND_REQUEST, GENERIC_INSERT, GENERIC_LOCK_STATE_FOR_ISSUE, GENERIC_REPLACE, USER_CREATE,
    USER_LOCK_SHARED,
};
use super::{ATTEMPTS, Call, Effect, Store};
use crate::registry::generic_token::{Issue, Wanted};
use crate::registry::secrets::{CODE_DIGITS, ServerKeys, is_code, mint_challenge, mint_code, mint_secret};
use crate::registry::{Challenge, Failure, GenericToken, Refusal, RequestId};

/// A token to issue, with the value made for it. No `Debug`: it holds the value.
pub(super) struct Made {
    pub(super) issue: Issue,
    pub(super) value: String,
    pub(super) digest: Vec<u8>,
    pub(super) challenge: Challenge,
}

impl Made {
    fn of(issue: Issue, keys: &ServerKeys) -> Self {
        let value = new_value(keys, &issue);
        let digest = keys.digest(issue.wanted.kind(), &issue.user_id, &issue.purpose, &value);
        Self { issue, value, digest, challenge: mint_challenge(&mut rand::rng()) }
    }
}

impl Store {
    /// Issues a one-time token; answers it and its value.
    ///
    /// # Errors
    /// The refusals of `IssueGenericToken`.
    pub async fn issue_generic_token(
        &self,
        call: &Call,
        issue: Issue,
    ) -> Result<(GenericToken, String), Failure> {
        let keys = self.keys()?;
        let made = Made::of(issue, keys);
        let singly = |made| async move { self.issue_singly(call, keys, &made).await };
        // An earlier copy of the request may have to be found: that is no business of a set.
        if made.issue.request_id.is_some() {
            return singly(made).await;
        }
        self.generic_tokens.issue.answer(call, made, singly).await
    }

    async fn issue_singly(
        &self,
        call: &Call,
        keys: &ServerKeys,
        made: &Made,
    ) -> Result<(GenericToken, String), Failure> {
        self.run(call, Effect::Writes, |c| async move {
            for _ in 0..ATTEMPTS {
                match self.issue_once(&c, keys, made).await? {
                    Issued::Token(issued) => return Ok(*issued),
                    Issued::NoUser if self.limits.require_known_users => {
                        return Err(Refusal::UserNotFound.into());
                    }
                    Issued::NoUser => {
                        c.run(&USER_CREATE, &[&made.issue.user_id.as_str()]).await?;
                    }
                }
            }
            Err(StatementError::TurnedAway)
        })
        .await
    }

    async fn issue_once(
        &self,
        c: &Connection,
        keys: &ServerKeys,
        made: &Made,
    ) -> Result<Issued, StatementError> {
        let Made { issue, value, digest, challenge } = made;
        let (user_id, purpose) = (issue.user_id.as_str(), issue.purpose.as_str());
        let request_id = issue.request_id.as_ref().map(RequestId::as_str);
        let [user, state, earlier] = c
            .begin(
                BEGIN,
                [
                    (&USER_LOCK_SHARED, &[&user_id]),
                    (&GENERIC_LOCK_STATE_FOR_ISSUE, &[&user_id, &purpose]),
                    (&GENERIC_FIND_REQUEST, &[&user_id, &purpose, &request_id]),
                ],
            )
            .await?;
        // Everything of this user and purpose stands still now: what is decided here holds until the commit.
        let decided = (|| {
            let Some(user) = user.into_row() else {
                return Ok(Decided::NoUser);
            };
            let (true, Some(state)) = (user.try_get(0)?, state.into_row()) else {
                return Err(Refusal::UserInactive.into());
            };
            if let (Some(row), Some(request_id)) = (earlier.into_row(), &issue.request_id) {
                let token = generic_token(&row)?;
                if let Some(value) = value_again(keys, issue, request_id, &token)? {
                    return Ok(Decided::Before(Box::new((token, value))));
                }
            }
            let is_code = issue.wanted.kind().is_code();
            let policy = self.limits.policy(&issue.purpose);
            if let (true, Some(remaining)) = (is_code, window(&state, 0)?.exhausted_for(policy)) {
                return Err(Refusal::AttemptsExhausted(Some(remaining)).into());
            }
            Ok(Decided::Issue)
        })();
        match decided {
            Ok(Decided::Issue) => {}
            Ok(Decided::NoUser) => {
                c.rollback().await;
                return Ok(Issued::NoUser);
            }
            Ok(Decided::Before(before)) => {
                c.rollback().await;
                return Ok(Issued::Token(before));
            }
            Err(error) => {
                c.rollback().await;
                return Err(error);
            }
        }

        let (is_code, challenge) = (issue.wanted.kind().is_code(), challenge.as_str());
        let lifetime = issue.lifetime.as_secs_f64();
        let max_attempts = i32::try_from(issue.max_attempts).unwrap_or(i32::MAX);
        let first: Params<'_> =
            &[&user_id, &purpose, &is_code, digest, &challenge, &request_id, &lifetime, &max_attempts];
        let client = ClientParams::of(&issue.client);
        let [_, inserted] = c
            .commit([
                (&GENERIC_REPLACE, &[&user_id, &purpose, &issue.keep_existing, digest]),
                (&GENERIC_INSERT, &client.after(first)),
            ])
            .await?;
        let row = inserted.into_row().ok_or(StatementError::TurnedAway)?;
        Ok(Issued::Token(Box::new((generic_token(&row)?, value.clone()))))
    }
}

/// What came of one attempt to issue.
enum Issued {
    Token(Box<(GenericToken, String)>),
    NoUser,
}

/// What an issue is to do, decided under the lock.
enum Decided {
    NoUser,
    /// An earlier copy of the request was answered with this.
    Before(Box<(GenericToken, String)>),
    Issue,
}

/// The value to issue now.
fn new_value(keys: &ServerKeys, issue: &Issue) -> String {
    let digits = match &issue.wanted {
        Wanted::Own(value) => return value.clone(),
        Wanted::Secret => None,
        Wanted::Digits(digits) => Some(*digits),
    };
    if let Some(request_id) = &issue.request_id {
        let derived = keys.derive_values(&issue.user_id, &issue.purpose, request_id, digits);
        if let Some(value) = derived.into_iter().next() {
            return value;
        }
    }
    let mut rng = rand::rng();
    match digits {
        None => mint_secret(&mut rng),
        Some(digits) => mint_code(&mut rng, digits),
    }
}

/// The value that an earlier copy of the request was answered with; `None` if the key it was derived with is gone.
fn value_again(
    keys: &ServerKeys,
    issue: &Issue,
    request_id: &RequestId,
    token: &GenericToken,
) -> Result<Option<String>, StatementError> {
    let digits = match &issue.wanted {
        Wanted::Own(value) => {
            let digests = if is_code(value) {
                keys.code_digests(&issue.user_id, &issue.purpose, value)
            } else {
                keys.secret_digests(&issue.purpose, value)
            };
            return if digests.contains(&token.digest) {
                Ok(Some(value.clone()))
            } else {
                Err(Failure::invalid("request_id", "was used before, with another value").into())
            };
        }
        Wanted::Secret => None,
        Wanted::Digits(digits) => Some(*digits),
    };
    let is_the_value = |value: &String| {
        if token.is_code {
            keys.code_digests(&issue.user_id, &issue.purpose, value).contains(&token.digest)
        } else {
            keys.secret_digests(&issue.purpose, value).contains(&token.digest)
        }
    };
    if token.is_code != digits.is_some() {
        return Err(Failure::invalid("request_id", "was used before, for another kind of value").into());
    }
    let value_of = |digits| {
        keys.derive_values(&issue.user_id, &issue.purpose, request_id, digits).into_iter().find(is_the_value)
    };
    if let Some(value) = value_of(digits) {
        return Ok(Some(value));
    }
    if digits.is_some() && CODE_DIGITS.into_iter().any(|digits| value_of(Some(digits)).is_some()) {
        return Err(Failure::invalid("request_id", "was used before, for a code of another length").into());
    }
    Ok(None)
}
