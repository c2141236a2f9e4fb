//! Why a registry can't start.

/// Why a registry can't start on its database.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The settings can't be right.
    #[error("{0}")]
    Settings(String),
    /// The database can't be reached, or not now.
    #[error("the database can't be reached: {0}")]
    Unreachable(String),
    /// The schema is of a newer release.
    #[error(
        "the database has schema version {found}, but this token-registry knows only up to {known}: use the release that migrated it, or a newer one"
    )]
    SchemaTooNew {
        /// The version found.
        found: i32,
        /// The newest version that this binary knows.
        known: i32,
    },
    /// A migration that was applied isn't the one that this binary has under that name.
    #[error(
        "migration {name} was applied to the database with another text than this token-registry has: was it edited?"
    )]
    SchemaDiffers {
        /// The migration's name.
        name: &'static str,
    },
    /// The database's isolation isn't the one that every statement here is written for.
    #[error(
        "the database's default_transaction_isolation is '{0}', but the registry is right only under 'read committed': change it for this role or database, or in DATABASE_URL"
    )]
    Isolation(String),
    /// The database refuses something of the schema.
    #[error("the database refuses: {0}")]
    Database(String),
}

impl StoreError {
    /// Whether waiting may help.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Unreachable(_))
    }
}

impl From<tokio_postgres::Error> for StoreError {
    fn from(error: tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            None => Self::Unreachable(describe(&error)),
            Some(db) => {
                let code = db.code().code();
                let text = format!("{} (SQLSTATE {code})", db.message());
                // Connection trouble, shutting down or starting up, too many connections, a standby.
                if ["08", "57", "53"].iter().any(|class| code.starts_with(class)) || code == "25006" {
                    Self::Unreachable(text)
                } else {
                    Self::Database(text)
                }
            }
        }
    }
}

/// An error with its causes: tokio-postgres says "error connecting to server" and keeps why below.
fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
