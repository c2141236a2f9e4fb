//! `serve`: the server on the operator's PostgreSQL.

use super::failure::{Failure, with_causes};
use super::listen::listen;
use super::signals::shutdown_signal;
use super::{in_runtime_of, start_logs};
use crate::config::{Config, Flags};
use crate::server;

pub(super) fn serve(flags: &Flags) -> Result<(), Failure> {
    let config = Config::load(flags)?;
    config.database_url()?;
    in_runtime_of(config.worker_threads, run(config))
}

async fn run(config: Config) -> Result<(), Failure> {
    let telemetry = start_logs(&config)?;
    #[cfg(feature = "planted-bugs")]
    crate::planted::say();
    let shutdown = shutdown_signal()?;
    let (listener, address) = listen(config.listen).await?;
    tracing::info!(%address, "listening");
    let done = server::run(listener, config, shutdown).await;
    telemetry.finish().await;
    done.map_err(|error| Failure::Running(with_causes(&error)))
}
