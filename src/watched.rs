//! Files that are read again when they change.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::sleep;

/// How often the files are looked at. By content, so that it doesn't matter how they are replaced: written over, renamed,
/// or by the symbolic links of a Kubernetes secret.
const EVERY: Duration = Duration::from_secs(2);

/// Files whose changes are waited for.
#[derive(Debug)]
pub(crate) struct Watched {
    paths: Vec<PathBuf>,
    contents: Vec<Option<Vec<u8>>>,
}

impl Watched {
    /// These files, as they are now. Whoever reads them does so after this, so that no change is missed between.
    pub(crate) fn new(paths: impl IntoIterator<Item = impl AsRef<Path>>) -> Self {
        let paths: Vec<PathBuf> = paths.into_iter().map(|path| path.as_ref().to_owned()).collect();
        let contents = read(&paths);
        Self { paths, contents }
    }

    /// Waits until one of them has changed.
    pub(crate) async fn changed(&mut self) {
        loop {
            sleep(EVERY).await;
            let paths = self.paths.clone();
            let Ok(contents) = spawn_blocking(move || read(&paths)).await else { continue };
            if contents != self.contents {
                self.contents = contents;
                return;
            }
        }
    }
}

fn read(paths: &[PathBuf]) -> Vec<Option<Vec<u8>>> {
    paths.iter().map(|path| std::fs::read(path).ok()).collect()
}
