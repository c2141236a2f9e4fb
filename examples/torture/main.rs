//! `cargo run --release --example torture -- --minutes 5`: tries to break the registry's promises for as long as one
//! likes, and judges all that callers were answered by the contract's model (`tests/contract/`).
//!
//! | file | what it is for |
//! |---|---|
//! | `options.rs` | the command line |
//! | `replica.rs` | servers as processes of their own, killed and started again |
//! | `database.rs` | a primary, in whose place a standby takes over now and then, and the links to it |
//! | `arena.rs` | what a run has: the database, the replicas, ways to reach them |
//! | `party.rs` | callers of one user, all at once, and what they were answered |
//! | `judge.rs` | histories are read back after a kill, then checked |
//! | `faults.rs` | what goes wrong while they call |
//! | `purge.rs` | what is over is purged beside all that |
//! | `tally.rs` | what happened so far |
//! | `report.rs` | progress, the table at the end, a violation as a timeline |
//! | `planted.rs` | the judge judged: bugs planted on purpose have to be found |
//!
//! A user is made, called about by one to a dozen callers for less than a second, and never touched again: so histories
//! are short, any number of them can be checked, and memory stays flat.

#[path = "../../tests/contract/mod.rs"]
mod contract;
#[path = "../../tests/support/disk.rs"]
mod disk;
#[path = "../../tests/support/installed.rs"]
#[allow(dead_code, reason = "the torture uses a part of what the tests do")]
mod installed;
#[path = "../../tests/support/pgbouncer.rs"]
#[allow(dead_code, reason = "the torture uses a part of what the tests do")]
mod pgbouncer;
#[path = "../../tests/support/postgres/mod.rs"]
#[allow(dead_code, reason = "the torture uses a part of what the tests do")]
mod postgres;
#[path = "../../tests/support/proxy/mod.rs"]
#[allow(dead_code, reason = "the torture uses a part of what the tests do")]
mod proxy;

mod arena;
mod database;
mod faults;
mod judge;
mod options;
mod party;
#[cfg(feature = "planted-bugs")]
mod planted;
mod purge;
mod replica;
mod report;
mod tally;

use std::io::Read as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;

use clap::Parser as _;
use tokio::runtime::Handle;

use arena::Arena;
use options::{CommandLine, Plan, Role};

fn main() -> ExitCode {
    let line = CommandLine::parse();
    if let Some(Role::Replica) = line.role {
        return replica_process();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let plan = line.plan();
    #[cfg(feature = "planted-bugs")]
    if let Some(bugs) = &plan.planted {
        return runtime.block_on(planted::find_all(&plan, bugs));
    }
    #[cfg(not(feature = "planted-bugs"))]
    if plan.planted.is_some() {
        eprintln!("torture: there are no planted bugs without the cargo feature planted-bugs");
        return ExitCode::FAILURE;
    }
    let (arena, violations) = runtime.block_on(torture(plan));
    report::table(&arena);
    for violation in &violations {
        report::violation(&arena, violation);
    }
    if violations.is_empty() && arena.tally.is_sound() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// One run: until the time is over, or until something is found.
async fn torture(plan: Plan) -> (Arc<Arena>, Vec<judge::Violation>) {
    let (arena, histories, checked) = Arena::open(plan).await;
    let arena = Arc::new(arena);
    let judging = judge::judges(&arena, histories);
    let deleting = tokio::spawn(Arc::clone(&arena).delete(checked));
    let progress = tokio::spawn(report::progress(Arc::clone(&arena)));
    if arena.plan.quiet {
        progress.abort();
    }
    let faults = tokio::task::spawn_blocking({
        let (arena, runtime) = (Arc::clone(&arena), Handle::current());
        move || faults::inject(&arena, &runtime)
    });
    party::keep_calling(&arena).await;
    faults.await.expect("faults don't panic");
    arena.judge_the_rest().await;
    let violations = tokio::task::spawn_blocking(move || judging.finish()).await.expect("no panic");
    progress.abort();
    deleting.abort();
    arena.close();
    (arena, violations)
}

/// A server, until its torturer is gone.
fn replica_process() -> ExitCode {
    thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    token_registry::cli::run(["token-registry", "serve"].map(Into::into))
}
