//! Page tokens: where a list goes on. Sealed, so that a forged one, or one of another query, is known for what it is.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::secrets::ServerKeys;

/// The last session of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AfterSession {
    /// When it was opened.
    pub session_created: SystemTime,
    /// Its name.
    pub session: String,
}

impl AfterSession {
    /// The page token of this place in the query.
    #[must_use]
    pub fn seal(&self, keys: &ServerKeys, query: &[&str]) -> String {
        let micros = self.session_created.duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
        keys.seal(query, &format!("{micros} {}", self.session))
    }

    /// The place that a page token of this query stands for.
    #[must_use]
    pub fn open(keys: &ServerKeys, query: &[&str], token: &str) -> Option<Self> {
        let text = keys.open(query, token)?;
        let (micros, session) = text.split_once(' ')?;
        let micros = Duration::from_micros(micros.parse().ok()?);
        Some(Self { session_created: UNIX_EPOCH.checked_add(micros)?, session: session.to_owned() })
    }
}

/// The page token after a one-time token, by its row's number.
#[must_use]
pub fn seal_id(keys: &ServerKeys, query: &[&str], id: i64) -> String {
    keys.seal(query, &id.to_string())
}

/// The row's number that a page token of this query stands for.
#[must_use]
pub fn open_id(keys: &ServerKeys, query: &[&str], token: &str) -> Option<i64> {
    keys.open(query, token)?.parse().ok()
}
