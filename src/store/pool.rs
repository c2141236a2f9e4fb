//! The pool of connections, with bounded waits.

use std::time::Duration;

use deadpool_postgres::{Manager, ManagerConfig, PoolError, RecyclingMethod, Runtime, TimeoutType, Timeouts};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_postgres::config::TargetSessionAttrs;

use super::error::StoreError;
use super::pool_status::PoolStatus;
use super::primary::Primary;
use super::{Call, Connection, tls};
use crate::config::Config;
use crate::registry::Failure;

/// Connections to one database.
pub(super) struct Pool {
    connections: deadpool_postgres::Pool,
    /// For sets, with plans pinned; the same where there are too few connections to divide.
    for_sets: deadpool_postgres::Pool,
    primary: Primary,
    settings: tokio_postgres::Config,
    wait: Duration,
    /// Work on all of a user's rows can take long: it may use at most half of the connections, so that it holds up
    /// no login.
    bulk: Semaphore,
    bulk_timeout: Duration,
}

impl Pool {
    pub(super) fn new(config: &Config) -> Result<Self, StoreError> {
        let size = config.database_pool_size;
        let (settings, primary) = connection_settings(config)?;
        let sets = if config.gathering && size >= 4 { size / 2 } else { 0 };
        let connections = pool_of(size - sets, settings.clone(), &primary, config)?;
        let for_sets = match sets {
            0 => connections.clone(),
            sets => {
                let mut pinned = settings.clone();
                let options = format!("{} {PINNED_PLANS}", pinned.get_options().unwrap_or_default());
                pinned.options(options);
                pool_of(sets, pinned, &primary, config)?
            }
        };
        Ok(Self {
            connections,
            for_sets,
            primary,
            settings,
            wait: config.database_pool_wait,
            bulk: Semaphore::new((size / 2).max(1)),
            bulk_timeout: config.bulk_timeout,
        })
    }

    /// What its metrics are read from.
    pub(super) fn status(&self) -> PoolStatus {
        PoolStatus::of([("single", &self.connections), ("sets", &self.for_sets)])
    }

    /// A connection for single statements, before the call's deadline and the pool's own bound.
    pub(super) async fn connection(&self, call: &Call) -> Result<Connection, Failure> {
        Self::connection_of(&self.connections, call).await
    }

    /// A connection for a set.
    pub(super) async fn connection_for_sets(&self, call: &Call) -> Result<Connection, Failure> {
        Self::connection_of(&self.for_sets, call).await
    }

    async fn connection_of(pool: &deadpool_postgres::Pool, call: &Call) -> Result<Connection, Failure> {
        if call.deadline() <= Instant::now() {
            return Err(Failure::Overloaded);
        }
        match timeout_at(call.deadline(), pool.get()).await {
            Ok(Ok(object)) => Ok(Connection::new(object)),
            Ok(Err(PoolError::Timeout(TimeoutType::Wait))) | Err(_) => Err(Failure::Overloaded),
            Ok(Err(error)) => {
                tracing::debug!(%error, "no connection to the database");
                Err(Failure::DatabaseUnavailable)
            }
        }
    }

    /// Looks whether another host has become the primary, which ends the connections to the old one.
    pub(super) async fn look_for_the_primary(&self, within: Duration) {
        if self.settings.get_hosts().len().max(self.settings.get_hostaddrs().len()) > 1 {
            let _ = timeout(within, self.primary.look(&self.settings, within)).await;
        }
    }

    /// A place among those who work on all of a user's rows.
    pub(super) async fn bulk_place(&self, call: &Call) -> Result<SemaphorePermit<'_>, Failure> {
        let until = call.deadline().min(Instant::now() + self.wait * 4);
        match timeout_at(until, self.bulk.acquire()).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(Failure::Overloaded),
        }
    }

    /// How long one statement over all of a user's rows may take.
    pub(super) fn bulk_timeout(&self) -> Duration {
        self.bulk_timeout
    }
}

/// No statement here runs long enough to be worth compiling, and PostgreSQL would compile those that it takes for costly:
/// a step of the purge took 30 ms of compiling for 2 ms of work once a table had a million rows.
pub const NEVER_COMPILED: &str = "-c jit=off";

/// A set joins an array of any length with the tables: whatever the planner thinks of its length, the right plan is one
/// index look-up a member.
pub const PINNED_PLANS: &str = "-c enable_seqscan=off -c enable_hashjoin=off -c enable_mergejoin=off \
     -c enable_bitmapscan=off -c plan_cache_mode=force_generic_plan";

fn pool_of(
    size: usize,
    settings: tokio_postgres::Config,
    primary: &Primary,
    config: &Config,
) -> Result<deadpool_postgres::Pool, StoreError> {
    // A closed connection is noticed without a round trip; one that fails in use is discarded.
    let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
    deadpool_postgres::Pool::builder(Manager::from_connect(settings, primary.clone(), recycling))
        .max_size(size)
        .runtime(Runtime::Tokio1)
        .timeouts(Timeouts {
            wait: Some(config.database_pool_wait),
            create: Some(config.database_connect_timeout),
            recycle: Some(config.database_connect_timeout),
        })
        .build()
        .map_err(|error| StoreError::Settings(error.to_string()))
}

/// How to connect, with the time limits that every connection of the registry has.
pub(super) fn connection_settings(config: &Config) -> Result<(tokio_postgres::Config, Primary), StoreError> {
    let url = config.database().map_err(|error| StoreError::Settings(error.to_string()))?;
    let primary = Primary::new(url.encryption.as_ref().map(tls::connector).transpose()?);
    let mut settings = url.settings;
    if settings.get_application_name().is_none() {
        settings.application_name("token-registry");
    }
    if settings.get_connect_timeout().is_none() {
        settings.connect_timeout(config.database_connect_timeout);
    }
    // A peer that has vanished is noticed while a connection is idle, and soon while a statement waits for it.
    settings.keepalives_idle(Duration::from_secs(5)).keepalives_interval(Duration::from_secs(2));
    if settings.get_tcp_user_timeout().is_none() {
        settings.tcp_user_timeout(Duration::from_secs(5));
    }
    // Read replicas are behind: what was revoked is still active there.
    settings.target_session_attrs(TargetSessionAttrs::ReadWrite);
    // The URL's own options come last, and win.
    let own = settings.get_options().unwrap_or_default();
    let options = format!(
        "-c statement_timeout={} -c lock_timeout={} -c idle_in_transaction_session_timeout=10000 {NEVER_COMPILED} {own}",
        config.statement_timeout.as_millis(),
        config.lock_timeout.as_millis(),
    );
    #[cfg(feature = "planted-bugs")]
    let options = options + crate::planted::connection_options();
    settings.options(options.trim());
    Ok((settings, primary))
}
