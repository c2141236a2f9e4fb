//! PostgreSQL: where the registry's rows are, and every statement that touches them.
//!
//! One Rust file a table, one `.sql` file a statement under `statements/`. The rules are the domain's
//! ([`crate::registry`]); what is decided here is how a rule becomes one conditional write that holds under races.

mod auth_token_sets;
mod auth_tokens;
mod call;
mod connection;
mod error;
mod gather;
mod generic_token_sets;
mod generic_tokens;
mod imports;
mod issues;
mod line;
mod migrate;
mod pool;
mod pool_status;
mod primary;
mod purge;
mod rows;
mod session_sets;
mod sessions;
mod startup;
mod statements;
mod statistics;
mod tasks;
mod tls;
mod users;
mod uses;

use std::sync::{Arc, OnceLock};

use crate::config::Config;
use crate::registry::secrets::ServerKeys;
use crate::registry::{Failure, Limits};
use crate::telemetry::{Metrics, UpkeepMetrics};

use auth_token_sets::AuthTokenLanes;
pub use call::{Call, Source};
use connection::{Connection, StatementError};
pub use error::StoreError;
use generic_token_sets::GenericTokenLanes;
pub use imports::{Known, KnownRow};
pub use migrate::Migrated;
use pool::Pool;
pub use pool::{NEVER_COMPILED, PINNED_PLANS};
use session_sets::SessionLanes;
pub use sessions::{ListedSessions, SessionQuery};
pub use startup::migrate;
pub use statements::{ALL as STATEMENTS, Statement};
pub(crate) use tls::connector as tls_connector;
pub use users::CredentialChange;
use uses::Uses;

/// The registry's rows. Replicas share nothing but the database.
pub struct Store {
    pool: Arc<Pool>,
    limits: Arc<Limits>,
    sessions: SessionLanes,
    generic_tokens: GenericTokenLanes,
    auth_tokens: AuthTokenLanes,
    uses: Uses,
    upkeep: UpkeepMetrics,
    /// This replica's name among those that share the database.
    replica: String,
    /// Known once the database is reached and its schema is right; until then nothing is answered.
    keys: OnceLock<ServerKeys>,
}

/// How often a call that the database itself turned away (a lock, a deadlock) is tried before it is called overload.
const ATTEMPTS: usize = 5;

/// Whether losing the connection in the midst of a piece of work leaves its effect unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    /// It only reads.
    Reads,
    /// It may have written.
    Writes,
}

impl Store {
    /// A store on the configured database. Connects to nothing yet: see [`Store::open`].
    ///
    /// # Errors
    /// The database URL is missing or wrong.
    pub fn new(config: &Config, metrics: &Metrics) -> Result<Self, StoreError> {
        let pool = Arc::new(Pool::new(config)?);
        metrics.add(pool.status());
        let limits = Arc::new(Limits::from(config));
        let upkeep = metrics.upkeep.clone();
        if !config.purge.interval.is_zero() {
            upkeep.retained_for(config.purge.retention);
        }
        Ok(Self {
            sessions: SessionLanes::new(&pool, &limits, config.gathering, metrics),
            generic_tokens: GenericTokenLanes::new(&pool, &limits, config.gathering, metrics),
            auth_tokens: AuthTokenLanes::new(&pool, config.gathering, metrics),
            uses: Uses::default(),
            upkeep,
            replica: format!("{:032x}", rand::random::<u128>()),
            pool,
            limits,
            keys: OnceLock::new(),
        })
    }

    /// The configured limits.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The server's keys.
    ///
    /// # Errors
    /// The database has not been reached yet.
    pub fn keys(&self) -> Result<&ServerKeys, Failure> {
        self.keys.get().ok_or(Failure::DatabaseUnavailable)
    }

    /// Does a piece of work on a connection, again when the database certainly did nothing of it.
    async fn run<T, F>(
        &self,
        call: &Call,
        effect: Effect,
        work: impl Fn(Arc<Connection>) -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, StatementError>>,
    {
        self.run_on(call, effect, || self.pool.connection(call), work).await
    }

    /// The same on a connection with pinned plans.
    async fn run_pinned<T, F>(
        &self,
        call: &Call,
        effect: Effect,
        work: impl Fn(Arc<Connection>) -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, StatementError>>,
    {
        self.run_on(call, effect, || self.pool.connection_for_sets(call), work).await
    }

    async fn run_on<T, C, F>(
        &self,
        call: &Call,
        effect: Effect,
        connection: impl Fn() -> C,
        work: impl Fn(Arc<Connection>) -> F,
    ) -> Result<T, Failure>
    where
        C: Future<Output = Result<Connection, Failure>>,
        F: Future<Output = Result<T, StatementError>>,
    {
        self.keys()?;
        for _ in 0..ATTEMPTS {
            let connection = Arc::new(connection().await?);
            if effect == Effect::Writes {
                call.mark_sent()?;
            }
            match work(Arc::clone(&connection)).await {
                Ok(done) => return Ok(done),
                Err(StatementError::Refused(failure)) => return Err(failure),
                Err(StatementError::TurnedAway) => {}
                Err(StatementError::Stale) => discard(connection),
                Err(StatementError::Lost) => {
                    discard(connection);
                    return Err(match effect {
                        Effect::Reads => Failure::DatabaseUnavailable,
                        Effect::Writes => Failure::OutcomeUnknown,
                    });
                }
                Err(StatementError::Unable) => return Err(Failure::DatabaseUnavailable),
                Err(StatementError::Fault(text)) => return Err(Failure::Fault(text)),
            }
        }
        Err(Failure::Overloaded)
    }
}

/// Keeps a connection from going back to the pool: work that has ended was its only other holder.
fn discard(connection: Arc<Connection>) {
    if let Some(connection) = Arc::into_inner(connection) {
        connection.discard();
    }
}
