//! The registry as a process of its own: its binary, with an environment of the test's choice.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::until;

/// Many tests share two cores: what is tested is what is answered, not how soon. A real server's patience is shorter.
const PATIENCE: [(&str, &str); 4] = [
    ("TOKEN_REGISTRY_DATABASE_POOL_WAIT", "20s"),
    ("TOKEN_REGISTRY_DATABASE_CONNECT_TIMEOUT", "20s"),
    ("TOKEN_REGISTRY_LOCK_TIMEOUT", "10s"),
    ("TOKEN_REGISTRY_DEFAULT_DEADLINE", "1m"),
];

/// A running process. Killed when it is dropped.
pub struct Process {
    child: Child,
    said: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<()>>,
}

/// What a process said and how it ended.
pub struct Ended {
    /// Its exit code; none if a signal ended it.
    pub code: Option<i32>,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
}

fn command(arguments: &[&str], environment: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_token-registry"));
    // The developer's own DATABASE_URL is not the tests'.
    command.args(arguments).env_clear().envs(environment.iter().copied().collect::<BTreeMap<_, _>>());
    command.stdin(Stdio::null());
    command
}

/// Runs the binary to its end.
pub fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Ended {
    let output = command(arguments, environment).output().expect("the binary runs");
    Ended {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).expect("text"),
        err: String::from_utf8(output.stderr).expect("text"),
    }
}

/// How a server ends that can't start with these settings, and what it says, which `secret` is no part of. Its database
/// is never asked.
pub fn refused_start(settings: &[(&str, &str)], secret: &str) -> (Option<i32>, String) {
    let mut all =
        vec![("DATABASE_URL", "postgres://nobody@127.0.0.1:1/x"), ("TOKEN_REGISTRY_LISTEN", "127.0.0.1:0")];
    all.extend(settings);
    let ended = run(&["serve"], &all);
    assert!(!ended.err.contains(secret), "{}", ended.err);
    (ended.code, ended.err)
}

/// Runs the binary to its end on a terminal of its own, which types these answers: everything it showed, and its exit
/// code.
pub fn run_on_terminal(
    arguments: &[&str],
    environment: &[(&str, &str)],
    typed: &str,
) -> (Option<i32>, String) {
    let size = Winsize { ws_row: 50, ws_col: 200, ws_xpixel: 0, ws_ypixel: 0 };
    let terminal = openpty(Some(&size), None).expect("a terminal");
    let end = || Stdio::from(terminal.slave.try_clone().expect("a descriptor"));
    let mut command = command(arguments, environment);
    command.stdin(end()).stdout(end()).stderr(end());
    let mut child = command.spawn().expect("the binary starts");
    // The child's ends, which the command still holds, must be the last: then reading ends with it.
    drop((command, terminal.slave));
    let mut screen = File::from(terminal.master);
    screen.write_all(typed.as_bytes()).expect("typing");
    let mut shown = Vec::new();
    let mut buffer = [0; 4096];
    // A terminal whose other end is closed gives an error instead of an end.
    while let Ok(read @ 1..) = screen.read(&mut buffer) {
        shown.extend_from_slice(&buffer[..read]);
    }
    let code = child.wait().expect("an exit status").code();
    (code, String::from_utf8(shown).expect("text"))
}

impl Process {
    /// Starts the binary.
    pub fn start(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut child = command(arguments, environment)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let said = Arc::new(Mutex::new(String::new()));
        let (out, err) = (child.stdout.take().expect("a pipe"), child.stderr.take().expect("a pipe"));
        let readers = vec![gather(out, Arc::clone(&said)), gather(err, Arc::clone(&said))];
        Self { child, said, readers }
    }

    /// `serve` on a free port, with JSON logs, and patient where the environment doesn't say otherwise.
    pub fn serve(database_url: &str, environment: &[(&str, &str)]) -> Self {
        let mut all = vec![
            ("DATABASE_URL", database_url),
            ("TOKEN_REGISTRY_LISTEN", "127.0.0.1:0"),
            ("TOKEN_REGISTRY_LOG_FORMAT", "json"),
        ];
        all.extend(PATIENCE);
        all.extend(environment);
        Self::start(&["serve"], &all)
    }

    /// Everything it has printed and logged so far.
    pub fn said(&self) -> String {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Where it listens, once it does.
    pub async fn address(&self) -> SocketAddr {
        let find = || {
            let said = self.said();
            let line = said.lines().find(|line| line.contains("\"message\":\"listening\""))?;
            let line: serde_json::Value = serde_json::from_str(line).ok()?;
            line["address"].as_str()?.parse().ok()
        };
        until(async || find().is_some()).await;
        find().expect("an address")
    }

    /// Waits until it answers for its database.
    pub async fn serving(&self) -> SocketAddr {
        let address = self.address().await;
        until(async || self.said().contains("\"message\":\"serving\"")).await;
        address
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// SIGTERM.
    pub fn terminate(&self) {
        self.signal(Signal::SIGTERM);
    }

    /// SIGSTOP: it stays connected and does nothing.
    pub fn freeze(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// Ends [`Self::freeze`].
    pub fn thaw(&self) {
        self.signal(Signal::SIGCONT);
    }

    fn signal(&self, signal: Signal) {
        let id = Pid::from_raw(i32::try_from(self.child.id()).expect("a process id"));
        kill(id, signal).expect("a signal can be sent");
    }

    /// SIGKILL, and waits for the end.
    pub fn kill(mut self) -> String {
        self.child.kill().expect("SIGKILL can be sent");
        self.ended().1
    }

    /// Waits for its end: how it ended, and everything it said.
    pub fn ended(&mut self) -> (ExitStatus, String) {
        let status = self.child.wait().expect("an exit status");
        for reader in self.readers.drain(..) {
            reader.join().expect("a reader");
        }
        (status, self.said())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn gather(from: impl Read + Send + 'static, to: Arc<Mutex<String>>) -> JoinHandle<()> {
    thread::spawn(move || {
        let mut lines = BufReader::new(from);
        let mut line = Vec::new();
        while lines.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            to.lock().unwrap_or_else(PoisonError::into_inner).push_str(&String::from_utf8_lossy(&line));
            line.clear();
        }
    })
}
