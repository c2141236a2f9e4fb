//! From a database URL to a registry that may answer: reach it, bring its schema up, agree on the server key.

use std::time::Duration;

use futures_util::future::join;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::timeout;
use tokio_postgres::Client;

use super::error::StoreError;
use super::migrate::{self, Migrated};
use super::pool::connection_settings;
use super::statements::SERVER_KEY;
use super::{Call, Store};
use crate::config::Config;
use crate::registry::Failure;
use crate::registry::secrets::{ServerKeys, mint_server_key};

/// Connects outside the pool, brings the schema up and ends the connection.
///
/// # Errors
/// The database can't be reached or its schema isn't one that this binary can bring up.
pub async fn migrate(config: &Config) -> Result<Migrated, StoreError> {
    let (mut settings, primary) = connection_settings(config)?;
    settings.connect_timeout(config.database_connect_timeout);
    let connecting = timeout(config.database_connect_timeout, primary.connect(&settings));
    let (mut client, driver) =
        connecting.await.map_err(|_| StoreError::Unreachable("no answer in time".to_owned()))??;
    let result = bring_up(&mut client).await;
    drop(client);
    // The embedded database takes one connection at a time: wait until this one is really gone.
    let _ = timeout(Duration::from_secs(5), driver).await;
    result
}

async fn bring_up(client: &mut Client) -> Result<Migrated, StoreError> {
    let row = client.query_one("show default_transaction_isolation", &[]).await?;
    let isolation: String = row.try_get(0)?;
    if isolation != "read committed" {
        return Err(StoreError::Isolation(isolation));
    }
    migrate::migrate(client).await
}

impl Store {
    /// Makes the store ready: reaches the database, brings its schema up and agrees on the server's keys.
    /// Until it has, every call is refused as unavailable.
    ///
    /// # Errors
    /// See [`StoreError::is_passing`] for whether to try again.
    pub async fn open(&self, config: &Config) -> Result<Migrated, StoreError> {
        let migrated = migrate(config).await?;
        let keys = self.server_keys(config).await?;
        let _ = self.keys.set(keys);
        Ok(migrated)
    }

    async fn server_keys(&self, config: &Config) -> Result<ServerKeys, StoreError> {
        let bytes = |key: &SecretString| key.expose_secret().as_bytes().to_vec();
        let mut configured = config.server_keys.iter().map(bytes);
        let (current, previous) = (configured.next(), configured.next());
        if let (Some(current), Some(previous)) = (&current, &previous) {
            return Ok(ServerKeys::new(current.clone(), Some(previous.clone())));
        }
        // A key that the registry made for itself stays understood when one is configured for the first time.
        let own = self.own_key(current.is_none()).await?;
        match (current, own) {
            (Some(current), own) => Ok(ServerKeys::new(current, own)),
            (None, Some(own)) => Ok(ServerKeys::new(own, None)),
            (None, None) => Err(StoreError::Unreachable("no server key yet".to_owned())),
        }
    }

    async fn own_key(&self, make: bool) -> Result<Option<Vec<u8>>, StoreError> {
        let proposed = make.then(|| mint_server_key(&mut rand::rng()));
        let call = Call::within(Duration::from_secs(10));
        let connection = self.pool.connection(&call).await.map_err(unreachable)?;
        let row = connection.row(&SERVER_KEY, &[&proposed]).await.map_err(unreachable)?;
        let Some(row) = row else { return Ok(None) };
        if row.try_get(1)? {
            tracing::warn!(
                "no TOKEN_REGISTRY_SERVER_KEYS configured: made a random server key and keep it in the database; \
                 whoever reads the database can search codes with it"
            );
        }
        Ok(Some(row.try_get(0)?))
    }

    /// Whether the database answers now: what readiness tells. Looks for the primary too, where several hosts are
    /// named.
    ///
    /// # Errors
    /// Why it doesn't.
    pub async fn ping(&self, within: Duration) -> Result<(), Failure> {
        let call = Call::within(within);
        let ((), connection) =
            join(self.pool.look_for_the_primary(within), self.pool.connection(&call)).await;
        let connection = connection?;
        if let Ok(Ok(())) = timeout(within, connection.ping()).await {
            return Ok(());
        }
        connection.discard();
        Err(Failure::DatabaseUnavailable)
    }
}

fn unreachable(why: impl std::fmt::Debug) -> StoreError {
    StoreError::Unreachable(format!("{why:?}"))
}
