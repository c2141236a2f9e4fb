//! `cargo bench --bench load`: how fast the registry is, beside what limits it and what one would use instead.
//!
//! It starts a PostgreSQL of its own, fills it, and measures each row of the table with its rivals in turns, all on
//! this machine: only ratios mean anything elsewhere. `-- --help` tells the options.

mod alone;
mod cluster;
mod compare;
mod cpu;
mod crowd;
mod echo;
mod generator;
mod http2;
mod measurement;
mod names;
mod options;
mod overload;
mod pgbench;
mod plain;
mod plot;
// The tests' own.
#[path = "../../tests/support/postgres/mod.rs"]
#[allow(dead_code, reason = "the bench uses a part of what the tests do")]
mod postgres;
mod process;
mod purge;
mod questions;
mod replicas;
mod requests;
mod rows;
mod scripts;
mod server;
mod settings;
mod sizes;
mod spread;
mod stage;
mod table;
mod writes;

use std::io::IsTerminal as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::OnceLock;
use std::time::Instant;

use clap::Parser as _;

use options::{CommandLine, Plan, Role};

/// Why a measurement can't be made.
type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    allow_many_files();
    let line = CommandLine::parse();
    let done = match &line.role {
        Some(Role::Server { database_url, ungathered }) => server::serve(database_url, *ungathered),
        Some(Role::Generator { sessions, secrets, rotate_all }) => {
            generator::generate(*sessions, *secrets, *rotate_all)
        }
        None => conduct(line.plan()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("load: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn conduct(plan: Plan) -> Result<(), Failure> {
    let unknown = plan.unknown(rows::NAMES);
    if !unknown.is_empty() {
        return Err(format!("no rows {}; there are {}", unknown.join(", "), rows::NAMES.join(", ")).into());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let result = runtime.block_on(rows::measure(plan))?;

    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap_or(Path::new("target"));
    std::fs::write(directory.join("load.json"), serde_json::to_string_pretty(&result)?)?;
    std::fs::write(directory.join("load.svg"), plot::draw(&result.measurements))?;
    println!("{}", table::show(&result.rows, std::io::stdout().is_terminal()));
    println!("{}", table::show_cpu(&result.measurements));
    println!(
        "Each figure is a median, with least and most, of {} rounds of {} s in which the compared took turns; {} sessions, \
         PostgreSQL {}, {} processors.",
        result.rounds, result.seconds, result.sessions, result.postgresql, result.processors
    );
    if let Some(load) = result.load_before.filter(|load| *load > 0.5) {
        println!(
            "The machine wasn't idle: its load average was {load} before the start. Don't take these figures for more."
        );
    }
    println!("Written: {0}/load.json, {0}/load.svg", directory.display());
    let wrong = result.measurements.iter().filter(|measurement| measurement.outcome.errors > 0);
    let wrong: Vec<_> = wrong.map(|m| format!("{} of {}", m.outcome.errors, m.who)).collect();
    if !wrong.is_empty() {
        return Err(format!("requests went wrong, the figures don't count: {}", wrong.join(", ")).into());
    }
    Ok(())
}

/// Tells on standard error what is going on.
fn progress(what: &str) {
    static BEGUN: OnceLock<Instant> = OnceLock::new();
    eprintln!("{:6.1} s  {what}", BEGUN.get_or_init(Instant::now).elapsed().as_secs_f64());
}

/// Takes all the open files that the system gives without asking: there is a row with ten thousand connections.
fn allow_many_files() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    if let Ok((_, most)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, most, most);
    }
}
