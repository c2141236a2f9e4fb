//! A real PostgreSQL for the tests: started from the machine's own server
//! binaries, thrown away with the test process.
//!
//! The registry's promises are promises about what a real database does under
//! concurrency and failure, so nothing here imitates one.

mod administrator;
mod binaries;
mod place;
mod server;
mod standby;
mod watchdog;

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::{OnceCell, mpsc};
use tokio_postgres::Config;

use administrator::{Administrator, connect, on_own_runtime};
use binaries::binaries;
pub use place::{Account, free_listener};
use place::{account, make_directory, make_directory_in, port_was_taken};
use server::Server;
use watchdog::Watchdog;

/// The superuser of every test cluster; `trust` needs no password.
const SUPERUSER: &str = "postgres";

/// How long a server may take to accept connections.
const START_LIMIT: Duration = Duration::from_secs(30);

/// How long processes may take to follow a signal.
const SIGNAL_LIMIT: Duration = Duration::from_secs(15);

/// How often an external process is looked at while waiting for it.
const POLL: Duration = Duration::from_millis(10);

/// The settings of the shared cluster. Not for one that a test kills: without
/// synchronous commits, some are lost even when just the server dies.
pub const FAST: &[(&str, &str)] = &[
    ("fsync", "off"),
    ("synchronous_commit", "off"),
    ("full_page_writes", "off"),
    ("max_connections", "500"),
    ("shared_buffers", "128MB"),
    // Whoever looks for deadlocks in the log wants those of one database.
    ("log_line_prefix", "%m [%p] %d "),
];

/// A PostgreSQL server of the tests' own, on a port of 127.0.0.1.
///
/// It is stopped and its directory removed on drop, or by its watchdog when
/// the test process ends without one, as it always does with the shared one.
pub struct Cluster {
    directory: PathBuf,
    binaries: PathBuf,
    account: Option<Account>,
    port: u16,
    server: Mutex<Server>,
    administrator: Administrator,
    template: OnceCell<String>,
    names: AtomicU64,
}

/// Where a cluster's data come from.
enum Origin<'a> {
    New,
    /// In a directory below this one.
    NewIn(&'a Path),
    /// Copied from a running primary, to follow it; on this port, if one is named.
    Copy(&'a Cluster, Option<u16>),
}

/// A database of one test, dropped in the background when its test is done.
pub struct Database {
    /// Where a client of the database connects to.
    pub url: String,
    /// The database's name, as in `url`.
    pub name: String,
    drops: mpsc::UnboundedSender<String>,
}

impl Cluster {
    /// The cluster of the test process, started by the first to ask.
    ///
    /// Not to be killed, stopped or paused: other tests are using it.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Result<Cluster, String>> = OnceLock::new();
        // The failure is kept as well, so that every test says why and none
        // tries again for half a minute.
        match SHARED.get_or_init(|| Self::try_start(&Origin::New, FAST)) {
            Ok(cluster) => cluster,
            Err(reason) => panic!("{reason}"),
        }
    }

    /// A cluster of the caller's own, with PostgreSQL's defaults but for
    /// `settings`, and but for `fsync`, which is off: what it guards against is
    /// a crash of the whole machine, and recovery takes seconds with it.
    pub fn start(settings: &[(&str, &str)]) -> Self {
        Self::try_start(&Origin::New, settings).unwrap_or_else(|reason| panic!("{reason}"))
    }

    /// As [`Cluster::start`], in a directory below `parent`, which every
    /// account can enter and the tests can write to.
    pub fn start_in(parent: &Path, settings: &[(&str, &str)]) -> Self {
        Self::try_start(&Origin::NewIn(parent), settings).unwrap_or_else(|reason| panic!("{reason}"))
    }

    fn try_start(origin: &Origin<'_>, settings: &[(&str, &str)]) -> Result<Self, String> {
        // Somebody else may take a port between its choice and its use.
        for _ in 0..5 {
            let cluster = Self::prepare(origin, settings)?;
            match cluster.launch() {
                Ok(()) => return Ok(cluster),
                Err(_) if port_was_taken(&cluster.log()) => {}
                Err(reason) => return Err(reason),
            }
        }
        Err("PostgreSQL found five free ports in a row taken".to_owned())
    }

    /// Everything but the server's start.
    fn prepare(origin: &Origin<'_>, settings: &[(&str, &str)]) -> Result<Self, String> {
        let binaries = binaries()?;
        let account = account()?;
        let port = match origin {
            Origin::Copy(_, Some(port)) => *port,
            _ => free_listener()?.1.port(),
        };
        let directory = match origin {
            Origin::NewIn(parent) => make_directory_in(parent)?,
            _ => make_directory()?,
        };
        let watchdog = Watchdog::start(&directory)?;
        let cluster = Self {
            administrator: Administrator::start(socket(&directory, port))?,
            directory,
            binaries,
            account,
            port,
            server: Mutex::new(Server { postmaster: None, watchdog }),
            template: OnceCell::new(),
            names: AtomicU64::new(0),
        };
        cluster.initialise(origin, settings)?;
        Ok(cluster)
    }

    /// Where its files are.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// What the server runs under, if not as the tests do.
    pub fn account(&self) -> Option<Account> {
        self.account
    }

    /// The path of one of PostgreSQL's own programs.
    pub fn program(&self, name: &str) -> PathBuf {
        self.binaries.join(name)
    }

    /// The URL of a database, `postgres` being one that always exists.
    pub fn url(&self, database: &str) -> String {
        url_at(self.address(), database)
    }

    /// Where the server listens.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// What the server has logged so far.
    pub fn log(&self) -> String {
        fs::read(self.directory.join("log"))
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// An empty database.
    pub fn create_database(&self) -> Database {
        let name = self.unused_name();
        self.execute(&[&format!("create database {name}")]);
        self.database(name)
    }

    /// Runs statements as the superuser, each a transaction of its own.
    pub fn execute(&self, statements: &[&str]) {
        let what = statements.join("; ");
        let done = self.administrator.order(statements.iter().map(ToString::to_string).collect());
        // A thread, as a runtime's own may not block on a channel of Tokio's.
        thread::scope(|scope| {
            scope.spawn(|| done.blocking_recv()).join().expect("the wait for PostgreSQL does not panic")
        })
        .expect("the administrator outlives its cluster")
        .unwrap_or_else(|reason| panic!("PostgreSQL refused `{what}`: {reason}"));
    }

    /// A copy of a database that `prepare` has filled, given its URL.
    ///
    /// The preparation runs once per cluster, so it has to be the same for all
    /// callers; the copies share nothing.
    pub async fn fresh_database<F, P>(&self, prepare: F) -> Database
    where
        F: FnOnce(String) -> P,
        P: Future<Output = ()>,
    {
        let template = self.template.get_or_init(|| self.make_template(prepare)).await;
        let name = self.unused_name();
        self.administrate(vec![format!("create database {name} template {template}")]).await;
        self.database(name)
    }

    /// Ends all processes of the server at once, as a power cut would, with
    /// nothing written that was not yet. Returns when they are gone, so that
    /// none is left to finish what it was doing.
    pub fn kill(&self) {
        self.server().kill().expect("the processes of the server can be killed");
    }

    /// Makes the server drop its connections and end without a checkpoint.
    pub fn stop_immediate(&self) {
        self.server().stop().expect("the server can be stopped");
    }

    /// Starts the server again, on the same port and data, and waits until it
    /// has recovered. One that still runs is stopped first.
    pub fn restart(&self) {
        self.server().stop().expect("the server can be stopped");
        let deadline = Instant::now() + START_LIMIT;
        loop {
            let logged = self.log().len();
            match self.launch() {
                Ok(()) => return,
                Err(_)
                    if port_was_taken(self.log().get(logged..).unwrap_or_default())
                        && Instant::now() < deadline =>
                {
                    thread::sleep(POLL);
                }
                Err(reason) => panic!("{reason}"),
            }
        }
    }

    /// Freezes the server: connections stay open and nothing answers.
    pub fn pause(&self) {
        self.server().pause().expect("the server can be paused");
    }

    /// Ends [`Cluster::pause`].
    pub fn resume(&self) {
        self.server().resume().expect("the server can be resumed");
    }

    fn server(&self) -> MutexGuard<'_, Server> {
        // A test that failed in here must not take others' cleanup with it.
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn database(&self, name: String) -> Database {
        Database { url: self.url(&name), name, drops: self.administrator.drops.clone() }
    }

    fn unused_name(&self) -> String {
        format!("test_{}", self.names.fetch_add(1, Ordering::Relaxed))
    }

    async fn make_template<F, P>(&self, prepare: F) -> String
    where
        F: FnOnce(String) -> P,
        P: Future<Output = ()>,
    {
        // Another name for every attempt: one that panicked leaves its own.
        let name = self.unused_name();
        self.administrate(vec![format!("create database {name}")]).await;
        prepare(self.url(&name)).await;
        // Whatever the preparation left connected would block the copies.
        self.administrate(vec![
            format!("alter database {name} with allow_connections false is_template true"),
            format!("select pg_terminate_backend(pid) from pg_stat_activity where datname = '{name}'"),
        ])
        .await;
        name
    }

    /// As [`Cluster::execute`], without blocking.
    pub async fn administrate(&self, statements: Vec<String>) {
        let what = statements.join("; ");
        self.administrator
            .order(statements)
            .await
            .expect("the administrator outlives its cluster")
            .unwrap_or_else(|reason| panic!("PostgreSQL refused `{what}`: {reason}"));
    }

    fn command(&self, program: &str) -> Result<Command, String> {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.directory.join("log"))
            .map_err(|error| format!("cannot open the log of PostgreSQL: {error}"))?;
        let errors =
            log.try_clone().map_err(|error| format!("cannot share the log of PostgreSQL: {error}"))?;
        let mut command = Command::new(self.binaries.join(program));
        // A group of its own, so that an interrupt from the terminal leaves
        // the end of the server to the watchdog.
        command.process_group(0).current_dir(&self.directory).stdin(Stdio::null()).stdout(log).stderr(errors);
        // The developer's own PGPORT, PGDATA or locale are not the tests'.
        for (name, _) in env::vars_os() {
            let name = name.to_string_lossy();
            if name.starts_with("PG") || name.starts_with("LC_") || name.starts_with("LANG") {
                command.env_remove(&*name);
            }
        }
        command.env("LC_ALL", "C");
        if let Some(account) = self.account {
            account.lend(&mut command);
        }
        Ok(command)
    }

    fn initialise(&self, origin: &Origin<'_>, settings: &[(&str, &str)]) -> Result<(), String> {
        let data = self.directory.join("data");
        DirBuilder::new()
            .mode(0o700)
            .create(&data)
            .map_err(|error| format!("cannot create {}: {error}", data.display()))?;
        if let Some(account) = self.account {
            for path in [&self.directory, &data] {
                chown(path, Some(account.user), Some(account.group))
                    .map_err(|error| format!("cannot give {} away: {error}", path.display()))?;
            }
        }
        match origin {
            Origin::New | Origin::NewIn(_) => {
                let mut initdb = self.command("initdb")?;
                initdb
                    .args(["--auth=trust", "--encoding=UTF8", "--no-locale"])
                    .args(["--no-sync", "--no-instructions"])
                    .arg(format!("--username={SUPERUSER}"))
                    .arg("--pgdata")
                    .arg(&data);
                self.run(initdb)?;
            }
            Origin::Copy(primary, _) => self.run(self.copying(primary, &data)?)?,
        }

        // In the file rather than on the command line, where ALTER SYSTEM
        // could not change them. Shared memory is kept in the data directory
        // so that a killed server leaves none behind.
        let directory = self.directory.to_string_lossy().into_owned();
        let mut all = BTreeMap::from([
            ("listen_addresses", "127.0.0.1"),
            ("unix_socket_directories", directory.as_str()),
            ("dynamic_shared_memory_type", "mmap"),
            ("log_destination", "stderr"),
            ("logging_collector", "off"),
            ("fsync", "off"),
        ]);
        all.extend(settings.iter().copied());
        let lines: Vec<_> =
            all.iter().map(|(name, value)| format!("{name} = '{}'\n", value.replace('\'', "''"))).collect();
        OpenOptions::new()
            .append(true)
            .open(data.join("postgresql.conf"))
            .and_then(|mut file| file.write_all(lines.concat().as_bytes()))
            .map_err(|error| format!("cannot write postgresql.conf: {error}"))
    }

    /// Runs a program to its end, and ends it with the test process.
    fn run(&self, mut command: Command) -> Result<(), String> {
        let program = command.get_program().to_string_lossy().into_owned();
        let mut child = command.spawn().map_err(|error| format!("cannot run {program}: {error}"))?;
        self.server().watchdog.watch(Some(&child))?;
        let status = child.wait().map_err(|error| format!("cannot wait for {program}: {error}"))?;
        self.server().watchdog.watch(None)?;
        if status.success() { Ok(()) } else { Err(format!("{program} ended with {status}:\n{}", self.log())) }
    }

    /// Starts the server and waits until it answers.
    fn launch(&self) -> Result<(), String> {
        let mut server = self.server();
        let child = self
            .command("postgres")?
            .arg("-D")
            .arg(self.directory.join("data"))
            .arg("-p")
            .arg(self.port.to_string())
            .spawn()
            .map_err(|error| format!("cannot run postgres: {error}"))?;
        server.watchdog.watch(Some(&child))?;
        let postmaster = server.postmaster.insert(child);

        let socket = socket(&self.directory, self.port);
        let outcome = on_own_runtime(async || {
            let deadline = Instant::now() + START_LIMIT;
            loop {
                match connect(&socket).await {
                    Ok(_) => return Ok(()),
                    Err(reason) if Instant::now() > deadline => {
                        return Err(format!(
                            "PostgreSQL did not accept connections within {START_LIMIT:?}: {reason}"
                        ));
                    }
                    Err(_) => {}
                }
                match postmaster.try_wait() {
                    Ok(None) => tokio::time::sleep(POLL).await,
                    Ok(Some(status)) => {
                        return Err(format!("PostgreSQL ended at its start with {status}"));
                    }
                    Err(error) => return Err(format!("cannot look at PostgreSQL: {error}")),
                }
            }
        });
        outcome.map_err(|reason| match server.kill() {
            Ok(()) => format!("{reason}\n{}", self.log()),
            Err(also) => format!("{reason}\n{also}\n{}", self.log()),
        })
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let mut server = self.server();
        // Its own word is enough when it cannot be stopped: the watchdog will
        // try again.
        if let Err(reason) = server.stop() {
            let _ = writeln!(io::stderr(), "{reason}");
        }
        server.watchdog.finish();
    }
}

impl Database {
    /// The URL of the database for a client that goes by way of `address`,
    /// such as a proxy's.
    pub fn url_at(&self, address: SocketAddr) -> String {
        url_at(address, &self.name)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // Nobody waits for it, and when the administrator is gone, so is the
        // whole cluster.
        let _ = self.drops.send(self.name.clone());
    }
}

fn url_at(address: SocketAddr, database: &str) -> String {
    format!("postgres://{SUPERUSER}@{address}/{database}")
}

/// How the machinery of the tests connects: through the socket, as the
/// directory is surely the cluster's own where a port may be another's.
fn socket(directory: &Path, port: u16) -> Config {
    let mut config = Config::new();
    config
        .host_path(directory)
        .port(port)
        .user(SUPERUSER)
        .dbname("postgres")
        .application_name("test support");
    config
}
