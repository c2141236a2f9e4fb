//! What can be wrong with a configuration, in words for a person.

use std::fmt::{self, Display};

/// A configuration that can't be used: all that is wrong, each with its key and source. `Display` is for a person and
/// carries no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    pub(super) problems: Vec<Problem>,
}

/// One thing that is wrong. `Display` carries no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key as the file spells it, or the variable or file that isn't one.
    pub(super) key: String,
    pub(super) message: String,
    /// Where the value came from; none where there is no value.
    pub(super) source: Option<String>,
}

impl ConfigError {
    /// How many things are wrong; never 0.
    #[must_use]
    pub fn problem_count(&self) -> usize {
        self.problems.len()
    }
}

impl std::error::Error for ConfigError {}

impl Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the configuration is wrong:")?;
        self.problems.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

impl From<Vec<Problem>> for ConfigError {
    fn from(problems: Vec<Problem>) -> Self {
        Self { problems }
    }
}

impl Problem {
    pub(super) fn new(key: impl Into<String>, message: impl Into<String>, source: Option<String>) -> Self {
        Self { key: key.into(), message: message.into(), source }
    }
}

impl Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.message)?;
        match &self.source {
            Some(source) => write!(f, " ({source})"),
            None => Ok(()),
        }
    }
}
