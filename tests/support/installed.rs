//! What the tests need beside PostgreSQL: Debian packages, installed if need be and possible. A test that lacks one says
//! so in a plain line and is left out.

use std::fs;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Mutex;

use nix::unistd::Uid;

/// The path of a shared library that a package puts into a folder of its own.
pub fn library(file: &str, package: &str) -> Option<String> {
    let find = || {
        let folders = fs::read_dir("/usr/lib").ok()?.flatten().map(|entry| entry.path().join(package));
        folders.map(|folder| folder.join(file)).find(|path| path.is_file())
    };
    or_installed(find, package).map(|path| path.to_string_lossy().into_owned())
}

/// What `find` finds, if need be after the package was installed.
fn or_installed(find: impl Fn() -> Option<PathBuf>, package: &str) -> Option<PathBuf> {
    // One at a time: apt-get would wait for itself.
    static INSTALLING: Mutex<()> = Mutex::new(());
    let _one = INSTALLING.lock();
    let found = find().or_else(|| {
        if Uid::effective().is_root() {
            say(&format!("Installing the package {package} with apt-get."));
            let _ =
                apt_get(&["update"]) && apt_get(&["install", "--yes", "--no-install-recommends", package]);
        }
        find()
    });
    if found.is_none() {
        say(&format!(
            "NOT RUN: a test that needs the Debian package {package}, which is not on this machine"
        ));
    }
    found
}

fn apt_get(arguments: &[&str]) -> bool {
    Command::new("apt-get")
        .args(["--quiet", "--option", "DPkg::Lock::Timeout=120"])
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .output()
        .is_ok_and(|output| output.status.success())
}

/// Not by a macro, whose output the test harness would keep to itself.
pub fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}
