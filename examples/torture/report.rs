//! What a person sees: progress, the table at the end, and violations as timelines.

use std::io::IsTerminal as _;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use crate::arena::Arena;
use crate::contract::timeline::timeline;
use crate::judge::Violation;
use crate::tally::get;

/// A line every few seconds.
pub async fn progress(arena: Arc<Arena>) {
    let mut before = 0;
    let step = Duration::from_secs(5);
    loop {
        tokio::time::sleep(step).await;
        let tally = &arena.tally;
        let checked = get(&tally.checked);
        let violations = get(&tally.violations);
        println!(
            "{:6.0} s  {:>11} checked, {:>6}/s  {:>5} kills  {:>3} promotions  {:>7} of unknown outcome  {}",
            seconds(tally.now()),
            grouped(checked),
            grouped((checked - before) / step.as_secs()),
            tally.kills(),
            tally.promotions(),
            grouped(get(&tally.unknown)),
            coloured(violations == 0, &format!("{violations} violations")),
        );
        before = checked;
    }
}

/// The table at the end.
pub fn table(arena: &Arena) {
    let tally = &arena.tally;
    let time = seconds(tally.now());
    let (checked, violations) = (get(&tally.checked), get(&tally.violations));
    let ok = |is_ok: bool| coloured(is_ok, if is_ok { "ok" } else { "BROKEN" });
    println!();
    let rows = [
        (
            "operations whose history was checked",
            grouped(checked),
            format!("{} users", grouped(get(&tally.histories))),
        ),
        ("violations", violations.to_string(), ok(violations == 0)),
        ("histories too tangled to decide", get(&tally.undecided).to_string(), String::new()),
        (
            "operations of unknown outcome",
            grouped(get(&tally.unknown)),
            format!("{} left by their caller", grouped(get(&tally.left))),
        ),
        ("operations refused, not applied", grouped(get(&tally.not_applied)), String::new()),
        ("SIGKILLs of a server", grouped(get(&tally.server_kills)), String::new()),
        (
            "kills of the database",
            grouped(get(&tally.database_kills)),
            "SIGKILL or immediate stop".to_owned(),
        ),
        (
            "standbys promoted",
            grouped(tally.promotions()),
            format!(
                "{} for a dead or hanging primary, {} beside one that lived on",
                get(&tally.promotions_fenced),
                get(&tally.promotions_unfenced)
            ),
        ),
        ("freezes of a server or the database", grouped(get(&tally.freezes)), String::new()),
        (
            "links cut",
            grouped(get(&tally.cuts)),
            format!(
                "{} answers cut off, {} links slow or swallowing",
                get(&tally.cut_answers),
                get(&tally.bad_links)
            ),
        ),
        ("SIGKILLs of PgBouncer", get(&tally.pgbouncer_kills).to_string(), String::new()),
        ("times that others took all connections", get(&tally.exhaustions).to_string(), String::new()),
        (
            "times that the database's disk was full",
            get(&tally.full_disks).to_string(),
            format!("it went down {} times", get(&tally.full_disk_crashes)),
        ),
        (
            "rows that a purge took beside the calls",
            grouped(get(&tally.purged)),
            format!(
                "{} of the users whose history it may have touched",
                grouped(get(&tally.histories_purged))
            ),
        ),
        (
            "answers of a primary that was replaced",
            grouped(get(&tally.maybe_stale)),
            "may be old, taken as unknown".to_owned(),
        ),
        ("acknowledged writes read back after a kill", grouped(get(&tally.read_back)), ok(violations == 0)),
        (
            "longest from the database's return to every server's answer",
            format!("{:.3} s", seconds(get(&tally.recovery_after_database))),
            String::new(),
        ),
        (
            "longest from a promotion to every server's answer",
            format!("{:.3} s", seconds(get(&tally.recovery_after_promotion))),
            String::new(),
        ),
        (
            "longest from a bad link's end to every server's answer",
            format!("{:.3} s", seconds(get(&tally.recovery_after_link))),
            "and of a lack of connections".to_owned(),
        ),
        (
            "longest from a server's start to its first answer",
            format!("{:.3} s", seconds(get(&tally.recovery_after_server))),
            String::new(),
        ),
        (
            "servers that never came back",
            get(&tally.lost_servers).to_string(),
            ok(get(&tally.lost_servers) == 0),
        ),
    ];
    let width = rows.iter().map(|(what, ..)| what.len()).max().unwrap_or_default();
    for (what, figure, remark) in rows {
        println!("{what:width$}  {figure:>12}  {remark}");
    }
    println!(
        "{} replicas, gathering {:?}, {:.0} s, seed {}",
        arena.plan.replicas, arena.plan.gathering, time, arena.plan.seed
    );
    complaints(arena);
}

/// What servers logged that they never should.
pub fn complaints(arena: &Arena) {
    for (n, replica) in arena.replicas.iter().enumerate() {
        for line in replica.complaints() {
            println!("{} server {n} logged: {line}", coloured(false, "!"));
        }
    }
}

/// The shortest history that shows a violation.
pub fn violation(arena: &Arena, violation: &Violation) {
    let Violation { when, user_id, names, shrunk, events } = violation;
    let names = names.lock().unwrap_or_else(PoisonError::into_inner);
    println!();
    println!(
        "{} after {:.1} s: {} of {} calls about {user_id} can't have been answered in any order that the contract \
         allows (seed {}).",
        coloured(false, "VIOLATION"),
        seconds(*when),
        shrunk.essence.len(),
        events.len(),
        arena.plan.seed
    );
    println!("{}", timeline(&shrunk.essence, &names));
    println!("It can't be explained whatever became of the other {} calls.", shrunk.others);
    // Beside the program, where builds go and are cleaned away.
    let mut whole = events.clone();
    whole.sort_by_key(|event| event.began);
    if let Ok(mut path) = std::env::current_exe() {
        path.set_file_name(format!("torture-{}-{user_id}.txt", arena.plan.seed));
        if std::fs::write(&path, timeline(&whole, &names)).is_ok() {
            println!("All of them: {}", path.display());
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
pub fn seconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e9
}

/// `1234567` as `1,234,567`.
fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

pub fn coloured(is_good: bool, text: &str) -> String {
    if std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none() {
        format!("\x1b[{}m{text}\x1b[0m", if is_good { 32 } else { 31 })
    } else {
        text.to_owned()
    }
}
