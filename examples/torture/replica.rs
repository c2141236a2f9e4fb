//! Servers as processes of their own, killed and started again on the same address.

use std::fs::OpenOptions;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::contract::one_time::WINDOW_ATTEMPTS;
use crate::contract::words::KeyModel;
use crate::postgres::free_listener;

/// A server of the registry.
pub struct Replica {
    pub address: SocketAddr,
    environment: Vec<(String, String)>,
    log: PathBuf,
    child: Mutex<Option<Child>>,
}

impl Replica {
    /// Starts a server on a database.
    pub fn start(database_url: &str, log: &Path, gathering: bool, keys: KeyModel, bug: Option<&str>) -> Self {
        let keys = match keys {
            KeyModel::Drf => "drf",
            KeyModel::Prefixed => "prefixed",
        };
        let (listener, address) = free_listener().expect("a port is free");
        drop(listener);
        let mut environment = vec![
            ("DATABASE_URL".to_owned(), database_url.to_owned()),
            ("TOKEN_REGISTRY_LISTEN".to_owned(), address.to_string()),
            ("TOKEN_REGISTRY_LOG_FILTER".to_owned(), "warn".to_owned()),
            ("TOKEN_REGISTRY_LOG_FORMAT".to_owned(), "json".to_owned()),
            ("TOKEN_REGISTRY_GATHERING".to_owned(), gathering.to_string()),
            ("TOKEN_REGISTRY_DATABASE_POOL_SIZE".to_owned(), "12".to_owned()),
            // Windows either outlast a history or are shut.
            ("TOKEN_REGISTRY_ROTATION_GRACE".to_owned(), "2m".to_owned()),
            ("TOKEN_REGISTRY_GENERIC_TOKENS_WINDOW_ATTEMPTS".to_owned(), WINDOW_ATTEMPTS.to_string()),
            ("TOKEN_REGISTRY_AUTH_TOKENS_MODEL".to_owned(), keys.to_owned()),
        ];
        if let Some(bug) = bug {
            environment.push(("PLANTED_BUG".to_owned(), bug.to_owned()));
        }
        let replica = Self { address, environment, log: log.to_owned(), child: Mutex::default() };
        replica.start_again();
        replica
    }

    fn child(&self) -> MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts it after a kill.
    pub fn start_again(&self) {
        let log = OpenOptions::new().create(true).append(true).open(&self.log).expect("a log file");
        let child = Command::new(std::env::current_exe().expect("a path"))
            .arg("replica")
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            // Its end is how the server learns of ours.
            .stdin(Stdio::piped())
            .stdout(log.try_clone().expect("a log file"))
            .stderr(log)
            .spawn();
        *self.child() = Some(child.expect("the server's process starts"));
    }

    /// SIGKILL.
    pub fn kill(&self) {
        if let Some(mut child) = self.child().take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// SIGSTOP.
    pub fn freeze(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// SIGCONT.
    pub fn thaw(&self) {
        self.signal(Signal::SIGCONT);
    }

    fn signal(&self, signal: Signal) {
        if let Some(child) = &*self.child() {
            let id = i32::try_from(child.id()).expect("a process id");
            // If it has ended by itself, that shows soon enough.
            let _ = kill(Pid::from_raw(id), signal);
        }
    }

    /// The lines that it should never have logged.
    pub fn complaints(&self) -> Vec<String> {
        let said = std::fs::read_to_string(&self.log).unwrap_or_default();
        let is_complaint = |line: &&str| line.contains("panic") || line.contains("internal error");
        said.lines().filter(is_complaint).take(5).map(str::to_owned).collect()
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.kill();
    }
}
