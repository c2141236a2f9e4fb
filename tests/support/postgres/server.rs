//! The processes of a server: paused, resumed, stopped and killed together.

use std::fs;
use std::path::Path;
use std::process::{Child, Command};
use std::thread;
use std::time::Instant;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::watchdog::Watchdog;
use super::{POLL, SIGNAL_LIMIT};

/// The processes of a cluster.
pub(super) struct Server {
    pub(super) postmaster: Option<Child>,
    pub(super) watchdog: Watchdog,
}

/// A line of the machine's process table.
pub(super) struct Process {
    id: i32,
    parent: i32,
    /// `T` when stopped, `Z` or `X` when dead.
    state: char,
}

impl Server {
    /// The processes of the server: the postmaster, which comes first, and its
    /// children, which all the others are.
    fn processes(&self) -> Result<Vec<Process>, String> {
        let Some(postmaster) = &self.postmaster else {
            return Ok(Vec::new());
        };
        let postmaster = process_id(postmaster);
        let mut processes = process_table()?;
        processes.retain(|process| process.id == postmaster || process.parent == postmaster);
        processes.sort_by_key(|process| process.id != postmaster);
        Ok(processes)
    }

    /// The postmaster is stopped first, to have it start no more children, and
    /// the table is read again until all are seen to have stopped.
    pub(super) fn pause(&mut self) -> Result<Vec<Process>, String> {
        wait_until("the server to stop", || {
            let processes = self.processes()?;
            let mut stopped = true;
            for process in processes.iter().filter(|process| process.is_alive()) {
                if process.state != 'T' {
                    stopped = false;
                    signal(process.id, Signal::SIGSTOP)?;
                }
            }
            Ok(stopped.then_some(processes))
        })
    }

    pub(super) fn resume(&mut self) -> Result<(), String> {
        // The postmaster last, so that it finds its children awake.
        for process in self.processes()?.iter().rev() {
            signal(process.id, Signal::SIGCONT)?;
        }
        Ok(())
    }

    pub(super) fn kill(&mut self) -> Result<(), String> {
        if self.has_ended()? {
            return self.reap();
        }
        // Stopped first, as the children of a dead postmaster are not told
        // from other processes any more.
        let processes = self.pause()?;
        for process in &processes {
            signal(process.id, Signal::SIGKILL)?;
        }
        self.reap()?;
        wait_until("the killed server to vanish", || {
            let table = process_table()?;
            let alive = table
                .iter()
                .any(|process| process.is_alive() && processes.iter().any(|killed| killed.id == process.id));
            Ok((!alive).then_some(()))
        })
    }

    pub(super) fn stop(&mut self) -> Result<(), String> {
        if !self.has_ended()?
            && let Some(postmaster) = &self.postmaster
        {
            signal(process_id(postmaster), Signal::SIGQUIT)?;
            // In case that it is paused.
            self.resume()?;
            let ended = wait_until("the server to end", || Ok(self.has_ended()?.then_some(())));
            if ended.is_err() {
                return self.kill();
            }
        }
        self.reap()
    }

    /// Whether the postmaster is gone, of whatever cause.
    fn has_ended(&mut self) -> Result<bool, String> {
        self.postmaster.as_mut().map_or(Ok(true), |postmaster| {
            postmaster
                .try_wait()
                .map(|status| status.is_some())
                .map_err(|error| format!("cannot look at PostgreSQL: {error}"))
        })
    }

    /// Takes note of the postmaster's end.
    fn reap(&mut self) -> Result<(), String> {
        if let Some(mut postmaster) = self.postmaster.take() {
            // Before its number is given up to be another process's.
            self.watchdog.watch(None)?;
            postmaster.wait().map_err(|error| format!("cannot wait for PostgreSQL: {error}"))?;
        }
        Ok(())
    }
}

impl Process {
    fn parse(id: &str, parent: &str, state: char) -> Option<Self> {
        Some(Self { id: id.parse().ok()?, parent: parent.parse().ok()?, state })
    }

    /// Dead ones stay in the table until their parent has taken notice, which
    /// that of an orphan in a container may never do.
    fn is_alive(&self) -> bool {
        !matches!(self.state, 'Z' | 'X')
    }
}

fn process_id(child: &Child) -> i32 {
    i32::try_from(child.id()).expect("process numbers are positive numbers of C")
}

/// Sends a signal; that the process is gone already is fine.
pub(super) fn signal(process: i32, signal: Signal) -> Result<(), String> {
    match kill(Pid::from_raw(process), signal) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(error) => Err(format!("cannot send {signal} to {process}: {error}")),
    }
}

/// Looks again and again until `look` finds something. For what other
/// processes do, of which nothing tells us.
pub(super) fn wait_until<T>(
    what: &str,
    mut look: impl FnMut() -> Result<Option<T>, String>,
) -> Result<T, String> {
    let deadline = Instant::now() + SIGNAL_LIMIT;
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if Instant::now() > deadline {
            return Err(format!("waited {SIGNAL_LIMIT:?} for {what}"));
        }
        thread::sleep(POLL);
    }
}

/// All processes, of which `/proc` tells on Linux and `ps` elsewhere; images
/// for containers tend to lack the latter.
fn process_table() -> Result<Vec<Process>, String> {
    if Path::new("/proc/self/stat").exists() {
        let entries = fs::read_dir("/proc").map_err(|error| format!("cannot read /proc: {error}"))?;
        return Ok(entries
            .flatten()
            .filter(|entry| entry.file_name().as_encoded_bytes()[0].is_ascii_digit())
            // One that has ended since is no process any more.
            .filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok())
            .filter_map(|line| {
                // `1 (name) S 0 …`, where the name may contain anything.
                let (id, rest) = line.split_once(' ')?;
                let mut fields = rest.rsplit_once(')')?.1.split_whitespace();
                let state = fields.next()?.chars().next()?;
                Process::parse(id, fields.next()?, state)
            })
            .collect());
    }
    let output = Command::new("ps")
        .args(["-A", "-o", "pid=,ppid=,state="])
        .output()
        .map_err(|error| format!("cannot run ps: {error}"))?;
    Ok(String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| {
            let mut fields = line.split_whitespace();
            let (id, parent) = (fields.next()?, fields.next()?);
            Process::parse(id, parent, fields.next()?.chars().next()?)
        })
        .collect())
}
