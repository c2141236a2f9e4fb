//! One-time tokens: claimed, asked about, listed and ended.

use super::connection::{BEGIN, Connection, Params, StatementError, begin_bulk};
use super::generic_token_sets::Claim;
use super::rows::{GENERIC_TOKEN_WIDTH, generic_token, window};
use super::statements::{
    GENERIC_CHARGE_CODE, GENERIC_CLAIM_CODE, GENERIC_CODES, GENERIC_CONSUME_SECRET, GENERIC_FIND_SECRET,
    GENERIC_LIST, GENERIC_LOCK_STATE_FOR_GUESS, GENERIC_REVOKE_ALL, GENERIC_SET_WINDOW, USER_LOCK,
};
use super::{ATTEMPTS, Call, Effect, Store};
use crate::registry::generic_token::{Candidate, Consumption, Judgement, Window, judge_guess};
use crate::registry::secrets::{ServerKeys, is_code};
use crate::registry::{ConsumptionId, Failure, GenericToken, Purpose, Refusal, UserId};

impl Store {
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
            let window = state.into_row().map(|row| window(&row, 0)).transpose()?;
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
