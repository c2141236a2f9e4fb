//! The requests about API keys that are gathered, and the statement that answers a set of them.

use std::sync::Arc;

use super::Effect;
use super::connection::{Connection, StatementError};
use super::gather::{Answer, Gathered, Lane};
use super::pool::Pool;
use super::rows::{placed, presented};
use super::statements::AUTH_FIND_SET;
use crate::registry::auth_token::Presented;
use crate::telemetry::Metrics;

/// The lanes of requests about API keys.
pub(super) struct AuthTokenLanes {
    pub(super) authenticate: Lane<Authentications>,
}

impl AuthTokenLanes {
    pub(super) fn new(pool: &Arc<Pool>, gathering: bool, metrics: &Metrics) -> Self {
        Self { authenticate: Lane::new(Authentications, pool, gathering, metrics) }
    }
}

/// Whose keys are, by their digests.
pub(super) struct Authentications;

impl Gathered for Authentications {
    type Request = [u8; 32];
    type Answer = Option<Presented>;
    const NAME: &'static str = "authenticate_auth_token";
    const EFFECT: Effect = Effect::Reads;

    async fn set(
        &self,
        c: &Connection,
        digests: &[&[u8; 32]],
    ) -> Result<Vec<Option<Answer<Self>>>, StatementError> {
        let digests: Vec<&[u8]> = digests.iter().map(|digest| digest.as_slice()).collect();
        let done = c.run(&AUTH_FIND_SET, &[&digests]).await?;
        let found = placed(digests.len(), &done.rows, |row| presented(row, 1))?;
        Ok(found.into_iter().map(|found| Some(Ok(found))).collect())
    }
}
