//! Sessions: brought, followed while the other side still rotates them, or only looked at.

use std::collections::HashMap;
use std::time::SystemTime;

use tokio_postgres::types::ToSql;

use super::super::Statement;
use super::super::connection::{Connection, Done, Params, StatementError};
use super::super::rows::ClientArrays;
use super::super::statements::{IMPORT_ADD_SESSIONS, IMPORT_MOVE_SESSIONS, IMPORT_SEE_SESSIONS};
use super::names;
use super::users::Judged;
use crate::import::batch::{Batch, Fate, OldSession, Terms};
use crate::import::rules::{self, Here, Kept, Step, There};
use crate::registry::RevocationReason;

/// A session's step, with its times and the reason why it comes as ended.
pub(super) struct Planned {
    pub(super) step: Step,
    ends: rules::Ends,
    reason: Option<RevocationReason>,
}

pub(super) fn judge_sessions(
    batch: &Batch,
    judged: &Judged<'_>,
    terms: &Terms,
    seen_rows: &Done,
    here_rows: &Done,
) -> Result<Vec<Option<Planned>>, StatementError> {
    let mut seen = HashMap::new();
    for row in &seen_rows.rows {
        let name: (&str, &str) = (row.try_get(0)?, row.try_get(1)?);
        seen.insert(name, There { jti: row.try_get(2)?, enabled: row.try_get(3)? });
    }
    let mut here = HashMap::new();
    for row in &here_rows.rows {
        let name: (&str, &str) = (row.try_get(0)?, row.try_get(1)?);
        let rotations: i64 = row.try_get(4)?;
        let session = Here {
            jti: row.try_get(2)?,
            enabled: row.try_get(3)?,
            rotated: rotations > 0,
            revoked: row.try_get(5)?,
        };
        here.insert(name, (session, row.try_get::<_, SystemTime>(6)?));
    }
    let plan = |old: &OldSession| {
        let owner = judged.owners.get(old.user_id.as_str())?;
        let name = (old.user_id.as_str(), old.session.as_str());
        let there = There { jti: old.jti.as_str(), enabled: old.enabled };
        let step =
            rules::session_step(there, seen.get(&name).copied(), here.get(&name).map(|(here, _)| *here));
        let known = here.get(&name).map(|(_, expires)| *expires);
        Some(Planned {
            step,
            ends: terms.lifetimes.ends(old.created, known, judged.now),
            reason: owner.ends(old.created),
        })
    };
    Ok(batch.sessions.iter().map(plan).collect())
}

pub(super) async fn add_sessions(
    c: &Connection,
    rows: &[(&OldSession, &Planned)],
    terms: &Terms,
) -> Result<(), StatementError> {
    let reasons: Vec<Option<i16>> =
        rows.iter().map(|(_, plan)| plan.reason.map(RevocationReason::number)).collect();
    let (idle, grace) = (terms.lifetimes.idle.as_secs_f64(), terms.rotation_grace.as_secs_f64());
    write_sessions(c, &IMPORT_ADD_SESSIONS, rows, &reasons, &[&idle, &grace]).await
}

pub(super) async fn follow_sessions(
    c: &Connection,
    rows: &[(&OldSession, &Planned)],
) -> Result<(), StatementError> {
    let moved: Vec<bool> =
        rows.iter().map(|(_, plan)| matches!(plan.step, Step::Follow { moved: true, .. })).collect();
    write_sessions(c, &IMPORT_MOVE_SESSIONS, rows, &moved, &[]).await
}

/// Writes sessions with a statement that takes them as arrays, with one more array before the clients.
async fn write_sessions(
    c: &Connection,
    statement: &'static Statement,
    rows: &[(&OldSession, &Planned)],
    eighth: &(dyn ToSql + Sync),
    more: Params<'_>,
) -> Result<(), StatementError> {
    if rows.is_empty() {
        return Ok(());
    }
    let columns = SessionArrays::of(rows);
    let clients = ClientArrays::of(rows.iter().map(|(old, _)| Some(&old.client)));
    let first: Params<'_> = &[
        &columns.users,
        &columns.sessions,
        &columns.jtis,
        &columns.enabled,
        &columns.created,
        &columns.session_expires,
        &columns.idle_expires,
        eighth,
    ];
    let mut params = clients.after(first);
    params.extend_from_slice(more);
    let [done] = c.proceed([(statement, &params)]).await?;
    if usize::try_from(done.affected).is_ok_and(|affected| affected == rows.len()) {
        return Ok(());
    }
    // Somebody opened one of these sessions a moment ago: all is to be judged again.
    c.rollback().await;
    Err(StatementError::TurnedAway)
}

pub(super) async fn see_sessions(
    c: &Connection,
    rows: &[(&OldSession, &Planned)],
) -> Result<(), StatementError> {
    if rows.is_empty() {
        return Ok(());
    }
    let (users, sessions) = names(rows, |(old, _)| (old.user_id.as_str(), old.session.as_str()));
    let (jtis, enabled): (Vec<&str>, Vec<bool>) =
        rows.iter().map(|(old, _)| (old.jti.as_str(), old.enabled)).unzip();
    c.proceed([(&IMPORT_SEE_SESSIONS, &[&users, &sessions, &jtis, &enabled])]).await?;
    Ok(())
}

pub(super) fn session_fate(plan: Option<&Planned>, now: SystemTime) -> Fate {
    let Some(Planned { step, ends, reason }) = plan else {
        return Fate::Kept(Kept::Deleted);
    };
    match step {
        Step::Add => {
            Fate::New { ended: reason.is_some(), from_now: ends.from_now, expired: ends.idle <= now }
        }
        Step::Follow { .. } => Fate::Changed,
        Step::See | Step::Nothing => Fate::Same,
        Step::Keep(kept) => Fate::Kept(*kept),
    }
}

/// Sessions as one array a column.
struct SessionArrays<'a> {
    users: Vec<&'a str>,
    sessions: Vec<&'a str>,
    jtis: Vec<&'a str>,
    enabled: Vec<bool>,
    created: Vec<SystemTime>,
    session_expires: Vec<SystemTime>,
    idle_expires: Vec<SystemTime>,
}

impl<'a> SessionArrays<'a> {
    fn of(rows: &[(&'a OldSession, &Planned)]) -> Self {
        let (users, sessions) =
            rows.iter().map(|(old, _)| (old.user_id.as_str(), old.session.as_str())).unzip();
        let enabled = |(old, plan): &(&OldSession, &Planned)| match plan.step {
            Step::Follow { enabled, .. } => enabled,
            _ => old.enabled,
        };
        Self {
            users,
            sessions,
            jtis: rows.iter().map(|(old, _)| old.jti.as_str()).collect(),
            enabled: rows.iter().map(enabled).collect(),
            created: rows.iter().map(|(old, _)| old.created).collect(),
            session_expires: rows.iter().map(|(_, plan)| plan.ends.session).collect(),
            idle_expires: rows.iter().map(|(_, plan)| plan.ends.idle).collect(),
        }
    }
}
