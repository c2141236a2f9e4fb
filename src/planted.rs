//! Bugs planted on purpose, to see that the torture finds them (cargo feature `planted-bugs`, never a default).
//!
//! The environment variable `PLANTED_BUG` names one of [`ALL`]; a server that has one says so in its first log line.
//! Each is a mistake that somebody could make: a claim that is a read and then a write, a lock that isn't taken, an
//! answer before its commit. Most are a change of a statement's text on its way to the database.

use std::collections::HashMap;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::registry::session::{Life, RotationOutcome};
use crate::registry::{Failure, Refusal, Session, SessionName, UserId};

/// A bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// A rotation is decided by what was read before, not by the row that is written.
    ReadThenWriteRotation,
    /// A replay is refused and the session lives on.
    ReplayWithoutRevocation,
    /// A logout is answered before it is done.
    RevocationAfterAnswer,
    /// Logging out everywhere doesn't see the sessions that were just added.
    RevokeAllMissesSession,
    /// The last rotation's own pair is refused when it comes again.
    RetryRefused,
    /// An issue doesn't see the token that was just issued, and leaves it alive.
    TwoTokensLive,
    /// A claim doesn't see the claim that was just made.
    ConsumeTwice,
    /// A write is answered before the database has it on disk.
    HeldInMemory,
    /// Within the grace, the predecessor gets a successor of its own.
    GraceForks,
    /// A login holds its user's row only as a foreign key does, against deletion: a suspension or a credential change
    /// beside it misses the session.
    BornAlive,
    /// Whether a session lives is answered from a cache.
    StaleCheck,
    /// A key that was just revoked still authenticates.
    StaleAuthentication,
    /// A key that takes the place of others doesn't see the one that was just made, and leaves it alive.
    ReplaceMissesKey,
    /// Who asks for a user's one key doesn't see that there is one since just now, and gets a second one.
    SecondKey,
    /// The purge takes sessions that are only switched off for sessions that are over.
    PurgeTakesLive,
}

/// All bugs, by name.
pub const ALL: &[(&str, Bug)] = &[
    ("read-then-write-rotation", Bug::ReadThenWriteRotation),
    ("replay-without-revocation", Bug::ReplayWithoutRevocation),
    ("revocation-after-answer", Bug::RevocationAfterAnswer),
    ("revoke-all-misses-session", Bug::RevokeAllMissesSession),
    ("retry-refused", Bug::RetryRefused),
    ("two-tokens-live", Bug::TwoTokensLive),
    ("consume-twice", Bug::ConsumeTwice),
    ("held-in-memory", Bug::HeldInMemory),
    ("grace-forks", Bug::GraceForks),
    ("born-alive", Bug::BornAlive),
    ("stale-check", Bug::StaleCheck),
    ("stale-authentication", Bug::StaleAuthentication),
    ("replace-misses-key", Bug::ReplaceMissesKey),
    ("second-key", Bug::SecondKey),
    ("purge-takes-live", Bug::PurgeTakesLive),
];

/// For how long the bugs that don't see what just happened don't see it: long, so that slow machines meet it too.
const JUST: &str = "interval '300 ms'";

/// This process' bug, if it has one.
fn planted() -> Option<(&'static str, Bug)> {
    static PLANTED: OnceLock<Option<(&'static str, Bug)>> = OnceLock::new();
    *PLANTED.get_or_init(|| {
        let named = std::env::var("PLANTED_BUG").ok()?;
        let bug = ALL.iter().find(|(name, _)| *name == named);
        Some(*bug.unwrap_or_else(|| panic!("there is no bug {named} to plant")))
    })
}

/// Whether this process has a bug.
#[must_use]
pub fn is(bug: Bug) -> bool {
    planted().is_some_and(|(_, planted)| planted == bug)
}

/// Says at start what this server is.
pub fn say() {
    if let Some((bug, _)) = planted() {
        tracing::error!(bug, "THIS SERVER HAS A BUG THAT WAS PLANTED ON PURPOSE: a test, never a registry");
    } else {
        tracing::warn!("this server can have bugs planted on purpose: built for tests only");
    }
}

/// A statement's text, with the bug that is in it.
pub(crate) fn sql(name: &str, sql: String) -> String {
    let Some((_, bug)) = planted() else { return sql };
    match (bug, name) {
        // A second, unlocked look at the row decides: of the version that the statement began with, some time ago.
        (Bug::ReadThenWriteRotation, "session/rotate.sql") => {
            sql.replace("s.jti = l.jti", "o.jti = l.jti").replace(
                ") l\nwhere s.user_id",
                ") l, sessions o, pg_sleep(0.003)\nwhere o.user_id = $1 and o.session = $2 and s.user_id",
            )
        }
        (Bug::ReadThenWriteRotation, "session/rotate_set.sql") => {
            sql.replace("s.jti = l.jti", "o.jti = l.jti").replace(
                "from l\nwhere s.user_id",
                "from l, sessions o, pg_sleep(0.003)\nwhere o.user_id = l.user_id and o.session = l.session and s.user_id",
            )
        }
        (Bug::GraceForks, "session/rotate.sql" | "session/rotate_set.sql") => sql.replace(
            "s.jti = l.jti",
            "(s.jti = l.jti or coalesce(s.previous_jti = l.jti and s.rotation_grace > interval '0', false))",
        ),
        (Bug::ReplayWithoutRevocation, "session/rotate.sql" | "session/rotate_set.sql") => {
            sql.replace("(s.enabled or not coalesce(", "(s.enabled and coalesce(")
        }
        (Bug::RevokeAllMissesSession, "session/revoke_all.sql") => {
            format!("{} and s.session_created < clock_timestamp() - {JUST}", sql.trim_end())
        }
        (Bug::TwoTokensLive, "generic/replace.sql" | "generic/replace_set.sql")
        | (Bug::ReplaceMissesKey, "auth/replace.sql") => {
            format!("{} and t.created < clock_timestamp() - {JUST}", sql.trim_end())
        }
        (Bug::ConsumeTwice, "generic/consume_secret.sql" | "generic/consume_secret_set.sql") => sql.replace(
            "(t.consumed_at is null and",
            &format!("(coalesce(t.consumed_at > clock_timestamp() - {JUST}, true) and"),
        ),
        (Bug::StaleAuthentication, "auth/find.sql" | "auth/find_set.sql") => sql.replace(
            "t.revoked_at is not null",
            &format!("coalesce(t.revoked_at < clock_timestamp() - {JUST}, false)"),
        ),
        (Bug::SecondKey, "auth/find_obstacles.sql") => {
            sql.replace("t.is_drf and", &format!("t.is_drf and t.created < clock_timestamp() - {JUST} and"))
        }
        (Bug::PurgeTakesLive, "maintenance/purge_sessions.sql") => sql.replace(
            "least(s.revoked_at",
            "least(case when not s.enabled then s.session_created end, s.revoked_at",
        ),
        (Bug::BornAlive, "session/add.sql" | "session/add_set.sql") => {
            sql.replace("for share", "for key share").replace(
                "select clock_timestamp() as now offset 0",
                "select clock_timestamp() as now from pg_sleep(0.005) offset 0",
            )
        }
        _ => sql,
    }
}

/// More options of every connection to the database.
pub(crate) fn connection_options() -> &'static str {
    if is(Bug::HeldInMemory) { " -c synchronous_commit=off" } else { "" }
}

/// What a rotation is answered.
pub(crate) fn rotation(
    answer: Result<(Session, RotationOutcome), Failure>,
) -> Result<(Session, RotationOutcome), Failure> {
    match answer {
        Ok((_, RotationOutcome::Retried)) if is(Bug::RetryRefused) => Err(Refusal::TokenReplayed.into()),
        answer => answer,
    }
}

/// What was answered not long ago, if that is remembered.
#[expect(clippy::option_option, reason = "that there is no session is an answer to remember")]
pub(crate) fn remembered(asked: &Asked) -> Option<Option<Life>> {
    if !is(Bug::StaleCheck) {
        return None;
    }
    let cache = cache().lock().unwrap_or_else(PoisonError::into_inner);
    let (when, life) = cache.get(asked)?;
    (when.elapsed() < Duration::from_secs(1)).then(|| life.clone())
}

/// Remembers what was answered.
pub(crate) fn remember(asked: Asked, answer: &Result<Option<Life>, Failure>) {
    if let Ok(life) = answer
        && is(Bug::StaleCheck)
    {
        let mut cache = cache().lock().unwrap_or_else(PoisonError::into_inner);
        cache.insert(asked, (Instant::now(), life.clone()));
    }
}

type Asked = (UserId, SessionName);
type Cache = Mutex<HashMap<Asked, (Instant, Option<Life>)>>;

fn cache() -> &'static Cache {
    static CACHE: OnceLock<Cache> = OnceLock::new();
    CACHE.get_or_init(Mutex::default)
}
