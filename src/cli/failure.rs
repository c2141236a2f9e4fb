//! How a command fails, and what the program ends with then.

use std::process::ExitCode;

use crate::config::ConfigError;

/// The command line or the configuration is wrong; what sysexits.h calls `EX_USAGE`.
pub(super) const USAGE: u8 = 64;
/// The registry can't be reached or can't answer now: the same command may work later; `EX_UNAVAILABLE`.
const UNAVAILABLE: u8 = 69;
/// The registry doesn't know the caller, or the caller may not do that; `EX_NOPERM`.
const NOT_PERMITTED: u8 = 77;

/// Why a command failed: a sentence for a person.
pub(super) enum Failure {
    Configuration(ConfigError),
    /// What was asked for can't be right.
    Usage(String),
    /// A failure at run time, or a refusal.
    Running(String),
    /// The same again may work later.
    Unavailable(String),
    NotPermitted(String),
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
            Self::Configuration(error) => say(&error.to_string(), USAGE),
            Self::Usage(message) => say(message, USAGE),
            Self::Unavailable(message) => say(message, UNAVAILABLE),
            Self::NotPermitted(message) => say(message, NOT_PERMITTED),
            Self::Running(message) if tracing::enabled!(tracing::Level::ERROR) => {
                tracing::error!("{message}");
                ExitCode::FAILURE
            }
            Self::Running(message) => say(message, 1),
        }
    }
}

fn say(message: &str, code: u8) -> ExitCode {
    eprintln!("error: {message}");
    ExitCode::from(code)
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
