//! The zero-install development database.
//!
//! Trying the registry out should not begin with installing `PostgreSQL`. This module runs a real
//! `PostgreSQL` 17.5, compiled to WebAssembly and carried inside the crate `pglite-oxide`, in this
//! very process, and offers it at an ordinary `postgres://` URL on the loopback interface, so that
//! the rest of the program needs to know nothing about it.
//!
//! **It is for development and tests only.** The limits:
//!
//! * **One connection at a time.** There is one single-user backend. A second connection waits
//!   [`QUEUE_PATIENCE`] for the first one to end and is then refused with SQLSTATE `53300`. Give
//!   the connection pool a maximum size of 1, and never hold a connection while asking for another.
//! * **No fsync.** A committed transaction survives a killed process, because the operating system
//!   has its writes, but not a power cut or a crash of the operating system.
//! * **Nothing interrupts a statement.** `statement_timeout` and its like are accepted, as are
//!   cancel requests, and have no effect: nothing runs beside the backend which could interrupt it.
//! * **No background processes**: no autovacuum, and a checkpoint only when a connection ends or
//!   on the command `checkpoint`. A connection that stays open and writes makes the log grow, and
//!   its files are kept for reuse afterwards.
//! * **No password and no TLS.** Every local user can connect to the port, as a superuser.
//! * **About a quarter of a gigabyte of memory**, more while connections come and go.
//! * **A cache directory.** The crate unpacks itself into the user's cache directory
//!   (`$XDG_CACHE_HOME/pglite-oxide`, by default `~/.cache/pglite-oxide`), which must be writable.
//!
//! Between the client and the crate's own server stands a small relay. It is there because the
//! crate's server by itself ends for good when a client's connection breaks or sends it something
//! other than the `PostgreSQL` protocol, lets a second connection wait for ever, and cannot be
//! stopped while a client is connected.

mod relay;

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write as _},
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use pglite_oxide::PgliteServer;
use tempfile::TempDir;
use thiserror::Error;
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpListener, TcpStream},
    sync::{Mutex, oneshot, watch},
    time::timeout,
};
use tracing::warn;

/// How long a second connection waits for the first one to end before it is refused.
///
/// Long enough for a connection which is being closed to be gone, and short enough that somebody
/// whose pool is too large sees the reason instead of a program that stands still.
pub const QUEUE_PATIENCE: Duration = Duration::from_secs(5);

/// How long the very first connection may take. It includes unpacking on a slow disk.
const FIRST_CONNECTION_PATIENCE: Duration = Duration::from_secs(100);
/// How long a running statement may hold up the end of the database.
const STOP_PATIENCE: Duration = Duration::from_secs(5);
/// How long [`Drop`] waits, which it does on the thread of whoever drops.
const DROP_PATIENCE: Duration = Duration::from_secs(2);

/// Held locked while the directory is in use, and the mark by which a directory is known as ours.
const LOCK_FILE: &str = "embedded-database.lock";
/// What the crate itself leaves in its directory.
const CRATE_FILES: [&str; 2] = [".pglite-oxide.lock", "tmp"];
const USER: &str = "postgres";
const DATABASE: &str = "postgres";

/// Where the data of an [`EmbeddedDatabase`] lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Storage {
    /// In a new directory for temporary files, thrown away at the end: for tests and for trying
    /// things out. A process which is killed leaves the directory behind.
    Temporary,
    /// In a directory of the user's choosing, so that the data is there again at the next start.
    /// It is created where it does not exist. It must be empty or have been used here before, must
    /// be on a local file system (the lock is `flock`), and can be read by the same version of the
    /// crate `pglite-oxide` only; to move the data elsewhere, use `pg_dump`.
    Directory(PathBuf),
}

/// Why the embedded database did not start, in words which say what to do about it.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EmbeddedError {
    /// The directory cannot be created, or this user may not write into it.
    #[error(
        "the directory {} for the embedded database cannot be used: {source}; choose another \
         directory, or make this one writable for the user who runs this program",
        directory.display()
    )]
    Directory {
        /// The directory in question.
        directory: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The directory holds something else, which the database must not be mixed with.
    #[error(
        "the directory {} is not empty and does not hold an embedded database; choose an empty \
         or a new directory",
        directory.display()
    )]
    ForeignDirectory {
        /// The directory in question.
        directory: PathBuf,
    },
    /// Two databases over the same files would destroy them.
    #[error(
        "the embedded database in {} is in use by {holder}; stop that one first, or choose \
         another directory",
        directory.display()
    )]
    InUse {
        /// The directory in question.
        directory: PathBuf,
        /// Who uses it, as far as it is known.
        holder: String,
    },
    /// The data was written by another version of the crate.
    #[error(
        "the embedded database in {} was created by another version and cannot be read by this \
         one; start with a new directory, or use the version that wrote it to export the data \
         ({detail})",
        directory.display()
    )]
    OtherVersion {
        /// The directory in question.
        directory: PathBuf,
        /// What the crate said.
        detail: String,
    },
    /// `PostgreSQL` has to be unpacked into the user's cache directory, and that cannot be written.
    #[error(
        "the embedded database cannot write its cache directory; set the environment variable \
         XDG_CACHE_HOME (or HOME) to a writable directory ({detail})"
    )]
    Cache {
        /// What the crate said.
        detail: String,
    },
    /// No port on the loopback interface could be had.
    #[error("the embedded database cannot listen on the loopback interface: {0}")]
    Listen(#[source] io::Error),
    /// Anything else.
    #[error("the embedded database did not start: {0}")]
    Start(String),
}

/// A `PostgreSQL` which lives inside this process, for as long as this value does.
///
/// See the [module's documentation](self) for what it can and cannot do.
#[derive(Debug)]
pub struct EmbeddedDatabase {
    url: String,
    /// Dropping the sender is the signal to stop, so that nothing can forget to give it.
    stop: Option<watch::Sender<()>>,
    /// Resolves, with an error, when the supervisor has ended.
    ended: oneshot::Receiver<()>,
    supervisor: JoinHandle<()>,
}

impl EmbeddedDatabase {
    /// Starts a database, and returns when it has answered a query.
    ///
    /// The work happens on a thread of its own, so the caller's runtime is not held up. It takes
    /// well under a second in a release build; the very first start of a user takes longer,
    /// because the crate unpacks itself into the cache directory.
    ///
    /// # Errors
    ///
    /// When the directory or the cache directory cannot be used; see [`EmbeddedError`].
    pub async fn start(storage: Storage) -> Result<Self, EmbeddedError> {
        let (ready, started) = oneshot::channel();
        let (stop, stopped) = watch::channel(());
        let (alive, ended) = oneshot::channel::<()>();
        let supervisor = thread::Builder::new()
            .name("embedded-database".to_owned())
            .spawn(move || {
                supervise(storage, ready, stopped);
                drop(alive);
            })
            .map_err(|error| EmbeddedError::Start(format!("no thread could be had: {error}")))?;
        let url = started
            .await
            .unwrap_or_else(|_| Err(EmbeddedError::Start("its thread ended; the log says why".to_owned())))?;
        Ok(Self { url, stop: Some(stop), ended, supervisor })
    }

    /// Where to connect to: a `postgres://` URL on the loopback interface, at a port which was free.
    ///
    /// One connection at a time: see the [module's documentation](self).
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Ends the database and throws a temporary directory away.
    ///
    /// Clients which are still connected lose their connection, and a transaction which is not
    /// committed is rolled back; so close the pool first. A statement which is running cannot be
    /// interrupted: after ten seconds this returns without having waited for its end, and the
    /// directory stays locked until that end.
    pub async fn stop(mut self) {
        drop(self.stop.take());
        if timeout(2 * STOP_PATIENCE, &mut self.ended).await.is_err() {
            warn!("the embedded database is still busy with a statement; not waiting for its end");
        }
    }
}

/// For whoever forgets [`EmbeddedDatabase::stop`], which is to be preferred: this one blocks the
/// thread, although for two seconds at most, until the database has ended and its temporary
/// directory is gone.
impl Drop for EmbeddedDatabase {
    fn drop(&mut self) {
        if self.stop.take().is_none() {
            return;
        }
        let start = Instant::now();
        while !self.supervisor.is_finished() && start.elapsed() < DROP_PATIENCE {
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// The life of the database, on a thread of its own because the crate blocks.
fn supervise(
    storage: Storage,
    ready: oneshot::Sender<Result<String, EmbeddedError>>,
    stopped: watch::Receiver<()>,
) {
    let mut ready = Some(ready);
    let outcome = live(storage, &mut ready, stopped);
    // Of a failure the caller hears only now that everything is cleaned up, because its process
    // may end at once.
    if let (Err(error), Some(ready)) = (outcome, ready) {
        let _ = ready.send(Err(error));
    }
}

fn live(
    storage: Storage,
    ready: &mut Option<oneshot::Sender<Result<String, EmbeddedError>>>,
    stopped: watch::Receiver<()>,
) -> Result<(), EmbeddedError> {
    let place = Place::claim(storage)?;
    let backend = Backend::start(&place.directory).map_err(|detail| place.explain(detail))?;
    let backend = Arc::new(Mutex::new(backend));
    let outcome = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        // Dropping the runtime drops the sessions, and with them their hold on the backend.
        Ok(runtime) => runtime.block_on(run(&place, &backend, ready, stopped)),
        Err(error) => Err(EmbeddedError::Start(format!("no runtime could be had: {error}"))),
    };
    // In this order: the files may go, and the lock be given up, only after the backend has ended.
    if let Some(backend) = Arc::into_inner(backend) {
        backend.into_inner().end();
    }
    drop(place);
    outcome
}

/// Relays connections until it is told to stop.
async fn run(
    place: &Place,
    backend: &Arc<Mutex<Backend>>,
    ready: &mut Option<oneshot::Sender<Result<String, EmbeddedError>>>,
    stopped: watch::Receiver<()>,
) -> Result<(), EmbeddedError> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(EmbeddedError::Listen)?;
    let port = listener.local_addr().map_err(EmbeddedError::Listen)?.port();
    let url = format!("postgres://{USER}@127.0.0.1:{port}/{DATABASE}?sslmode=disable");
    let serving = relay::serve(listener, backend, stopped);
    tokio::pin!(serving);

    // The crate does most of its unpacking at the first connection, so make one: whoever started
    // the database hears of a failure now, and the first real connection is quick.
    tokio::select! {
        () = &mut serving => return Ok(()),
        tried = timeout(FIRST_CONNECTION_PATIENCE, first_connection(&url)) => match tried {
            Ok(tried) => tried.map_err(|detail| place.explain(detail))?,
            Err(_) => return Err(EmbeddedError::Start(format!(
                "no answer within {} seconds",
                FIRST_CONNECTION_PATIENCE.as_secs()
            ))),
        },
    }
    // When nobody waits for the outcome any more, then nobody will ever use the database either.
    if ready.take().is_some_and(|ready| ready.send(Ok(url)).is_ok()) {
        serving.await;
    }
    Ok(())
}

/// Connects, asks something, and leaves.
async fn first_connection(url: &str) -> Result<(), String> {
    let say = |error: tokio_postgres::Error| match error.as_db_error() {
        Some(error) => error.message().to_owned(),
        None => error.to_string(),
    };
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.map_err(say)?;
    let asking = async move { client.simple_query("select 1").await };
    let (answer, _) = tokio::join!(asking, connection);
    answer.map_err(say)?;
    Ok(())
}

/// The directory, which is ours alone for as long as this value lives.
struct Place {
    directory: PathBuf,
    // The lock is given up before the directory is removed; in this order, which is that of the
    // declaration, because an open file cannot be removed everywhere.
    _lock: File,
    _temporary: Option<TempDir>,
}

impl Place {
    fn claim(storage: Storage) -> Result<Self, EmbeddedError> {
        let (directory, temporary) = match storage {
            Storage::Temporary => {
                let temporary = tempfile::Builder::new()
                    .prefix("embedded-database-")
                    .tempdir()
                    .map_err(|source| EmbeddedError::Directory { directory: std::env::temp_dir(), source })?;
                (temporary.path().to_path_buf(), Some(temporary))
            }
            Storage::Directory(directory) => (directory, None),
        };
        let unusable = |source| EmbeddedError::Directory { directory: directory.clone(), source };
        create_private_directory(&directory).map_err(unusable)?;
        // The crate remembers the path; a later change of the working directory must not move it.
        let directory = fs::canonicalize(&directory).map_err(unusable)?;
        let unusable = |source| EmbeddedError::Directory { directory: directory.clone(), source };
        if is_foreign(&directory).map_err(unusable)? {
            return Err(EmbeddedError::ForeignDirectory { directory });
        }
        let path = directory.join(LOCK_FILE);
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let holder = fs::read_to_string(&path)
                    .ok()
                    .and_then(|text| text.trim().parse::<u32>().ok())
                    .map_or_else(|| "another process".to_owned(), |process| format!("process {process}"));
                return Err(EmbeddedError::InUse { directory, holder });
            }
            Err(TryLockError::Error(source)) => return Err(unusable(source)),
        }
        // Only for the message above, so that whoever gets it knows which process to stop.
        lock.set_len(0).and_then(|()| writeln!(lock, "{}", std::process::id())).map_err(unusable)?;
        Ok(Self { directory, _lock: lock, _temporary: temporary })
    }

    /// Turns what the crate says, which is text only, into something a person can act upon.
    fn explain(&self, detail: String) -> EmbeddedError {
        let directory = self.directory.clone();
        let denied =
            ["Permission denied", "Read-only file system"].iter().any(|words| detail.contains(words));
        if detail.contains("PGDATA overlay") || detail.contains("uses the template overlay") {
            EmbeddedError::OtherVersion { directory, detail }
        } else if detail.contains("already in use") {
            EmbeddedError::InUse { directory, holder: "another program which uses pglite-oxide".to_owned() }
        } else if denied && detail.contains(&*directory.to_string_lossy()) {
            EmbeddedError::Directory {
                directory,
                source: io::Error::new(io::ErrorKind::PermissionDenied, detail),
            }
        } else if denied || detail.contains("cache") {
            EmbeddedError::Cache { detail }
        } else {
            EmbeddedError::Start(detail)
        }
    }
}

/// The data is nobody else's business, so a new directory is not readable for others.
fn create_private_directory(directory: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory)
}

/// Whether the directory holds something, and nothing that shows it to be a database of ours.
fn is_foreign(directory: &Path) -> io::Result<bool> {
    let mut empty = true;
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        if name == LOCK_FILE {
            return Ok(false);
        }
        empty &= CRATE_FILES.iter().any(|ours| name == **ours);
    }
    Ok(!empty)
}

/// The crate's server, on a port of its own which only the relay uses.
struct Backend {
    directory: PathBuf,
    server: Option<PgliteServer>,
}

impl Backend {
    fn start(directory: &Path) -> Result<Self, String> {
        Ok(Self { directory: directory.to_path_buf(), server: Some(start_server(directory)?) })
    }

    /// Begins a session, and returns when the server has begun to answer.
    ///
    /// The server ends for good when the backend fails in a way the crate does not expect, such
    /// as a stack overflow; it is started again here. That it has ended may show only after the
    /// connection was accepted, hence the wait for the answer.
    async fn begin(&mut self, opening: &[u8]) -> Result<TcpStream, String> {
        match self.try_begin(opening).await {
            Ok(stream) => return Ok(stream),
            Err(error) => warn!(%error, "the embedded database has ended; starting it again"),
        }
        let directory = self.directory.clone();
        let ended = self.server.take();
        // A thread without a runtime, because the crate brings its own and does not expect to be
        // inside another one. To wait for it is harmless: there is nobody else to serve.
        let server = thread::spawn(move || {
            drop(ended);
            start_server(&directory)
        })
        .join()
        .map_err(|_| "starting it again failed; the log says why".to_owned())??;
        self.server = Some(server);
        self.try_begin(opening).await
    }

    async fn try_begin(&self, opening: &[u8]) -> Result<TcpStream, String> {
        let Some(address) = self.server.as_ref().and_then(PgliteServer::tcp_addr) else {
            return Err("it is not running".to_owned());
        };
        let begin = async {
            let mut server = TcpStream::connect(address).await?;
            let _ = server.set_nodelay(true);
            server.write_all(opening).await?;
            match server.peek(&mut [0]).await? {
                0 => Err(io::ErrorKind::UnexpectedEof.into()),
                _ => Ok(server),
            }
        };
        begin.await.map_err(|error: io::Error| error.to_string())
    }

    fn end(self) {
        if let Some(server) = self.server
            && let Err(error) = server.shutdown()
        {
            warn!("the embedded database did not end cleanly: {error:#}");
        }
    }
}

fn start_server(directory: &Path) -> Result<PgliteServer, String> {
    PgliteServer::builder()
        .path(directory)
        .username(USER)
        .database(DATABASE)
        .tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
        .start()
        .map_err(|error| format!("{error:#}"))
}
