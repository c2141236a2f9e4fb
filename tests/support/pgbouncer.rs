//! A PgBouncer in transaction mode before a cluster, as `docs/operating.md` says that it has to be set up.
//!
//! With `TOKEN_REGISTRY_TEST_PGBOUNCER=true` the registries that run in the test process go through one.

use std::env;
use std::fs::{self, Permissions};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::installed::say;
use super::postgres::{Account, Cluster, free_listener};

/// What PgBouncer doesn't hand on from the registry's own start-up options.
const ROLE: &[&str] = &[
    "create role registry superuser login",
    "alter role registry set statement_timeout = '5s'",
    "alter role registry set lock_timeout = '10s'",
    "alter role registry set idle_in_transaction_session_timeout = '10s'",
    "alter role registry set jit = off",
    "alter role registry set enable_seqscan = off",
    "alter role registry set enable_hashjoin = off",
    "alter role registry set enable_mergejoin = off",
    "alter role registry set enable_bitmapscan = off",
    "alter role registry set plan_cache_mode = force_generic_plan",
];

/// A running PgBouncer. Ended when it is dropped.
pub struct PgBouncer {
    account: Option<Account>,
    address: SocketAddr,
    program: PathBuf,
    folder: TempDir,
    process: Mutex<Child>,
}

impl PgBouncer {
    /// None where there is no PgBouncer and none can be made.
    pub fn before(cluster: &Cluster) -> Option<Self> {
        Self::before_address(cluster, cluster.address())
    }

    /// As [`PgBouncer::before`], for a cluster that it reaches at another address.
    pub fn before_address(cluster: &Cluster, target: SocketAddr) -> Option<Self> {
        let program = program()?;
        cluster.execute(ROLE);
        let address = free_listener().expect("a free port").1;
        let folder = tempfile::Builder::new().prefix("pgbouncer").tempdir_in("/tmp").expect("a folder");
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).expect("an open folder");
        // Where every account can run it.
        let copy = folder.path().join("pgbouncer");
        fs::copy(&program, &copy).expect("a copy of the program");
        let program = copy;
        let settings = format!(
            "[databases]\n\
             * = host={} port={} user=registry\n\
             [pgbouncer]\n\
             listen_addr = {}\n\
             listen_port = {}\n\
             unix_socket_dir =\n\
             auth_type = any\n\
             pool_mode = transaction\n\
             max_prepared_statements = 500\n\
             ignore_startup_parameters = options\n\
             server_login_retry = 1\n\
             default_pool_size = 10\n\
             max_client_conn = 1000\n",
            target.ip(),
            target.port(),
            address.ip(),
            address.port(),
        );
        fs::write(folder.path().join("pgbouncer.ini"), settings).expect("its settings");
        let account = cluster.account();
        let process = Mutex::new(launch(account, &program, &folder, address));
        Some(Self { account, address, program, folder, process })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// SIGKILL, and another one in its place.
    pub fn kill_and_restart(&self) {
        let mut process = self.process.lock().unwrap_or_else(PoisonError::into_inner);
        process.kill().and_then(|()| process.wait()).expect("it can be killed");
        *process = launch(self.account, &self.program, &self.folder, self.address);
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        let process = self.process.get_mut().unwrap_or_else(PoisonError::into_inner);
        let _ = process.kill().and_then(|()| process.wait());
    }
}

/// The address that the registries of this process are to use for the shared cluster, if it is another one.
pub fn before_the_shared_cluster() -> Option<SocketAddr> {
    static SHARED: OnceLock<Option<PgBouncer>> = OnceLock::new();
    if env::var("TOKEN_REGISTRY_TEST_PGBOUNCER").as_deref() != Ok("true") {
        return None;
    }
    let pgbouncer = SHARED.get_or_init(|| PgBouncer::before(Cluster::shared()));
    Some(pgbouncer.as_ref().expect("TOKEN_REGISTRY_TEST_PGBOUNCER=true needs a PgBouncer").address())
}

fn launch(account: Option<Account>, program: &Path, folder: &TempDir, address: SocketAddr) -> Child {
    let log = fs::OpenOptions::new().create(true).append(true).open(folder.path().join("log"));
    let mut command = Command::new(program);
    command.arg(folder.path().join("pgbouncer.ini")).stdin(Stdio::null()).stdout(Stdio::null());
    command.stderr(log.expect("its log"));
    // It refuses to run as root.
    if let Some(account) = account {
        account.lend(&mut command);
    }
    let mut process = command.spawn().expect("PgBouncer runs");
    let deadline = Instant::now() + Duration::from_secs(30);
    while TcpStream::connect(address).is_err() {
        let ended = process.try_wait().expect("a look at PgBouncer");
        let log = || fs::read_to_string(folder.path().join("log")).unwrap_or_default();
        assert!(ended.is_none() && Instant::now() < deadline, "PgBouncer doesn't start: {}", log());
        thread::sleep(Duration::from_millis(10));
    }
    process
}

/// One that knows prepared statements in transaction mode.
fn program() -> Option<PathBuf> {
    static PROGRAM: OnceLock<Option<PathBuf>> = OnceLock::new();
    let find = || {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/install-pgbouncer");
        let output = Command::new(script).stdin(Stdio::null()).stderr(Stdio::inherit()).output().ok()?;
        let found = String::from_utf8(output.stdout).ok()?.lines().last().map(PathBuf::from);
        let found = found.filter(|_| output.status.success());
        if found.is_none() {
            say("NOT RUN: the tests through PgBouncer, which isn't on this machine and can't be built here");
        }
        found
    };
    PROGRAM.get_or_init(find).clone()
}
