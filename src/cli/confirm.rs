//! A question before something is destroyed.

use std::io::{self, IsTerminal as _, Write as _};

use super::failure::Failure;

/// Whether to ask before something is destroyed.
#[derive(clap::Args)]
pub(super) struct Confirm {
    /// Don't ask first
    #[arg(long, short = 'y')]
    yes: bool,
}

impl Confirm {
    /// Asks whether to do what `question` says, unless the answer was given on the command line. Where nobody can be
    /// asked, nothing is done.
    pub(super) fn ask(&self, question: &str) -> Result<(), Failure> {
        if self.yes {
            return Ok(());
        }
        let mut stderr = io::stderr().lock();
        if !io::stdin().is_terminal() || !stderr.is_terminal() {
            return Err(Failure::Usage(format!("{question} Nobody can be asked here: say --yes")));
        }
        let mut answer = String::new();
        let _ = write!(stderr, "{question} [y/N] ").and_then(|()| stderr.flush());
        let read = io::stdin().read_line(&mut answer);
        if read.is_ok() && matches!(answer.trim().to_lowercase().as_str(), "y" | "yes") {
            Ok(())
        } else {
            Err(Failure::Running("nothing was done".to_owned()))
        }
    }
}
