//! Why an import ended before its end.

/// Why an import ended before its end. `Display` is for a person and carries no secret.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// What was asked for can't be right.
    #[error("{0}")]
    Settings(String),
    /// The Django database can't be reached, or the connection was lost.
    #[error("the Django database can't be read: {0}")]
    Source(String),
    /// The Django database's tables aren't those of the package.
    #[error("the Django database is not one that can be imported:{}", list(.0))]
    Shape(Vec<String>),
    /// The registry's database can't be reached, or refuses.
    #[error("the registry's database: {0}")]
    Target(String),
    /// Another import is at work.
    #[error("another import is at work on this registry; wait for its end")]
    Busy,
    /// Most of what was brought is gone there.
    #[error(
        "of {known} {what} that were brought before, {gone} are gone in the Django database. Is --from the right database? \
         If they did end there, say --accept-missing, and they end here too. Nothing was written"
    )]
    MostIsGone {
        /// How many were brought.
        known: usize,
        /// How many of them are gone.
        gone: usize,
        /// What they are.
        what: &'static str,
    },
    /// The report can't be written.
    #[error("can't write {path}: {error}")]
    Report {
        /// The file.
        path: String,
        /// Why.
        error: std::io::Error,
    },
}

fn list(problems: &[String]) -> String {
    problems.iter().fold(String::new(), |text, problem| text + "\n  " + problem)
}

impl ImportError {
    /// Whether the command line is to blame, so that the same again can't help.
    #[must_use]
    pub fn is_of_the_command_line(&self) -> bool {
        matches!(self, Self::Settings(_))
    }

    /// What the driver says of the source, with its causes, without values.
    pub(super) fn source(error: &tokio_postgres::Error) -> Self {
        use std::error::Error as _;
        if let Some(db) = error.as_db_error() {
            return Self::Source(format!("{} (SQLSTATE {})", db.message(), db.code().code()));
        }
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        Self::Source(text)
    }
}

impl From<tokio_postgres::Error> for ImportError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::source(&error)
    }
}

impl From<crate::store::StoreError> for ImportError {
    fn from(error: crate::store::StoreError) -> Self {
        Self::Target(error.to_string())
    }
}

impl From<crate::registry::Failure> for ImportError {
    fn from(failure: crate::registry::Failure) -> Self {
        use crate::registry::Failure;
        Self::Target(match failure {
            Failure::DatabaseUnavailable => "can't be reached".to_owned(),
            Failure::OutcomeUnknown => {
                "the connection was lost; whether the last users were brought is not known".to_owned()
            }
            Failure::Overloaded => "too busy: its rows are held by others".to_owned(),
            Failure::Fault(text) => format!("refuses a statement: {text}"),
            Failure::Invalid(_) | Failure::Refused(_) => format!("{failure:?}"),
        })
    }
}
