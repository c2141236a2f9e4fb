//! One-time tokens: brought once, with the value that its holder has.

use std::collections::HashSet;
use std::time::SystemTime;

use super::super::connection::{Connection, Done, Params, StatementError};
use super::super::rows::ClientArrays;
use super::super::statements::IMPORT_ADD_GENERIC;
use super::undone_on_error;
use super::users::Judged;
use crate::import::batch::{Batch, OldToken, Terms};

/// A one-time token to be brought: when it ends, and whether it comes as ended.
pub(super) struct PlannedToken {
    pub(super) expires: SystemTime,
    pub(super) from_now: bool,
    pub(super) ended: bool,
}

/// What becomes of each token: brought, there already, or its user's deletion.
pub(super) enum TokenStep {
    Add(PlannedToken),
    Nothing,
    NoUser,
}

pub(super) fn judge_tokens(
    batch: &Batch,
    judged: &Judged<'_>,
    terms: &Terms,
    seen_rows: &Done,
) -> Result<Vec<TokenStep>, StatementError> {
    let mut seen = HashSet::new();
    for row in &seen_rows.rows {
        seen.insert((row.try_get::<_, &str>(0)?, row.try_get::<_, &str>(1)?));
    }
    let plan = |old: &OldToken| {
        let Some(owner) = judged.owners.get(old.user_id.as_str()) else {
            return TokenStep::NoUser;
        };
        if seen.contains(&(old.user_id.as_str(), old.key.as_str())) {
            return TokenStep::Nothing;
        }
        let expires = old.created.min(judged.now) + old.lifetime;
        let from_now = terms.renew_expired_tokens && expires <= judged.now;
        TokenStep::Add(PlannedToken {
            expires: if from_now { judged.now + old.lifetime } else { expires },
            from_now,
            ended: owner.ends(old.created).is_some(),
        })
    };
    Ok(batch.tokens.iter().map(plan).collect())
}

/// Brings one-time tokens; answers whose and which came.
pub(super) async fn add_tokens(
    c: &Connection,
    rows: &[(&OldToken, &PlannedToken)],
) -> Result<HashSet<(String, String)>, StatementError> {
    let mut came = HashSet::new();
    if rows.is_empty() {
        return Ok(came);
    }
    let columns = TokenArrays::of(rows);
    let clients = ClientArrays::of(rows.iter().map(|(old, _)| Some(&old.client)));
    let first: Params<'_> = &[
        &columns.users,
        &columns.keys,
        &columns.purposes,
        &columns.codes,
        &columns.digests,
        &columns.challenges,
        &columns.created,
        &columns.expires,
    ];
    let mut params = clients.after(first);
    params.extend_from_slice(&[&columns.max_attempts, &columns.revoked]);
    let [done] = c.proceed([(&IMPORT_ADD_GENERIC, &params)]).await?;
    let read = done.rows.iter().try_for_each(|row| {
        came.insert((row.try_get(0)?, row.try_get(1)?));
        Ok(())
    });
    undone_on_error(c, read).await?;
    Ok(came)
}

/// One-time tokens as one array a column.
struct TokenArrays<'a> {
    users: Vec<&'a str>,
    keys: Vec<&'a str>,
    purposes: Vec<&'a str>,
    codes: Vec<bool>,
    digests: Vec<&'a [u8]>,
    challenges: Vec<&'a str>,
    created: Vec<SystemTime>,
    expires: Vec<SystemTime>,
    max_attempts: Vec<i32>,
    revoked: Vec<bool>,
}

impl<'a> TokenArrays<'a> {
    fn of(rows: &[(&'a OldToken, &PlannedToken)]) -> Self {
        Self {
            users: rows.iter().map(|(old, _)| old.user_id.as_str()).collect(),
            keys: rows.iter().map(|(old, _)| old.key.as_str()).collect(),
            purposes: rows.iter().map(|(old, _)| old.purpose.as_str()).collect(),
            codes: rows.iter().map(|(old, _)| old.value.is_code).collect(),
            digests: rows.iter().map(|(old, _)| old.value.digest.as_slice()).collect(),
            challenges: rows.iter().map(|(old, _)| old.challenge.as_str()).collect(),
            created: rows.iter().map(|(old, _)| old.created).collect(),
            expires: rows.iter().map(|(_, plan)| plan.expires).collect(),
            max_attempts: rows.iter().map(|(old, _)| old.max_attempts).collect(),
            revoked: rows.iter().map(|(_, plan)| plan.ended).collect(),
        }
    }
}
