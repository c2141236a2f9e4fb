//! Where the server's programs are; they are installed if need be and possible.

use std::env;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use nix::unistd::Uid;

/// Names the directory that holds `initdb` and `postgres`.
const BINARIES_VARIABLE: &str = "TOKEN_REGISTRY_TEST_PG_BIN";

/// The directory of the server's programs, which are installed if need be and
/// possible.
pub(super) fn binaries() -> Result<PathBuf, String> {
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

pub(super) fn find_in_path(program: &str) -> Option<PathBuf> {
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
