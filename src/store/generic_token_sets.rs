//! The requests about one-time tokens that are gathered, and the statement that answers a set of them.

use std::collections::HashMap;
use std::sync::Arc;

use super::Effect;
use super::connection::{BEGIN, Connection, Done, Params, StatementError};
use super::gather::{Answer, Gathered, Lane};
use super::issues::Made;
use super::pool::Pool;
use super::rows::{ClientArrays, GENERIC_TOKEN_WIDTH, generic_token, placed, placed_by, window};
use super::statements::{
    GENERIC_CONSUME_SECRET_SET, GENERIC_INSERT_SET, GENERIC_LOCK_FOR_ISSUE_SET, GENERIC_REPLACE_SET,
};
use crate::registry::generic_token::{Consumption, Window};
use crate::registry::{ConsumptionId, GenericToken, Limits, UserId};
use crate::telemetry::Metrics;

/// The lanes of requests about one-time tokens.
pub(super) struct GenericTokenLanes {
    pub(super) claim: Lane<Claims>,
    pub(super) issue: Lane<Issues>,
}

impl GenericTokenLanes {
    pub(super) fn new(pool: &Arc<Pool>, limits: &Arc<Limits>, gathering: bool, metrics: &Metrics) -> Self {
        Self {
            claim: Lane::new(Claims, pool, gathering, metrics),
            issue: Lane::new(Issues { limits: Arc::clone(limits) }, pool, gathering, metrics),
        }
    }
}

/// Tokens to issue. Those with a request id go singly: an earlier copy of the request may have to be found.
pub(super) struct Issues {
    limits: Arc<Limits>,
}

impl Gathered for Issues {
    type Request = Made;
    type Answer = (GenericToken, String);
    const NAME: &'static str = "issue_generic_token";
    const EFFECT: Effect = Effect::Writes;

    fn writes(made: &Made) -> Option<(&UserId, &str)> {
        Some((&made.issue.user_id, made.issue.purpose.as_str()))
    }

    async fn set(&self, c: &Connection, all: &[&Made]) -> Result<Vec<Option<Answer<Self>>>, StatementError> {
        let users: Vec<_> = all.iter().map(|made| made.issue.user_id.as_str()).collect();
        let purposes: Vec<_> = all.iter().map(|made| made.issue.purpose.as_str()).collect();
        let [locked] = c.begin(BEGIN, [(&GENERIC_LOCK_FOR_ISSUE_SET, &[&users, &purposes])]).await?;
        let chosen = placed(all.len(), &locked.rows, |row| window(row, 1)).map(|windows| {
            let with_windows = all.iter().copied().zip(windows);
            with_windows
                .filter(|(made, window)| self.may_issue(made, *window))
                .map(|(made, _)| made)
                .collect::<Vec<_>>()
        });
        let chosen = match chosen {
            Ok(chosen) if !chosen.is_empty() => chosen,
            not => {
                c.rollback().await;
                return not.map(|_| all.iter().map(|_| None).collect());
            }
        };
        let inserted = insert(c, &chosen).await?;
        let mut tokens: HashMap<&str, GenericToken> = HashMap::new();
        for row in &inserted.rows {
            let token = generic_token(row)?;
            if let Some(made) = chosen.iter().find(|made| made.challenge.as_str() == token.challenge) {
                tokens.insert(made.challenge.as_str(), token);
            }
        }
        let answers = all
            .iter()
            .map(|made| tokens.remove(made.challenge.as_str()).map(|token| Ok((token, made.value.clone()))));
        Ok(answers.collect())
    }
}

impl Issues {
    /// Whether a member got its locks and its window has room. Who hasn't goes singly, and is told why there.
    fn may_issue(&self, made: &Made, window: Option<Window>) -> bool {
        let policy = self.limits.policy(&made.issue.purpose);
        let is_code = made.issue.wanted.kind().is_code();
        window.is_some_and(|window| !is_code || window.exhausted_for(policy).is_none())
    }
}

/// Replaces and inserts the tokens of those who hold their locks, and commits.
async fn insert(c: &Connection, chosen: &[&Made]) -> Result<Done, StatementError> {
    let users: Vec<_> = chosen.iter().map(|made| made.issue.user_id.as_str()).collect();
    let purposes: Vec<_> = chosen.iter().map(|made| made.issue.purpose.as_str()).collect();
    let keep: Vec<_> = chosen.iter().map(|made| made.issue.keep_existing).collect();
    let codes: Vec<_> = chosen.iter().map(|made| made.issue.wanted.kind().is_code()).collect();
    let digests: Vec<_> = chosen.iter().map(|made| made.digest.as_slice()).collect();
    let challenges: Vec<_> = chosen.iter().map(|made| made.challenge.as_str()).collect();
    let request_ids: Vec<Option<&str>> = vec![None; chosen.len()];
    let lifetimes: Vec<_> = chosen.iter().map(|made| made.issue.lifetime.as_secs_f64()).collect();
    let attempts: Vec<_> =
        chosen.iter().map(|made| i32::try_from(made.issue.max_attempts).unwrap_or(i32::MAX)).collect();
    let clients = ClientArrays::of(chosen.iter().map(|made| Some(&made.issue.client)));
    let first: Params<'_> =
        &[&users, &purposes, &codes, &digests, &challenges, &request_ids, &lifetimes, &attempts];
    let [_, inserted] = c
        .commit([
            (&GENERIC_REPLACE_SET, &[&users, &purposes, &keep, &digests]),
            (&GENERIC_INSERT_SET, &clients.after(first)),
        ])
        .await?;
    Ok(inserted)
}

/// A claim of a secret, and the digests that its value may be kept as.
pub(super) struct Claim {
    pub(super) consumption: Consumption,
    pub(super) digests: Vec<Vec<u8>>,
}

/// Claims of secrets.
pub(super) struct Claims;

impl Gathered for Claims {
    type Request = Claim;
    type Answer = GenericToken;
    const NAME: &'static str = "claim_secret";
    const EFFECT: Effect = Effect::Writes;

    async fn set(&self, c: &Connection, all: &[&Claim]) -> Result<Vec<Option<Answer<Self>>>, StatementError> {
        let purposes: Vec<_> = all.iter().map(|claim| claim.consumption.purpose.as_str()).collect();
        let users: Vec<_> =
            all.iter().map(|claim| claim.consumption.user_id.as_ref().map(UserId::as_str)).collect();
        let ids: Vec<_> = all
            .iter()
            .map(|claim| claim.consumption.consumption_id.as_ref().map(ConsumptionId::as_str))
            .collect();
        // A random secret, and a caller's own under the current and the previous key.
        let digests: [Vec<Option<&[u8]>>; 3] =
            [0, 1, 2].map(|n| all.iter().map(|claim| claim.digests.get(n).map(Vec::as_slice)).collect());
        let params: Params<'_> = &[&purposes, &users, &ids, &digests[0], &digests[1], &digests[2]];
        let done = c.run(&GENERIC_CONSUME_SECRET_SET, params).await?;
        placed_by(all.len(), &done.rows, GENERIC_TOKEN_WIDTH, |row| Ok(Ok(generic_token(row)?)))
    }
}
