//! A small disk, to be full.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::installed::say;

/// A small disk in memory. Unmounted when it is dropped.
pub struct Disk {
    folder: TempDir,
}

impl Disk {
    /// None where nothing may be mounted; a plain line then says what is not run.
    pub fn mount(megabytes: usize, user: &str) -> Option<Self> {
        let folder = tempfile::Builder::new().prefix("disk").tempdir_in("/tmp").expect("a folder");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={megabytes}m,mode=0755"), "tmpfs"])
            .arg(folder.path())
            .output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Self { folder });
        }
        say(&format!(
            "NOT RUN: {user}, which mounts a small one: that needs root, and a machine that lets it"
        ));
        None
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Takes all that is left of it.
    pub fn fill(&self) -> PathBuf {
        let path = self.path().join("filling");
        let mut file = fs::File::create(&path).expect("a file");
        while file.write_all(&[0; 4096]).is_ok() {}
        path
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.folder.path()).output();
    }
}
