//! The judge judged: bugs that were planted on purpose (cargo feature `planted-bugs`) have to be found.

use std::process::ExitCode;
use std::time::Duration;

use token_registry::planted::{ALL, Bug};

use crate::contract::program::Theme;
use crate::options::{Only, Plan};
use crate::report;
use crate::tally::get;
use crate::torture;

/// How long a bug may stay unfound.
const LIMIT: Duration = Duration::from_mins(1);

/// Plants one bug after the other, each in servers on a database of their own, and looks whether it is found.
pub async fn find_all(plan: &Plan, named: &[String]) -> ExitCode {
    let wanted = |name: &str| named.iter().any(|wanted| wanted == name || wanted == "all");
    let bugs: Vec<_> = ALL.iter().filter(|(name, _)| wanted(name)).collect();
    if bugs.is_empty() {
        let names: Vec<_> = ALL.iter().map(|(name, _)| *name).collect();
        eprintln!("torture: no such bug; there are {}", names.join(", "));
        return ExitCode::FAILURE;
    }
    let mut found = 0;
    for (name, bug) in &bugs {
        let plan = Plan {
            time: LIMIT,
            themes: vec![theme(*bug)],
            faults: fault(*bug).into_iter().map(|fault| (1, fault)).collect(),
            replicas: 2,
            bug: Some(name),
            quiet: true,
            ..plan.clone()
        };
        let (arena, violations) = torture(plan).await;
        let checked = get(&arena.tally.checked);
        match violations.first() {
            Some(violation) => {
                found += 1;
                let time = report::seconds(violation.when);
                let shown = violation.shrunk.essence.len();
                println!(
                    "{name:28} found after {time:5.1} s and {checked:>6} calls, shown by {shown} of them"
                );
                if bugs.len() == 1 {
                    report::violation(&arena, violation);
                    report::complaints(&arena);
                }
            }
            None => println!(
                "{name:28} {} in {:.1} s and {checked} calls",
                report::coloured(false, "NOT FOUND"),
                report::seconds(arena.tally.now())
            ),
        }
    }
    let all = bugs.len();
    println!("planted bugs found: {}", report::coloured(found == all, &format!("{found} of {all}")));
    if found == all { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What has to happen for the bug to show.
fn fault(bug: Bug) -> Option<Only> {
    match bug {
        // Only a kill shows what was never written.
        Bug::HeldInMemory => Some(Only::KillDatabase),
        Bug::PurgeTakesLive => Some(Only::Purge),
        _ => None,
    }
}

/// What callers do who meet the bug.
fn theme(bug: Bug) -> Theme {
    match bug {
        Bug::TwoTokensLive | Bug::ConsumeTwice => Theme::OneTime,
        Bug::RevokeAllMissesSession | Bug::BornAlive => Theme::User,
        Bug::StaleAuthentication | Bug::ReplaceMissesKey | Bug::SecondKey => Theme::Keys,
        _ => Theme::Sessions,
    }
}
