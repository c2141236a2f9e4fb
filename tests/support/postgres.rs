//! A real PostgreSQL for the tests: started from the machine's own server
//! binaries, thrown away with the test process.
//!
//! The registry's promises are promises about what a real database does under
//! concurrency and failure, so nothing here imitates one.

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{self, Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid, User};
use tokio::sync::{OnceCell, mpsc, oneshot};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, NoTls};

/// Names the directory that holds `initdb` and `postgres`.
const BINARIES_VARIABLE: &str = "TOKEN_REGISTRY_TEST_PG_BIN";

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

/// A database of one test, dropped in the background when its test is done.
pub struct Database {
    /// Where a client of the database connects to.
    pub url: String,
    /// The database's name, as in `url`.
    pub name: String,
    drops: mpsc::UnboundedSender<String>,
}

/// The account that the server runs under when the tests run as root, which
/// PostgreSQL refuses to do.
#[derive(Clone, Copy)]
struct Account {
    user: u32,
    group: u32,
}

/// The processes of a cluster.
struct Server {
    postmaster: Option<Child>,
    watchdog: Watchdog,
}

/// See [`WATCHDOG`].
struct Watchdog {
    process: Child,
    /// Taken to end the watchdog. The standard library opens its pipes
    /// close-on-exec, so that no other child keeps this end open.
    orders: Option<ChildStdin>,
}

/// A thread that creates and drops databases, one at a time.
///
/// One at a time because PostgreSQL refuses to copy a template that is in use;
/// on a thread with a runtime of its own so that it serves plain tests, tests
/// of any runtime, and destructors.
struct Administrator {
    orders: mpsc::UnboundedSender<Order>,
    drops: mpsc::UnboundedSender<String>,
}

/// Statements to run one by one, and who waits for them.
struct Order {
    statements: Vec<String>,
    done: oneshot::Sender<Result<(), String>>,
}

/// A line of the machine's process table.
struct Process {
    id: i32,
    parent: i32,
    /// `T` when stopped, `Z` or `X` when dead.
    state: char,
}

impl Cluster {
    /// The cluster of the test process, started by the first to ask.
    ///
    /// Not to be killed, stopped or paused: other tests are using it.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Result<Cluster, String>> = OnceLock::new();
        // The failure is kept as well, so that every test says why and none
        // tries again for half a minute.
        match SHARED.get_or_init(|| Self::try_start(FAST)) {
            Ok(cluster) => cluster,
            Err(reason) => panic!("{reason}"),
        }
    }

    /// A cluster of the caller's own, with PostgreSQL's defaults but for
    /// `settings`, and but for `fsync`, which is off: what it guards against is
    /// a crash of the whole machine, and recovery takes seconds with it.
    pub fn start(settings: &[(&str, &str)]) -> Self {
        Self::try_start(settings).unwrap_or_else(|reason| panic!("{reason}"))
    }

    fn try_start(settings: &[(&str, &str)]) -> Result<Self, String> {
        // Somebody else may take a port between its choice and its use.
        for _ in 0..5 {
            let cluster = Self::prepare(settings)?;
            match cluster.launch() {
                Ok(()) => return Ok(cluster),
                Err(_) if port_was_taken(&cluster.log()) => {}
                Err(reason) => return Err(reason),
            }
        }
        Err("PostgreSQL found five free ports in a row taken".to_owned())
    }

    /// Everything but the server's start.
    fn prepare(settings: &[(&str, &str)]) -> Result<Self, String> {
        let binaries = binaries()?;
        let account = account()?;
        let port = free_listener()?.1.port();
        let directory = make_directory()?;
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
        cluster.initialise(settings)?;
        Ok(cluster)
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
        let created = self.administrator.order(vec![format!("create database {name}")]);
        // A thread, as a runtime's own may not block on a channel of Tokio's.
        thread::scope(|scope| {
            scope.spawn(|| created.blocking_recv()).join().expect("the wait for a database does not panic")
        })
        .expect("the administrator outlives its cluster")
        .expect("an empty database is created");
        self.database(name)
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

    async fn administrate(&self, statements: Vec<String>) {
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
            command.uid(account.user).gid(account.group);
        }
        Ok(command)
    }

    fn initialise(&self, settings: &[(&str, &str)]) -> Result<(), String> {
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
        let mut initdb = self
            .command("initdb")?
            .args(["--auth=trust", "--encoding=UTF8", "--no-locale"])
            .args(["--no-sync", "--no-instructions"])
            .arg(format!("--username={SUPERUSER}"))
            .arg("--pgdata")
            .arg(&data)
            .spawn()
            .map_err(|error| format!("cannot run initdb: {error}"))?;
        self.server().watchdog.watch(Some(&initdb))?;
        let status = initdb.wait().map_err(|error| format!("cannot wait for initdb: {error}"))?;
        self.server().watchdog.watch(None)?;
        if !status.success() {
            return Err(format!("initdb ended with {status}:\n{}", self.log()));
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
    fn pause(&mut self) -> Result<Vec<Process>, String> {
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

    fn resume(&mut self) -> Result<(), String> {
        // The postmaster last, so that it finds its children awake.
        for process in self.processes()?.iter().rev() {
            signal(process.id, Signal::SIGCONT)?;
        }
        Ok(())
    }

    fn kill(&mut self) -> Result<(), String> {
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

    fn stop(&mut self) -> Result<(), String> {
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

impl Watchdog {
    fn start(directory: &Path) -> Result<Self, String> {
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
    fn watch(&mut self, process: Option<&Child>) -> Result<(), String> {
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
    fn finish(&mut self) {
        drop(self.orders.take());
        let _ = self.process.wait();
    }
}

impl Administrator {
    fn start(socket: Config) -> Result<Self, String> {
        let (orders, mut ordered) = mpsc::unbounded_channel::<Order>();
        let (drops, mut dropped) = mpsc::unbounded_channel::<String>();
        let runtime = runtime()?;
        let work = async move {
            let mut client = None;
            loop {
                tokio::select! {
                    // Tests wait for their databases; for the drops nobody does.
                    biased;
                    Some(order) = ordered.recv() => {
                        let mut outcome = Ok(());
                        for statement in &order.statements {
                            outcome = outcome.and(
                                execute(&mut client, &socket, statement, START_LIMIT).await,
                            );
                        }
                        let _ = order.done.send(outcome);
                    }
                    Some(name) = dropped.recv() => {
                        let statement = format!("drop database if exists {name} with (force)");
                        // The server may well be down, and for good.
                        let _ = execute(&mut client, &socket, &statement, SIGNAL_LIMIT).await;
                    }
                    else => break,
                }
            }
        };
        thread::Builder::new()
            .name("administrator".to_owned())
            .spawn(move || runtime.block_on(work))
            .map_err(|error| format!("cannot start a thread: {error}"))?;
        Ok(Self { orders, drops })
    }

    fn order(&self, statements: Vec<String>) -> oneshot::Receiver<Result<(), String>> {
        let (done, outcome) = oneshot::channel();
        // An administrator that is gone shows in the outcome.
        let _ = self.orders.send(Order { statements, done });
        outcome
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

/// Runs a statement on the administrator's connection, made anew when the
/// server has been down since the last one.
async fn execute(
    client: &mut Option<Client>,
    socket: &Config,
    statement: &str,
    limit: Duration,
) -> Result<(), String> {
    let work = async {
        loop {
            let connected = match client.take().filter(|client| !client.is_closed()) {
                Some(connected) => connected,
                None => connect(socket).await?,
            };
            let outcome = connected.batch_execute(statement).await;
            let closed = connected.is_closed();
            *client = Some(connected);
            match outcome {
                Ok(()) => return Ok(()),
                Err(_) if closed => {}
                // A session that has been told to leave the template has not
                // done so yet.
                Err(error) if error.code() == Some(&SqlState::OBJECT_IN_USE) => {
                    tokio::time::sleep(POLL).await;
                }
                Err(error) => return Err(describe(&error)),
            }
        }
    };
    tokio::time::timeout(limit, work)
        .await
        .unwrap_or_else(|_| Err(format!("PostgreSQL did not answer within {limit:?}")))
}

/// A session, served by the runtime that this is called on.
async fn connect(config: &Config) -> Result<Client, String> {
    let (client, connection) = tokio::time::timeout(SIGNAL_LIMIT, config.connect(NoTls))
        .await
        .map_err(|_| "PostgreSQL did not answer to a connection".to_owned())?
        .map_err(|error| describe(&error))?;
    tokio::spawn(connection);
    Ok(client)
}

/// What the error says by itself is just "db error".
fn describe(error: &tokio_postgres::Error) -> String {
    error.as_db_error().map_or_else(|| error.to_string(), ToString::to_string)
}

fn runtime() -> Result<tokio::runtime::Runtime, String> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("cannot build a runtime: {error}"))
}

/// Runs `work` to its end, whether or not the caller is on a runtime itself.
fn on_own_runtime<T: Send>(work: impl AsyncFnOnce() -> Result<T, String> + Send) -> Result<T, String> {
    thread::scope(|scope| {
        scope
            .spawn(|| runtime()?.block_on(work()))
            .join()
            .unwrap_or_else(|_| Err("the thread of a runtime panicked".to_owned()))
    })
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

/// Whether a server's log says that its port was another's.
fn port_was_taken(log: &str) -> bool {
    log.contains("Address already in use")
}

/// A listener on 127.0.0.1, and its address, which stays free when the
/// listener is closed for a while.
///
/// The ports that systems choose by themselves would not: they go to outgoing
/// connections as well. A client that keeps trying a closed one is even handed
/// that port in the end, and connects to itself.
pub fn free_listener() -> Result<(TcpListener, SocketAddr), String> {
    let mut error = None;
    for _ in 0..1000 {
        let random = RandomState::new().build_hasher().finish() % 10_000;
        let port = 20_000 + u16::try_from(random).unwrap_or_default();
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Ok(listener) => return Ok((listener, (Ipv4Addr::LOCALHOST, port).into())),
            Err(reason) => error = Some(reason),
        }
    }
    Err(format!("cannot find a free port: {error:?}"))
}

/// A new directory for a cluster, open to the server's account.
fn make_directory() -> Result<PathBuf, String> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let parent = [env::temp_dir(), PathBuf::from("/tmp")]
        .into_iter()
        .filter_map(|path| path.canonicalize().ok())
        .find(|path| is_suitable(path))
        .ok_or("neither the directory for temporary files nor /tmp suits PostgreSQL")?;
    loop {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = parent.join(format!("registry-pg-{}-{count}", process::id()));
        match fs::create_dir(&path) {
            Ok(()) => {
                // Whatever the mask of the test process says.
                fs::set_permissions(&path, Permissions::from_mode(0o755))
                    .map_err(|error| format!("cannot open {}: {error}", path.display()))?;
                return Ok(path);
            }
            // A number is used again, by a process of another container even
            // at the same time.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(format!("cannot create {}: {error}", path.display())),
        }
    }
}

/// Whether sockets below `path` have short enough names, and the server's
/// account can get there.
fn is_suitable(path: &Path) -> bool {
    path.as_os_str().len() <= 60
        && (!Uid::effective().is_root()
            || path.ancestors().all(|ancestor| {
                ancestor.metadata().is_ok_and(|metadata| metadata.permissions().mode() & 0o001 != 0)
            }))
}

/// The account to run the server under, when it cannot be the tests' own.
fn account() -> Result<Option<Account>, String> {
    if !Uid::effective().is_root() {
        return Ok(None);
    }
    [SUPERUSER, "nobody"]
        .into_iter()
        .find_map(|name| User::from_name(name).ok().flatten())
        .map(|user| Some(Account { user: user.uid.as_raw(), group: user.gid.as_raw() }))
        .ok_or_else(|| {
            "PostgreSQL does not run as root, and there is neither a user postgres nor a user \
             nobody to run it as: run the tests as another user"
                .to_owned()
        })
}

/// The directory of the server's programs, which are installed if need be and
/// possible.
fn binaries() -> Result<PathBuf, String> {
    static BINARIES: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    BINARIES
        .get_or_init(|| {
            if let Some(named) = env::var_os(BINARIES_VARIABLE) {
                let named = PathBuf::from(named);
                return if holds_server(&named) {
                    Ok(named)
                } else {
                    Err(format!(
                        "{BINARIES_VARIABLE} names {}, where initdb and postgres are not",
                        named.display()
                    ))
                };
            }
            if let Some(found) = find_binaries() {
                return Ok(found);
            }
            if Uid::effective().is_root() && find_in_path("apt-get").is_some() {
                install()?;
            }
            find_binaries().ok_or_else(|| {
                format!(
                    "these tests need a PostgreSQL server: install the package postgresql, or \
                     set {BINARIES_VARIABLE} to the directory of initdb and postgres"
                )
            })
        })
        .clone()
}

fn find_binaries() -> Option<PathBuf> {
    let configured = Command::new("pg_config")
        .arg("--bindir")
        .output()
        .ok()
        .and_then(|output| String::from_utf8(output.stdout).ok())
        .map(|path| PathBuf::from(path.trim()));
    // Often a link, whose target has the other programs beside it.
    let in_path = find_in_path("initdb")
        .and_then(|path| path.canonicalize().ok())
        .and_then(|path| path.parent().map(Path::to_owned));
    configured
        .into_iter()
        .chain(in_path)
        .chain(versions("/usr/lib/postgresql", ""))
        .chain(versions("/usr", "pgsql-"))
        .chain([PathBuf::from("/usr/local/pgsql/bin")])
        .chain(versions("/opt/homebrew/opt", "postgresql"))
        .find(|path| holds_server(path))
}

/// Development packages bring some of the programs without these.
fn holds_server(directory: &Path) -> bool {
    ["initdb", "postgres"].iter().all(|program| directory.join(program).is_file())
}

fn find_in_path(program: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?)
        .map(|directory| directory.join(program))
        .find(|path| path.is_file())
}

/// The `bin` directories of the versions installed side by side in `parent`,
/// the highest first.
fn versions(parent: &str, prefix: &str) -> Vec<PathBuf> {
    let mut found: Vec<_> = fs::read_dir(parent)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let version = name.strip_prefix(prefix)?.trim_start_matches('@');
            let version: u32 =
                if version.is_empty() { 0 } else { version.split('.').next()?.parse().ok()? };
            Some((version, entry.path().join("bin")))
        })
        .collect();
    found.sort_by(|left, right| right.cmp(left));
    found.into_iter().map(|(_, path)| path).collect()
}

fn install() -> Result<(), String> {
    // Not by a macro, whose output the test harness would keep to itself.
    let _ =
        writeln!(io::stderr(), "No PostgreSQL server found: installing the package postgresql with apt-get.");
    for arguments in [&["update"][..], &["install", "--yes", "--no-install-recommends", "postgresql"]] {
        let output = Command::new("apt-get")
            .args(["--quiet", "--option", "DPkg::Lock::Timeout=120"])
            .args(arguments)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("cannot run apt-get: {error}"))?;
        // A mirror that is down fails the update where the lists at hand do.
        if !output.status.success() && arguments != ["update"] {
            return Err(format!(
                "these tests need a PostgreSQL server, and apt-get could not install the package \
                 postgresql:\n{}{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            ));
        }
    }
    Ok(())
}

fn process_id(child: &Child) -> i32 {
    i32::try_from(child.id()).expect("process numbers are positive numbers of C")
}

/// Sends a signal; that the process is gone already is fine.
fn signal(process: i32, signal: Signal) -> Result<(), String> {
    match kill(Pid::from_raw(process), signal) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(error) => Err(format!("cannot send {signal} to {process}: {error}")),
    }
}

/// Looks again and again until `look` finds something. For what other
/// processes do, of which nothing tells us.
fn wait_until<T>(what: &str, mut look: impl FnMut() -> Result<Option<T>, String>) -> Result<T, String> {
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
