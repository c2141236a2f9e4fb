//! Cleans up after the test process, however that ended.

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

/// Cleans up after the test process, however that ended.
///
/// Its standard input is a pipe whose only write end belongs to the test
/// process, so it reads the end of file when that process is gone, `SIGKILL`
/// included. Every line names the process that runs on the directory at the
/// time; an empty one says that there is none.
///
/// A server that was killed and not restarted leaves its System V segment,
/// which is told from the lock file that it left too.
const WATCHDOG: &str = r#"
trap '' HUP INT QUIT TERM
directory=$1
lock=$directory/data/postmaster.pid
server=
while read -r line; do server=$line; done
if [ -n "$server" ]; then
    kill -s QUIT "$server"
    kill -s CONT "$server"
    turns=0
    while [ "$turns" -lt 200 ] && [ -e "$lock" ] && kill -s 0 "$server"; do
        sleep 0.05
        turns=$((turns + 1))
    done
    [ -e "$lock" ] && kill -s KILL "$server"
fi
if [ -e "$lock" ]; then
    segment=$(sed -n '7s/^ *[0-9]* *\([0-9]*\).*$/\1/p' "$lock")
    [ -n "$segment" ] && ipcrm -m "$segment"
fi
turns=0
while [ -e "$directory" ] && [ "$turns" -lt 200 ]; do
    rm -rf "$directory"
    [ -e "$directory" ] && sleep 0.05
    turns=$((turns + 1))
done
"#;

/// See [`WATCHDOG`].
pub(super) struct Watchdog {
    process: Child,
    /// Taken to end the watchdog. The standard library opens its pipes
    /// close-on-exec, so that no other child keeps this end open.
    orders: Option<ChildStdin>,
}

impl Watchdog {
    pub(super) fn start(directory: &Path) -> Result<Self, String> {
        let mut process = Command::new("/bin/sh")
            .arg("-c")
            .arg(WATCHDOG)
            .arg("watchdog")
            .arg(directory)
            // Or the signals that end the test process would end it as well.
            .process_group(0)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("cannot run the watchdog of PostgreSQL: {error}"))?;
        let orders = process.stdin.take();
        Ok(Self { process, orders })
    }

    /// Tells which process to end before the directory can be removed.
    pub(super) fn watch(&mut self, process: Option<&Child>) -> Result<(), String> {
        let line = match process {
            Some(process) => format!("{}\n", process.id()),
            None => "\n".to_owned(),
        };
        match &mut self.orders {
            Some(orders) => orders
                .write_all(line.as_bytes())
                .map_err(|error| format!("the watchdog of PostgreSQL has ended: {error}")),
            None => Ok(()),
        }
    }

    /// Has the directory removed.
    pub(super) fn finish(&mut self) {
        drop(self.orders.take());
        let _ = self.process.wait();
    }
}
