//! What the registry holds, counted, and what a purge takes away.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::Counts;
use super::secrets::ServerKeys;

/// A table that a purge goes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PurgedKind {
    /// Sessions.
    Sessions,
    /// One-time tokens.
    GenericTokens,
    /// API keys.
    AuthTokens,
    /// Credential changes, kept for retries.
    CredentialChanges,
}

impl PurgedKind {
    /// All of them, in the order in which a purge goes through them.
    pub const ALL: [Self; 4] =
        [Self::Sessions, Self::GenericTokens, Self::AuthTokens, Self::CredentialChanges];

    /// The one that comes after it.
    #[must_use]
    pub fn next(self) -> Option<Self> {
        Self::ALL.get(self as usize + 1).copied()
    }
}

/// A purge, as asked for.
#[derive(Debug, Clone, Copy)]
pub struct Purge {
    /// Whether to remove, or only to count.
    pub apply: bool,
    /// How many rows one step looks at.
    pub batch_size: u32,
    /// How long something must have been over.
    pub older_than: Duration,
}

/// How far a purge has come: the last row that it looked at, by its primary key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PurgePlace {
    /// Of which table.
    pub kind: PurgedKind,
    /// The key's first column.
    pub user_id: String,
    /// The key's second column.
    pub name: String,
    /// The key's third column, where it has one.
    pub id: i64,
}

impl PurgePlace {
    /// Before the first row.
    #[must_use]
    pub fn start_of(kind: PurgedKind) -> Self {
        Self { kind, user_id: String::new(), name: String::new(), id: 0 }
    }

    /// The page token of this place.
    #[must_use]
    pub fn seal(&self, keys: &ServerKeys, query: &[&str]) -> String {
        // It can't fail: texts and numbers.
        let text = serde_json::to_string(self).unwrap_or_default();
        keys.seal(query, &text)
    }

    /// The place that a page token of this query stands for.
    #[must_use]
    pub fn open(keys: &ServerKeys, query: &[&str], token: &str) -> Option<Self> {
        serde_json::from_str(&keys.open(query, token)?).ok()
    }
}

/// What a purge took away, or would.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Purged {
    /// What is counted everywhere.
    pub counts: Counts,
    /// Credential changes.
    pub credential_changes: i64,
    /// How many rows were looked at.
    pub examined: i64,
    /// Where to go on; `None`: all was gone through.
    pub next: Option<PurgePlace>,
}

/// What there is, counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statistics {
    /// When it was counted.
    pub as_of: SystemTime,
    /// Rows by kind, state and purpose.
    pub counts: Vec<StateCount>,
    /// Since when the row has been over that has been so for longest.
    pub oldest_over: Option<SystemTime>,
    /// The tables.
    pub tables: Vec<TableFigures>,
}

/// How many rows there are of a kind in a state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateCount {
    /// The number of a `tokenregistry.v1.TokenKind`.
    pub kind: i32,
    /// The number of a `tokenregistry.v1.TokenState`.
    pub state: i32,
    /// Of one-time tokens; empty otherwise.
    pub purpose: String,
    /// How many.
    pub count: i64,
}

/// What the database knows of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableFigures {
    /// Its name.
    pub table: String,
    /// Its size with its indexes.
    pub total_bytes: i64,
    /// Updates of rows.
    pub updates: i64,
    /// Updates that stayed on their page.
    pub hot_updates: i64,
}
