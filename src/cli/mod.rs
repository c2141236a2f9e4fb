//! The command line: what `token-registry` says and does before and after the server runs.
//!
//! Exit codes: 0; 64 when the command line or the configuration is wrong, so that a supervisor can tell "restarting
//! won't help" from 1, a failure at run time. Commands that call a registry end with 69 when it can't be reached or
//! can't answer now, and with 77 when it doesn't let the caller; 1 is then a refusal.
//!
//! One file a command. A new one is a variant of `Command`, a struct of clap's and a function that runs it; those
//! that call a registry take a `client::Connection` and print through `output::Output`.

mod client;
mod completions;
mod configuration;
mod confirm;
#[cfg_attr(not(feature = "embedded"), path = "dev_left_out.rs")]
mod dev;
mod failure;
mod generic;
mod health;
mod import;
mod key;
mod listen;
mod migrate;
mod output;
mod pages;
mod purge;
mod serve;
mod session;
mod signals;
mod stats;
mod user;
mod user_agent;

use std::ffi::OsString;
use std::future::Future;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory as _, Parser, Subcommand};

use self::configuration::ConfigCommand;
use self::failure::{Failure, USAGE, with_causes};
use self::import::ImportCommand;
use crate::config::{self, Config, Flags};
use crate::server;
use crate::telemetry::{self, Telemetry};

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

  Who is ada, on which devices, and end one of them:
      token-registry user show ada
      token-registry session list ada
      token-registry session revoke ada SESSION

Configuration:
  --rotation-grace 10s                  a flag, which wins over
  TOKEN_REGISTRY_ROTATION_GRACE=10s     the environment, which wins over
  rotation_grace = \"10s\"                a TOML file, named by --config or TOKEN_REGISTRY_CONFIG

  `token-registry serve --help` explains every setting, `token-registry config print`
  writes them all as a file to start from.

Exit codes:
  0   done
  64  the command line or the configuration is wrong: starting again won't help
  69  the registry that was called can't be reached or can't answer now: try again
  77  the registry that was called doesn't let this caller do that
  1   anything else went wrong, or was refused";

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
    #[command(about = "Bring another system's users, sessions and tokens into the registry")]
    Import {
        #[command(subcommand)]
        command: ImportCommand,
    },
    #[command(about = "Check or print the configuration")]
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Look at a user, end what they opened, suspend or delete them
    User(user::User),
    /// List and end a user's sessions
    Session(session::Session),
    /// List and revoke a user's one-time tokens
    Generic(generic::Generic),
    /// Make, list and remove a user's API keys
    Key(key::Key),
    /// Remove what has been over for long, or (without --apply) count it
    Purge(purge::Purge),
    /// Count what there is, by kind and state
    Stats(stats::Stats),
    /// Ask a running registry whether it serves
    Health(health::Health),
    /// Print what the registry reads from a User-Agent header
    UserAgent(user_agent::UserAgent),
    /// Print a script that completes commands and flags in a shell
    Completions(completions::Completions),
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
            return if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
        }
    };
    let done = match cli.command {
        Command::Serve { flags } => serve::serve(&flags),
        Command::Dev { data, flags } => in_runtime(dev::dev(data, &flags)),
        Command::Migrate { flags } => in_runtime(migrate::migrate(&flags)),
        Command::Import { command } => import::run(command),
        Command::Config { command } => configuration::run(&command),
        Command::User(user) => in_runtime(user::run(user)),
        Command::Session(session) => in_runtime(session::run(session)),
        Command::Generic(generic) => in_runtime(generic::run(generic)),
        Command::Key(key) => in_runtime(key::run(key)),
        Command::Purge(purge) => in_runtime(purge::run(purge)),
        Command::Stats(stats) => in_runtime(stats::run(stats)),
        Command::Health(health) => in_runtime(health::run(health)),
        Command::UserAgent(user_agent) => {
            user_agent::run(&user_agent);
            Ok(())
        }
        Command::Completions(completions) => {
            completions::run(&completions, &mut Cli::command());
            Ok(())
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.tell(),
    }
}

fn in_runtime(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    in_runtime_of(None, work)
}

fn in_runtime_of(
    threads: Option<usize>,
    work: impl Future<Output = Result<(), Failure>>,
) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads.unwrap_or_else(server::worker_threads))
        .enable_all()
        .build()
        .map_err(|error| Failure::Running(format!("can't start threads: {error}")))?;
    let done = runtime.block_on(work);
    // What is still blocked then (a name being looked up, say) must not hold up the exit.
    runtime.shutdown_timeout(Duration::from_secs(1));
    done
}

/// From here on there are log lines; the first ones are about variables that a running server does without.
fn start_logs(config: &Config) -> Result<Telemetry, Failure> {
    let telemetry = telemetry::start(config).map_err(|error| Failure::Running(with_causes(&error)))?;
    for problem in config::unknown_variables(std::env::vars_os()) {
        tracing::warn!("{problem}; it is ignored");
    }
    Ok(telemetry)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
