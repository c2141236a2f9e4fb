//! What a command prints.

use std::io::{self, Write as _};

/// To standard output; a reader that has gone away (`| head`) is no failure.
pub(super) fn print(text: &str) {
    let mut stdout = io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}
