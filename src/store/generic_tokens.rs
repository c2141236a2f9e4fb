//! One-time tokens: issued, claimed, asked about, listed and ended.

use super::connection::{BEGIN, Connection, Params, StatementError, begin_bulk};
use super::generic_token_sets::Claim;
use super::rows::{ClientParams, GENERIC_TOKEN_WIDTH, generic_token, window};
use super::statements::{
    GENERIC_CHARGE_CODE, GENERIC_CLAIM_CODE, GENERIC_CODES, GENERIC_CONSUME_SECRET, GENERIC_FIND_REQUEST,
    GENERIC_FIND_SECRET, GENERIC_INSERT, GENERIC_LIST, GENERIC_LOCK_STATE_FOR_GUESS,
    GENERIC_LOCK_STATE_FOR_ISSUE, GENERIC_REPLACE, GENERIC_REVOKE_ALL, GENERIC_SET_WINDOW, USER_CREATE,
    USER_LOCK, USER_LOCK_SHARED,
};
use super::{ATTEMPTS, Call, Effect, Store};
use crate::registry::generic_token::{Candidate, Consumption, Issue, Judgement, Wanted, Window, judge_guess};
use crate::registry::secrets::{CODE_DIGITS, ServerKeys, is_code, mint_challenge, mint_code, mint_secret};
use crate::registry::{ConsumptionId, Failure, GenericToken, Purpose, Refusal, RequestId, UserId};

impl Store {
    /// Issues a one-time token; answers it and its value.
    ///
    /// # Errors
    /// The refusals of `IssueGenericToken`.
    pub async fn issue_generic_token(
        &self,
        call: &Call,
        issue: &Issue,
    ) -> Result<(GenericToken, String), Failure> {
        let keys = self.keys()?;
        self.run(call, Effect::Writes, |c| async move {
            for _ in 0..ATTEMPTS {
                match self.issue_once(&c, keys, issue).await? {
                    Issued::Token(issued) => return Ok(*issued),
                    Issued::NoUser if self.limits.require_known_users => {
                        return Err(Refusal::UserNotFound.into());
                    }
                    Issued::NoUser => {
                        c.run(&USER_CREATE, &[&issue.user_id.as_str()]).await?;
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
        issue: &Issue,
    ) -> Result<Issued, StatementError> {
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
            if let (true, Some(remaining)) = (is_code, window(&state)?.exhausted_for(policy)) {
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

        let value = new_value(keys, issue);
        let kind = issue.wanted.kind();
        let digest = keys.digest(kind, &issue.user_id, &issue.purpose, &value);
        let challenge = mint_challenge(&mut rand::rng());
        let (is_code, challenge) = (kind.is_code(), challenge.as_str());
        let lifetime = issue.lifetime.as_secs_f64();
        let max_attempts = i32::try_from(issue.max_attempts).unwrap_or(i32::MAX);
        let first: Params<'_> =
            &[&user_id, &purpose, &is_code, &digest, &challenge, &request_id, &lifetime, &max_attempts];
        let client = ClientParams::of(&issue.client);
        let [_, inserted] = c
            .commit([
                (&GENERIC_REPLACE, &[&user_id, &purpose, &issue.keep_existing, &digest]),
                (&GENERIC_INSERT, &client.after(first)),
            ])
            .await?;
        let row = inserted.into_row().ok_or(StatementError::TurnedAway)?;
        Ok(Issued::Token(Box::new((generic_token(&row)?, value))))
    }

    /// Claims a one-time token.
    ///
    /// # Errors
    /// The refusals of `ConsumeGenericToken`.
    pub async fn consume_generic_token(
        &self,
        call: &Call,
        consumption: Consumption,
    ) -> Result<GenericToken, Failure> {
        let keys = self.keys()?;
        match (is_code(&consumption.value), &consumption.user_id) {
            (true, None) => {
                Err(Failure::invalid("user_id", "must be set: a value under 22 characters is a code"))
            }
            (true, Some(user_id)) => {
                let consumption = &consumption;
                self.run(call, Effect::Writes, |c| async move {
                    for _ in 0..ATTEMPTS {
                        if let Some(token) = self.guess_once(&c, keys, consumption, user_id).await? {
                            return Ok(token);
                        }
                    }
                    Err(StatementError::TurnedAway)
                })
                .await
            }
            (false, _) => {
                let digests = keys.secret_digests(&consumption.purpose, &consumption.value);
                let singly = |claim: Claim| async move {
                    let claim = &claim;
                    self.run(call, Effect::Writes, |c| async move { claim_secret(&c, claim).await }).await
                };
                self.generic_tokens.claim.answer(call, Claim { consumption, digests }, singly).await
            }
        }
    }

    /// One guess at a code; `None`, and nothing charged or reset, if something ended the code in between.
    async fn guess_once(
        &self,
        c: &Connection,
        keys: &ServerKeys,
        guess: &Consumption,
        user: &UserId,
    ) -> Result<Option<GenericToken>, StatementError> {
        let (user_id, purpose) = (user.as_str(), guess.purpose.as_str());
        let digests = keys.code_digests(user, &guess.purpose, &guess.value);
        let [state, codes] = c
            .begin(
                BEGIN,
                [
                    (&GENERIC_LOCK_STATE_FOR_GUESS, &[&user_id, &purpose]),
                    (&GENERIC_CODES, &[&user_id, &purpose, &digests]),
                ],
            )
            .await?;
        let read = (|| {
            let window = state.into_row().map(|row| window(&row)).transpose()?;
            let candidates = codes
                .rows
                .iter()
                .map(|row| {
                    Ok(Candidate { token: generic_token(row)?, matches: row.try_get(GENERIC_TOKEN_WIDTH)? })
                })
                .collect::<Result<Vec<_>, StatementError>>()?;
            Ok::<_, StatementError>((window, candidates))
        })();
        let (window, candidates) = match read {
            Ok((Some(window), candidates)) => (window, candidates),
            Ok((None, _)) => {
                c.rollback().await;
                return Err(Refusal::TokenNotFound.into());
            }
            Err(error) => {
                c.rollback().await;
                return Err(error);
            }
        };
        let policy = self.limits.policy(&guess.purpose);
        match judge_guess(guess, &candidates, &window, policy) {
            Judgement::AlreadyWon(token) => {
                c.rollback().await;
                Ok(Some(token.clone()))
            }
            Judgement::Refuse(refusal) => {
                c.rollback().await;
                Err(refusal.into())
            }
            Judgement::Claim(token) => {
                let consumption_id = guess.consumption_id.as_ref().map(ConsumptionId::as_str);
                let [claimed] = c
                    .proceed([(&GENERIC_CLAIM_CODE, &[&user_id, &purpose, &token.id, &consumption_id])])
                    .await?;
                let Some(row) = claimed.into_row() else {
                    c.rollback().await;
                    return Ok(None);
                };
                let Window { attempts, started, .. } = window.reset();
                c.commit([(&GENERIC_SET_WINDOW, &[&user_id, &purpose, &attempts, &started])]).await?;
                Ok(Some(generic_token(&row)?))
            }
            Judgement::Charge(token) => {
                let [charged] = c.proceed([(&GENERIC_CHARGE_CODE, &[&user_id, &purpose, &token.id])]).await?;
                if charged.affected == 0 {
                    c.rollback().await;
                    return Ok(None);
                }
                let Window { attempts, started, .. } = window.charged(policy);
                c.commit([(&GENERIC_SET_WINDOW, &[&user_id, &purpose, &attempts, &started])]).await?;
                Err(Refusal::TokenNotFound.into())
            }
        }
    }

    /// Reads the token of a secret; `None` if there is none.
    ///
    /// # Errors
    /// Only of the database.
    pub async fn find_secret(
        &self,
        call: &Call,
        purpose: &Purpose,
        value: &str,
        user_id: Option<&UserId>,
    ) -> Result<Option<GenericToken>, Failure> {
        let digests = &self.keys()?.secret_digests(purpose, value);
        self.run(
            call,
            Effect::Reads,
            |c| async move { find_secret(&c, digests, purpose, user_id, None).await },
        )
        .await
    }

    /// Lists a user's one-time tokens, newest first, with one more than asked for if there are more.
    ///
    /// # Errors
    /// Only of the database.
    pub async fn list_generic_tokens(
        &self,
        call: &Call,
        user_id: &UserId,
        purpose: Option<&Purpose>,
        after: Option<i64>,
        page_size: usize,
    ) -> Result<Vec<GenericToken>, Failure> {
        let purpose = purpose.map(Purpose::as_str);
        let limit = i64::try_from(page_size + 1).unwrap_or(i64::MAX);
        self.run(call, Effect::Reads, |c| async move {
            let done = c.run(&GENERIC_LIST, &[&user_id.as_str(), &purpose, &after, &limit]).await?;
            done.rows.iter().map(generic_token).collect()
        })
        .await
    }

    /// Ends a user's live one-time tokens, of some purposes or (none given) of all; answers how many.
    ///
    /// # Errors
    /// Only of the database.
    pub async fn revoke_generic_tokens(
        &self,
        call: &Call,
        user_id: &UserId,
        purposes: &[Purpose],
    ) -> Result<i64, Failure> {
        let user_id = user_id.as_str();
        let only: &Option<Vec<&str>> =
            &(!purposes.is_empty()).then(|| purposes.iter().map(Purpose::as_str).collect());
        let none: &Option<Vec<&str>> = &None;
        let _place = self.pool.bulk_place(call).await?;
        self.run(call, Effect::Writes, |c| async move {
            let [_, revoked] = c
                .transaction(
                    &begin_bulk(self.pool.bulk_timeout()),
                    [(&USER_LOCK, &[&user_id]), (&GENERIC_REVOKE_ALL, &[&user_id, only, none])],
                )
                .await?;
            Ok(revoked.affected)
        })
        .await
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

async fn claim_secret(c: &Connection, claim: &Claim) -> Result<GenericToken, StatementError> {
    let Claim { consumption: claim, digests } = claim;
    let user_id = claim.user_id.as_ref().map(UserId::as_str);
    let consumption_id = claim.consumption_id.as_ref().map(ConsumptionId::as_str);
    let params: Params<'_> = &[digests, &claim.purpose.as_str(), &user_id, &consumption_id];
    if let Some(row) = c.row(&GENERIC_CONSUME_SECRET, params).await? {
        return generic_token(&row);
    }
    let Some(token) = find_secret(c, digests, &claim.purpose, claim.user_id.as_ref(), consumption_id).await?
    else {
        return Err(Refusal::TokenNotFound.into());
    };
    if token.was_consumed_by(claim.consumption_id.as_ref()) {
        return Ok(token);
    }
    Err(match Refusal::of_generic_token(token.state()) {
        Some(refusal) => refusal.into(),
        None => StatementError::TurnedAway,
    })
}

async fn find_secret(
    c: &Connection,
    digests: &[Vec<u8>],
    purpose: &Purpose,
    user_id: Option<&UserId>,
    consumption_id: Option<&str>,
) -> Result<Option<GenericToken>, StatementError> {
    let user_id = user_id.map(UserId::as_str);
    let params: Params<'_> = &[&digests, &purpose.as_str(), &user_id, &consumption_id];
    let row = c.row(&GENERIC_FIND_SECRET, params).await?;
    row.as_ref().map(generic_token).transpose()
}
