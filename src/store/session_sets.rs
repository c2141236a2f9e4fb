//! The requests about sessions that are gathered, and the statement that answers a set of each kind.

use std::sync::Arc;

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::Effect;
use super::connection::{Connection, Params, StatementError};
use super::gather::{Gathered, Lane};
use super::pool::Pool;
use super::rows::{ClientArrays, life, session};
use super::statements::{
    SESSION_ADD_SET, SESSION_CHECK_BATCH, SESSION_COUNT_LIVE_SET, SESSION_GET_SET, SESSION_REVOKE_SET,
    SESSION_ROTATE_SET, Statement,
};
use crate::registry::session::{Life, Opening, Rotation};
use crate::registry::{CredentialVersion, Limits, RevocationReason, Session, SessionName, UserId};

/// The lanes of requests about sessions: questions and commands each have connections' turns of their own.
pub(super) struct SessionLanes {
    pub(super) check: Lane<Checks>,
    pub(super) get: Lane<Reads>,
    pub(super) add: Lane<Openings>,
    pub(super) rotate: Lane<Rotations>,
    pub(super) revoke: Lane<Revocations>,
}

impl SessionLanes {
    pub(super) fn new(pool: &Arc<Pool>, gathering: bool) -> Self {
        Self {
            check: Lane::new(pool, gathering),
            get: Lane::new(pool, gathering),
            add: Lane::new(pool, gathering),
            rotate: Lane::new(pool, gathering),
            revoke: Lane::new(pool, gathering),
        }
    }
}

/// A session by its name.
pub(super) type Named = (UserId, SessionName);

/// `check_session`. The answer is always there: no such session is one.
pub(super) struct Checks;

impl Gathered for Checks {
    type Request = Named;
    type Answer = Option<Life>;
    const EFFECT: Effect = Effect::Reads;

    fn writes(_: &Named) -> Option<(&UserId, &SessionName)> {
        None
    }

    async fn set(c: &Connection, requests: &[&Named]) -> Result<Vec<Option<Option<Life>>>, StatementError> {
        let lives = check_all(c, requests.iter().map(|(user_id, name)| (user_id, name))).await?;
        Ok(lives.into_iter().map(Some).collect())
    }
}

/// Whether sessions are live, in the order of the questions.
pub(super) async fn check_all<'a>(
    c: &Connection,
    questions: impl ExactSizeIterator<Item = (&'a UserId, &'a SessionName)>,
) -> Result<Vec<Option<Life>>, StatementError> {
    let count = questions.len();
    let (users, names): (Vec<_>, Vec<_>) =
        questions.map(|(user_id, name)| (user_id.as_str(), name.as_str())).unzip();
    let done = c.run(&SESSION_CHECK_BATCH, &[&users, &names]).await?;
    let found = placed(count, &done.rows, |row| life(row, 1))?;
    Ok(found.into_iter().map(Option::flatten).collect())
}

/// `session`: the whole row.
pub(super) struct Reads;

impl Gathered for Reads {
    type Request = Named;
    type Answer = Option<Session>;
    const EFFECT: Effect = Effect::Reads;

    fn writes(_: &Named) -> Option<(&UserId, &SessionName)> {
        None
    }

    async fn set(
        c: &Connection,
        requests: &[&Named],
    ) -> Result<Vec<Option<Option<Session>>>, StatementError> {
        let (users, names): (Vec<_>, Vec<_>) =
            requests.iter().map(|(user_id, name)| (user_id.as_str(), name.as_str())).unzip();
        let done = c.run(&SESSION_GET_SET, &[&users, &names]).await?;
        let found = placed(requests.len(), &done.rows, |row| session(row, 1))?;
        Ok(found.into_iter().map(Some).collect())
    }
}

/// A session to open, and how many may live beside it.
pub(super) struct Openings;

/// A session opened by a set, and whether its user now has too many.
pub(super) struct Opened {
    pub(super) session: Session,
    pub(super) beyond_limit: bool,
}

impl Gathered for Openings {
    type Request = (Opening, u32);
    type Answer = Opened;
    const EFFECT: Effect = Effect::Writes;

    fn writes((opening, _): &Self::Request) -> Option<(&UserId, &SessionName)> {
        Some((&opening.user_id, &opening.session))
    }

    async fn set(c: &Connection, requests: &[&Self::Request]) -> Result<Vec<Option<Opened>>, StatementError> {
        let all = || requests.iter().map(|(opening, _)| opening);
        let users: Vec<_> = all().map(|o| o.user_id.as_str()).collect();
        let names: Vec<_> = all().map(|o| o.session.as_str()).collect();
        let jtis: Vec<_> = all().map(|o| o.jti.as_str()).collect();
        let enabled: Vec<_> = all().map(|o| o.enabled).collect();
        let lifetimes: Vec<_> = all().map(|o| o.session_lifetime.as_secs_f64()).collect();
        let idles: Vec<_> = all().map(|o| o.idle_timeout.as_secs_f64()).collect();
        let graces: Vec<_> = all().map(|o| o.rotation_grace.as_secs_f64()).collect();
        let versions: Vec<_> =
            all().map(|o| o.credential_version.as_ref().map(CredentialVersion::as_str)).collect();
        let first: Params<'_> = &[&users, &names, &jtis, &enabled, &lifetimes, &idles, &graces, &versions];
        let clients = ClientArrays::of(all().map(|o| Some(&o.client)));
        let added =
            run_placed(c, &SESSION_ADD_SET, &clients.after(first), requests.len(), |row| session(row, 1))
                .await?;
        // Counted by a statement of its own, once the new sessions are committed: see `Store::hold_session_limit`.
        let limit = requests.first().map_or(0, |(_, limit)| i64::from(*limit));
        let counted = c.run(&SESSION_COUNT_LIVE_SET, &[&users, &(limit + 1)]).await?;
        let live: Vec<Option<i64>> = placed(requests.len(), &counted.rows, |row| Ok(row.try_get(1)?))?;
        let opened = added.into_iter().zip(live).map(|(session, live)| {
            session.map(|session| Opened { session, beyond_limit: live.unwrap_or(0) > limit })
        });
        Ok(opened.collect())
    }
}

/// A rotation, with the limits it is judged by.
pub(super) struct Rotations;

impl Gathered for Rotations {
    type Request = (Rotation, Arc<Limits>);
    type Answer = Session;
    const EFFECT: Effect = Effect::Writes;

    fn writes((rotation, _): &Self::Request) -> Option<(&UserId, &SessionName)> {
        Some((&rotation.user_id, &rotation.session))
    }

    async fn set(
        c: &Connection,
        requests: &[&Self::Request],
    ) -> Result<Vec<Option<Session>>, StatementError> {
        let Some((_, limits)) = requests.first() else { return Ok(Vec::new()) };
        let all = || requests.iter().map(|(rotation, _)| rotation);
        let users: Vec<_> = all().map(|r| r.user_id.as_str()).collect();
        let names: Vec<_> = all().map(|r| r.session.as_str()).collect();
        let jtis: Vec<_> = all().map(|r| r.jti.as_str()).collect();
        let new_jtis: Vec<_> = all().map(|r| r.new_jti.as_str()).collect();
        let told: Vec<_> = all().map(|r| r.client.is_some()).collect();
        let (grace, retry, idle) = limits.rotation_seconds();
        let first: Params<'_> = &[&users, &names, &jtis, &new_jtis, &grace, &retry, &idle, &told];
        let clients = ClientArrays::of(all().map(|r| r.client.as_ref()));
        run_placed(c, &SESSION_ROTATE_SET, &clients.after(first), requests.len(), |row| session(row, 1)).await
    }
}

/// Sessions to end.
pub(super) struct Revocations;

impl Gathered for Revocations {
    type Request = (Named, RevocationReason);
    type Answer = ();
    const EFFECT: Effect = Effect::Writes;

    fn writes(((user_id, name), _): &Self::Request) -> Option<(&UserId, &SessionName)> {
        Some((user_id, name))
    }

    async fn set(c: &Connection, requests: &[&Self::Request]) -> Result<Vec<Option<()>>, StatementError> {
        let users: Vec<_> = requests.iter().map(|((user_id, _), _)| user_id.as_str()).collect();
        let names: Vec<_> = requests.iter().map(|((_, name), _)| name.as_str()).collect();
        let reasons: Vec<_> = requests.iter().map(|(_, reason)| reason.number()).collect();
        run_placed(c, &SESSION_REVOKE_SET, &[&users, &names, &reasons], requests.len(), |_| Ok(())).await
    }
}

/// Runs a set's statement and puts what it answers in the order of the requests.
async fn run_placed<T>(
    c: &Connection,
    statement: &Statement,
    params: &[&(dyn ToSql + Sync)],
    count: usize,
    read: impl Fn(&Row) -> Result<T, StatementError>,
) -> Result<Vec<Option<T>>, StatementError> {
    placed(count, &c.run(statement, params).await?.rows, read)
}

/// Puts rows that begin with their request's number (from 1) in the order of the requests.
fn placed<T>(
    count: usize,
    rows: &[Row],
    read: impl Fn(&Row) -> Result<T, StatementError>,
) -> Result<Vec<Option<T>>, StatementError> {
    let mut answers: Vec<Option<T>> = std::iter::repeat_with(|| None).take(count).collect();
    for row in rows {
        let n: i64 = row.try_get(0)?;
        let place = usize::try_from(n - 1).ok().and_then(|n| answers.get_mut(n));
        if let Some(answer) = place {
            *answer = Some(read(row)?);
        }
    }
    Ok(answers)
}
