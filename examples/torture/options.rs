//! The command line. The torture runs itself again as server: that is its hidden command.

use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::contract::program::Theme;

/// Tries to break the registry's promises: random callers, several replicas, kills of servers and database in the midst
/// of load. Everything that callers were answered is checked against the contract's model. Starts a PostgreSQL and
/// servers of its own, and ends them.
///
/// Exit code 1 if a promise was broken; the shortest history that shows it is printed.
#[derive(Debug, Parser)]
#[command(name = "torture", args_conflicts_with_subcommands = true, max_term_width = 100)]
pub struct CommandLine {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    pub role: Option<Role>,
}

/// What the torture's own processes do.
#[derive(Debug, Subcommand)]
pub enum Role {
    /// Serve a registry as the environment says, until standard input ends.
    #[command(hide = true)]
    Replica,
}

#[derive(Debug, Args)]
struct Options {
    /// How long
    #[arg(long, default_value_t = 1.0)]
    minutes: f64,
    /// Repeats the choices of a run: who calls what, which faults come. Which call meets which is up to the machine,
    /// and so is what callers learn from answers and go on with
    #[arg(long)]
    seed: Option<u64>,
    /// Only these: themes of callers, or kinds of faults. Default: all
    #[arg(long, value_delimiter = ',', value_name = "NAME,…")]
    only: Vec<Only>,
    /// No faults at all
    #[arg(long)]
    calm: bool,
    /// Servers on the one database
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=9))]
    replicas: u8,
    /// Whether servers gather requests; mixed: every second one doesn't
    #[arg(long, value_enum, default_value_t = Gathering::Mixed)]
    gathering: Gathering,
    /// Users that are called about at one time
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u16).range(1..=1000))]
    users: u16,
    /// Milliseconds of load between two faults, at most
    #[arg(long, default_value_t = 500)]
    pause: u64,
    /// Find bugs that were planted on purpose: `all`, or names. Needs the cargo feature `planted-bugs`
    #[arg(long, value_delimiter = ',', value_name = "BUG,…")]
    planted: Option<Vec<String>>,
}

/// What a run may be narrowed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Only {
    /// Callers: rotations of few sessions
    Sessions,
    /// Callers: one-time tokens
    OneTime,
    /// Callers: everything of a user, and what ends it
    User,
    /// Callers: API keys
    Keys,
    /// Faults: SIGKILL of a server
    KillServer,
    /// Faults: SIGSTOP of a server, for a while
    FreezeServer,
    /// Faults: SIGKILL of all of PostgreSQL's processes
    KillDatabase,
    /// Faults: PostgreSQL's immediate stop
    StopDatabase,
    /// Faults: SIGSTOP of PostgreSQL, for a while
    FreezeDatabase,
    /// Faults: the link between a server and the database is cut
    CutLink,
    /// Faults: that link is slow, for a while
    SlowLink,
    /// Faults: that link swallows everything, for a while
    BlackHole,
    /// Faults: an answer is cut off in its midst, on its way to a server or to a caller
    CutAnswer,
    /// Faults: others take all of the database's connections, for a while
    ExhaustConnections,
    /// Faults: SIGKILL of the PgBouncer that one of three servers goes through
    KillPgbouncer,
    /// Faults, and only when asked for: the database's disk is full for a while, until a standby elsewhere is promoted
    FillDisk,
    /// Faults, though it shouldn't be one: what is over is purged at once, for a while
    Purge,
    /// Faults: a standby is promoted in the place of a primary that is dead, hangs or lives on
    Promote,
}

/// Whether servers gather requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Gathering {
    On,
    Off,
    Mixed,
}

/// What a run does.
#[derive(Debug, Clone)]
pub struct Plan {
    pub time: Duration,
    pub seed: u64,
    pub themes: Vec<Theme>,
    /// With how often each comes.
    pub faults: Vec<(u32, Only)>,
    pub replicas: u8,
    pub gathering: Gathering,
    pub users: u16,
    pub pause: Duration,
    /// Bugs to find.
    pub planted: Option<Vec<String>>,
    /// The bug in this run's servers.
    pub bug: Option<&'static str>,
    /// Without progress.
    pub quiet: bool,
}

const THEMES: [(Only, Theme); 4] = [
    (Only::Sessions, Theme::Sessions),
    (Only::OneTime, Theme::OneTime),
    (Only::User, Theme::User),
    (Only::Keys, Theme::Keys),
];
/// Faults, and how often each comes.
const FAULTS: [(u32, Only); 13] = [
    (14, Only::KillServer),
    (10, Only::KillDatabase),
    (6, Only::StopDatabase),
    (3, Only::FreezeServer),
    (2, Only::FreezeDatabase),
    (3, Only::CutLink),
    (2, Only::SlowLink),
    (1, Only::BlackHole),
    (4, Only::CutAnswer),
    (1, Only::ExhaustConnections),
    (2, Only::KillPgbouncer),
    (3, Only::Purge),
    (1, Only::Promote),
];

/// Faults that come only when they are asked for: this one has the database in memory, on a disk of the run's own.
const ON_REQUEST: [(u32, Only); 1] = [(6, Only::FillDisk)];

impl Plan {
    /// Whether the database's disk is to be full at times.
    pub fn fills_disk(&self) -> bool {
        self.faults.iter().any(|(_, fault)| *fault == Only::FillDisk)
    }

    /// Whether there are faults after which acknowledged writes are read back.
    pub fn has_kills(&self) -> bool {
        self.faults.iter().any(|(_, fault)| fault.is_kill())
    }
}

impl Only {
    /// Whether it ends a server or a database, or may.
    fn is_kill(self) -> bool {
        matches!(
            self,
            Self::KillServer | Self::KillDatabase | Self::StopDatabase | Self::Promote | Self::FillDisk
        )
    }
}

impl CommandLine {
    pub fn plan(self) -> Plan {
        let Options { minutes, seed, only, calm, replicas, gathering, users, pause, planted } = self.options;
        let mut themes: Vec<_> =
            THEMES.iter().filter(|(name, _)| only.contains(name)).map(|(_, theme)| *theme).collect();
        if themes.is_empty() {
            // The hot path twice as often.
            themes = vec![Theme::Sessions, Theme::Sessions, Theme::OneTime, Theme::User, Theme::Keys];
        }
        let mut faults: Vec<_> =
            FAULTS.into_iter().chain(ON_REQUEST).filter(|(_, fault)| only.contains(fault)).collect();
        if calm {
            faults.clear();
        } else if faults.is_empty() {
            faults = FAULTS.to_vec();
        }
        Plan {
            time: Duration::from_secs_f64((minutes * 60.0).clamp(0.0, 1e6)),
            seed: seed.unwrap_or_else(rand::random),
            themes,
            faults,
            replicas,
            gathering,
            users,
            pause: Duration::from_millis(pause),
            planted,
            bug: None,
            quiet: false,
        }
    }
}
