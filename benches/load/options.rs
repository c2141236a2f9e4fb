//! The command line. The bench runs itself again as server and as load generator: those are its two hidden commands.

use std::time::Duration;

use clap::{Args, Parser, Subcommand};

/// Measures the registry against its ceilings and rivals, on a PostgreSQL of its own, and ends by itself.
#[derive(Debug, Parser)]
#[command(name = "load", args_conflicts_with_subcommands = true)]
pub struct CommandLine {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    pub role: Option<Role>,
}

/// What the bench's own processes do.
#[derive(Debug, Subcommand)]
pub enum Role {
    /// Serve a registry, and an echo beside it, until standard input ends.
    #[command(hide = true)]
    Server {
        database_url: String,
        #[arg(long)]
        ungathered: bool,
    },
    /// Make load, as told on standard input.
    #[command(hide = true)]
    Generator {
        sessions: u64,
        secrets: u64,
        /// Rotate the sessions that are pgbench's, too.
        #[arg(long)]
        rotate_all: bool,
    },
}

#[derive(Debug, Args)]
struct Options {
    /// 100 thousand sessions, about three minutes (the default)
    #[arg(long, conflicts_with = "full")]
    quick: bool,
    /// 1 million sessions, and 10 million for the row about growth; more than half an hour, 10 GB of disk
    #[arg(long)]
    full: bool,
    /// Only these rows, by the names that the table shows or the beginnings of names
    #[arg(long, value_delimiter = ',', value_name = "ROW,…")]
    only: Vec<String>,
    /// Length of one measurement (quick 1, full 10)
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: Option<u32>,
    /// How often each measurement takes its turn (quick 3, full 5)
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: Option<u32>,
    /// Sessions, five a user
    #[arg(long, value_parser = clap::value_parser!(u64).range(10_000..=50_000_000))]
    sessions: Option<u64>,
    /// Sessions of the larger table in the row about growth
    #[arg(long, value_parser = clap::value_parser!(u64).range(10_000..=50_000_000))]
    large: Option<u64>,
    /// Cargo passes this
    #[arg(long, hide = true)]
    bench: bool,
}

/// What to measure, and for how long.
#[derive(Debug)]
pub struct Plan {
    pub full: bool,
    pub seconds: u32,
    pub rounds: u32,
    pub sessions: u64,
    pub large: u64,
    only: Vec<String>,
}

impl CommandLine {
    pub fn plan(&self) -> Plan {
        let full = self.options.full;
        let sessions = self.options.sessions.unwrap_or(if full { 1_000_000 } else { 100_000 });
        Plan {
            full,
            seconds: self.options.seconds.unwrap_or(if full { 10 } else { 1 }),
            rounds: self.options.rounds.unwrap_or(if full { 5 } else { 3 }),
            sessions,
            large: self.options.large.unwrap_or(if full { 10_000_000 } else { sessions }),
            only: self.options.only.clone(),
        }
    }
}

impl Plan {
    /// Whether any of these rows is wanted.
    pub fn wants(&self, rows: &[&str]) -> bool {
        self.only.is_empty()
            || rows.iter().any(|row| self.only.iter().any(|only| row.starts_with(only.as_str())))
    }

    /// The rows named that there are none of.
    pub fn unknown<'a>(&'a self, known: &[&str]) -> Vec<&'a str> {
        self.only
            .iter()
            .map(String::as_str)
            .filter(|only| !known.iter().any(|row| row.starts_with(only)))
            .collect()
    }

    pub fn length(&self) -> Duration {
        Duration::from_secs(self.seconds.into())
    }

    /// Unmeasured load before each measurement.
    pub fn warm_up(&self) -> Duration {
        Duration::from_millis(if self.full { 1000 } else { 150 })
    }
}
