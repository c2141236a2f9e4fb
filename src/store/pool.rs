//! The pool of connections, with bounded waits.

use std::time::Duration;

use deadpool_postgres::{Manager, ManagerConfig, PoolError, RecyclingMethod, Runtime, TimeoutType, Timeouts};
use secrecy::ExposeSecret as _;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout_at};
use tokio_postgres::NoTls;
use tokio_postgres::config::TargetSessionAttrs;

use super::startup::StoreError;
use super::{Call, Connection};
use crate::config::Config;
use crate::registry::Failure;

/// Connections to one database.
pub(super) struct Pool {
    connections: deadpool_postgres::Pool,
    wait: Duration,
    /// Work on all of a user's rows can take long: it may use at most half of the connections, so that it holds up
    /// no login.
    bulk: Semaphore,
    bulk_timeout: Duration,
}

impl Pool {
    pub(super) fn new(config: &Config) -> Result<Self, StoreError> {
        let manager = Manager::from_config(
            connection_settings(config)?,
            NoTls,
            // A closed connection is noticed without a round trip; one that fails in use is discarded.
            ManagerConfig { recycling_method: RecyclingMethod::Fast },
        );
        let size = config.database_pool_size;
        let connections = deadpool_postgres::Pool::builder(manager)
            .max_size(size)
            .runtime(Runtime::Tokio1)
            .timeouts(Timeouts {
                wait: Some(config.database_pool_wait),
                create: Some(config.database_connect_timeout),
                recycle: Some(config.database_connect_timeout),
            })
            .build()
            .map_err(|error| StoreError::Settings(error.to_string()))?;
        Ok(Self {
            connections,
            wait: config.database_pool_wait,
            bulk: Semaphore::new((size / 2).max(1)),
            bulk_timeout: config.bulk_timeout,
        })
    }

    /// A connection of the pool, before the call's deadline and the pool's own bound.
    pub(super) async fn connection(&self, call: &Call) -> Result<Connection, Failure> {
        if call.deadline() <= Instant::now() {
            return Err(Failure::Overloaded);
        }
        match timeout_at(call.deadline(), self.connections.get()).await {
            Ok(Ok(object)) => Ok(Connection::new(object)),
            Ok(Err(PoolError::Timeout(TimeoutType::Wait))) | Err(_) => Err(Failure::Overloaded),
            Ok(Err(error)) => {
                tracing::debug!(%error, "no connection to the database");
                Err(Failure::DatabaseUnavailable)
            }
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

/// How to connect, with the time limits that every connection of the registry has.
pub(super) fn connection_settings(config: &Config) -> Result<tokio_postgres::Config, StoreError> {
    let url = config.database_url().map_err(|error| StoreError::Settings(error.to_string()))?;
    let mut settings: tokio_postgres::Config = url
        .expose_secret()
        .parse()
        .map_err(|error: tokio_postgres::Error| StoreError::Settings(error.to_string()))?;
    if settings.get_application_name().is_none() {
        settings.application_name("token-registry");
    }
    if settings.get_connect_timeout().is_none() {
        settings.connect_timeout(config.database_connect_timeout);
    }
    settings.keepalives_idle(Duration::from_secs(30));
    settings.tcp_user_timeout(Duration::from_secs(15));
    // After a failover, only the primary will do.
    settings.target_session_attrs(TargetSessionAttrs::ReadWrite);
    // The URL's own options come last, and win.
    let own = settings.get_options().unwrap_or_default();
    let options = format!(
        "-c statement_timeout={} -c lock_timeout={} -c idle_in_transaction_session_timeout=10000 {own}",
        config.statement_timeout.as_millis(),
        config.lock_timeout.as_millis(),
    );
    settings.options(options.trim());
    Ok(settings)
}
