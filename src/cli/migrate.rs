//! `migrate`: the schema, without a server.

use super::failure::{Failure, with_causes};
use super::output::print;
use super::start_logs;
use crate::config::{Config, Flags};
use crate::store;

pub(super) async fn migrate(flags: &Flags) -> Result<(), Failure> {
    let config = Config::load(flags)?;
    config.database_url()?;
    let telemetry = start_logs(&config)?;
    let migrated = store::migrate(&config).await;
    telemetry.finish().await;
    let store::Migrated { from, to } = migrated.map_err(|error| Failure::Running(with_causes(&error)))?;
    print(&if from == to {
        format!("schema is up to date ({to})\n")
    } else {
        format!("schema {from} -> {to}\n")
    });
    Ok(())
}
