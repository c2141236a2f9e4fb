//! The requests about one-time tokens that are gathered, and the statement that answers a set of them.

use std::sync::Arc;

use super::Effect;
use super::connection::{Connection, Params, StatementError};
use super::gather::{Answer, Gathered, Lane};
use super::pool::Pool;
use super::rows::{GENERIC_TOKEN_WIDTH, generic_token, placed_by};
use super::statements::GENERIC_CONSUME_SECRET_SET;
use crate::registry::generic_token::Consumption;
use crate::registry::{ConsumptionId, GenericToken, UserId};

/// The lanes of requests about one-time tokens.
pub(super) struct GenericTokenLanes {
    pub(super) claim: Lane<Claims>,
}

impl GenericTokenLanes {
    pub(super) fn new(pool: &Arc<Pool>, gathering: bool) -> Self {
        Self { claim: Lane::new(Claims, pool, gathering) }
    }
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
