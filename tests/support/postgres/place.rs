//! A server's place on the machine: directory, port and account.

use std::env;
use std::fs::{self, Permissions};
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::sync::atomic::{AtomicU64, Ordering};

use nix::unistd::{Uid, User};

use super::SUPERUSER;

/// The account that the server runs under when the tests run as root, which
/// PostgreSQL refuses to do.
#[derive(Clone, Copy)]
pub struct Account {
    pub(super) user: u32,
    pub(super) group: u32,
}

impl Account {
    /// Has a program run under it, for one that refuses to run as root as well.
    pub fn lend(self, command: &mut Command) {
        command.uid(self.user).gid(self.group);
    }
}

/// Whether a server's log says that its port was another's.
pub(super) fn port_was_taken(log: &str) -> bool {
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
pub(super) fn make_directory() -> Result<PathBuf, String> {
    let parent = [env::temp_dir(), PathBuf::from("/tmp")]
        .into_iter()
        .filter_map(|path| path.canonicalize().ok())
        .find(|path| is_suitable(path))
        .ok_or("neither the directory for temporary files nor /tmp suits PostgreSQL")?;
    make_directory_in(&parent)
}

/// A new directory for a cluster, below this one.
pub(super) fn make_directory_in(parent: &Path) -> Result<PathBuf, String> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
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
pub(super) fn account() -> Result<Option<Account>, String> {
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
