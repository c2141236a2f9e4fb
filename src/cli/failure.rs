//! How a command fails, and what the program ends with then.

use std::process::ExitCode;

use crate::config::ConfigError;

/// What sysexits.h calls `EX_USAGE`.
pub(super) const WRONG_CONFIGURATION: u8 = 64;

/// Why a command failed.
pub(super) enum Failure {
    Configuration(ConfigError),
    /// A failure at run time, as a sentence for a person.
    Running(String),
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::Configuration(error)
    }
}

impl Failure {
    /// Says what failed, and answers with what a shell or a supervisor is to see.
    pub(super) fn tell(&self) -> ExitCode {
        match self {
            Self::Configuration(error) => {
                eprintln!("error: {error}");
                ExitCode::from(WRONG_CONFIGURATION)
            }
            Self::Running(message) => {
                if tracing::enabled!(tracing::Level::ERROR) {
                    tracing::error!("{message}");
                } else {
                    eprintln!("error: {message}");
                }
                ExitCode::FAILURE
            }
        }
    }
}

/// The error and what caused it, in one line; a cause that is said already isn't said again.
pub(super) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let reason = error.to_string();
        if !text.contains(&reason) {
            text.push_str(": ");
            text.push_str(&reason);
        }
        cause = error.source();
    }
    text
}
