//! The requests about sessions that are gathered, and the statement that answers a set of each kind.

use std::sync::Arc;

use super::Effect;
use super::connection::{Connection, Params, StatementError};
use super::gather::{Answer, Gathered, Lane};
use super::pool::Pool;
use super::rows::{ClientArrays, life, placed, session};
use super::statements::{
    SESSION_ADD_SET, SESSION_CHECK_BATCH, SESSION_COUNT_LIVE_SET, SESSION_GET_SET, SESSION_REVOKE_SET,
    SESSION_ROTATE_SET,
};
use crate::registry::session::{Life, Opening, Rotation, RotationOutcome};
use crate::registry::{CredentialVersion, Limits, RevocationReason, Session, SessionName, UserId};
use crate::telemetry::Metrics;

/// The lanes of requests about sessions: each kind has places of its own.
pub(super) struct SessionLanes {
    pub(super) check: Lane<Checks>,
    pub(super) read: Lane<Reads>,
    pub(super) open: Lane<Openings>,
    pub(super) rotate: Lane<Rotations>,
    pub(super) revoke: Lane<Revocations>,
}

impl SessionLanes {
    pub(super) fn new(pool: &Arc<Pool>, limits: &Arc<Limits>, gathering: bool, metrics: &Metrics) -> Self {
        Self {
            check: Lane::new(Checks, pool, gathering, metrics),
            read: Lane::new(Reads, pool, gathering, metrics),
            open: Lane::new(Openings { limits: Arc::clone(limits) }, pool, gathering, metrics),
            rotate: Lane::new(Rotations { limits: Arc::clone(limits) }, pool, gathering, metrics),
            revoke: Lane::new(Revocations, pool, gathering, metrics),
        }
    }
}

/// A session by its name.
pub(super) type Named = (UserId, SessionName);

/// Whether sessions are live. There is always an answer: no such session is one.
pub(super) struct Checks;

impl Gathered for Checks {
    type Request = Named;
    type Answer = Option<Life>;
    const NAME: &'static str = "check_session";
    const EFFECT: Effect = Effect::Reads;

    async fn set(
        &self,
        c: &Connection,
        requests: &[&Named],
    ) -> Result<Vec<Option<Answer<Self>>>, StatementError> {
        let lives = check_all(c, requests.iter().copied()).await?;
        Ok(lives.into_iter().map(|life| Some(Ok(life))).collect())
    }
}

/// Whether sessions are live, in the order of the questions.
pub(super) async fn check_all<'a>(
    c: &Connection,
    questions: impl ExactSizeIterator<Item = &'a Named>,
) -> Result<Vec<Option<Life>>, StatementError> {
    let count = questions.len();
    let (users, names): (Vec<_>, Vec<_>) =
        questions.map(|(user_id, name)| (user_id.as_str(), name.as_str())).unzip();
    let done = c.run(&SESSION_CHECK_BATCH, &[&users, &names]).await?;
    let found = placed(count, &done.rows, |row| life(row, 1))?;
    Ok(found.into_iter().map(Option::flatten).collect())
}

/// Whole rows of sessions.
pub(super) struct Reads;

impl Gathered for Reads {
    type Request = Named;
    type Answer = Option<Session>;
    const NAME: &'static str = "read_session";
    const EFFECT: Effect = Effect::Reads;

    async fn set(
        &self,
        c: &Connection,
        requests: &[&Named],
    ) -> Result<Vec<Option<Answer<Self>>>, StatementError> {
        let (users, names): (Vec<_>, Vec<_>) =
            requests.iter().map(|(user_id, name)| (user_id.as_str(), name.as_str())).unzip();
        let done = c.run(&SESSION_GET_SET, &[&users, &names]).await?;
        let found = placed(requests.len(), &done.rows, |row| session(row, 1))?;
        Ok(found.into_iter().map(|session| Some(Ok(session))).collect())
    }
}

/// Sessions to open.
pub(super) struct Openings {
    limits: Arc<Limits>,
}

/// A session opened, and whether its user now has too many.
pub(super) struct Opened {
    pub(super) session: Session,
    pub(super) beyond_limit: bool,
}

impl Gathered for Openings {
    type Request = Opening;
    type Answer = Opened;
    const NAME: &'static str = "open_session";
    const EFFECT: Effect = Effect::Writes;

    fn writes(opening: &Opening) -> Option<(&UserId, &str)> {
        Some((&opening.user_id, opening.session.as_str()))
    }

    async fn set(
        &self,
        c: &Connection,
        all: &[&Opening],
    ) -> Result<Vec<Option<Answer<Self>>>, StatementError> {
        let users: Vec<_> = all.iter().map(|o| o.user_id.as_str()).collect();
        let names: Vec<_> = all.iter().map(|o| o.session.as_str()).collect();
        let jtis: Vec<_> = all.iter().map(|o| o.jti.as_str()).collect();
        let enabled: Vec<_> = all.iter().map(|o| o.enabled).collect();
        let lifetimes: Vec<_> = all.iter().map(|o| o.session_lifetime.as_secs_f64()).collect();
        let idles: Vec<_> = all.iter().map(|o| o.idle_timeout.as_secs_f64()).collect();
        let graces: Vec<_> = all.iter().map(|o| o.rotation_grace.as_secs_f64()).collect();
        let versions: Vec<_> =
            all.iter().map(|o| o.credential_version.as_ref().map(CredentialVersion::as_str)).collect();
        let first: Params<'_> = &[&users, &names, &jtis, &enabled, &lifetimes, &idles, &graces, &versions];
        let clients = ClientArrays::of(all.iter().map(|o| Some(&o.client)));
        let limit = i64::from(self.limits.max_sessions_per_user);
        let [added, counted] = c
            .each([
                (&SESSION_ADD_SET, &clients.after(first)),
                (&SESSION_COUNT_LIVE_SET, &[&users, &(limit + 1)]),
            ])
            .await?;
        let added = placed(all.len(), &added.rows, |row| session(row, 1))?;
        let live = placed(all.len(), &counted.rows, |row| Ok(row.try_get::<_, i64>(1)?))?;
        let opened = added.into_iter().zip(live).map(|(session, live)| {
            session.map(|session| Ok(Opened { session, beyond_limit: live.is_some_and(|live| live > limit) }))
        });
        Ok(opened.collect())
    }
}

/// Rotations.
pub(super) struct Rotations {
    limits: Arc<Limits>,
}

impl Gathered for Rotations {
    type Request = Rotation;
    type Answer = (Session, RotationOutcome);
    const NAME: &'static str = "rotate_session";
    const EFFECT: Effect = Effect::Writes;

    fn writes(rotation: &Rotation) -> Option<(&UserId, &str)> {
        Some((&rotation.user_id, rotation.session.as_str()))
    }

    async fn set(
        &self,
        c: &Connection,
        all: &[&Rotation],
    ) -> Result<Vec<Option<Answer<Self>>>, StatementError> {
        let users: Vec<_> = all.iter().map(|r| r.user_id.as_str()).collect();
        let names: Vec<_> = all.iter().map(|r| r.session.as_str()).collect();
        let jtis: Vec<_> = all.iter().map(|r| r.jti.as_str()).collect();
        let new_jtis: Vec<_> = all.iter().map(|r| r.new_jti.as_str()).collect();
        let told: Vec<_> = all.iter().map(|r| r.client.is_some()).collect();
        let (grace, retry, idle) = self.limits.rotation_seconds();
        let first: Params<'_> = &[&users, &names, &jtis, &new_jtis, &grace, &retry, &idle, &told];
        let clients = ClientArrays::of(all.iter().map(|r| r.client.as_ref()));
        let done = c.run(&SESSION_ROTATE_SET, &clients.after(first)).await?;
        let rows = placed(all.len(), &done.rows, |row| session(row, 1))?;
        let answers = rows
            .into_iter()
            .zip(all)
            .map(|(row, rotation)| row.map(|row| rotation.written(row).map_err(Into::into)));
        Ok(answers.collect())
    }
}

/// Sessions to end.
pub(super) struct Revocations;

impl Gathered for Revocations {
    type Request = (Named, RevocationReason);
    type Answer = i64;
    const NAME: &'static str = "revoke_session";
    const EFFECT: Effect = Effect::Writes;

    fn writes(((user_id, name), _): &Self::Request) -> Option<(&UserId, &str)> {
        Some((user_id, name.as_str()))
    }

    async fn set(
        &self,
        c: &Connection,
        all: &[&Self::Request],
    ) -> Result<Vec<Option<Answer<Self>>>, StatementError> {
        let users: Vec<_> = all.iter().map(|((user_id, _), _)| user_id.as_str()).collect();
        let names: Vec<_> = all.iter().map(|((_, name), _)| name.as_str()).collect();
        let reasons: Vec<_> = all.iter().map(|(_, reason)| reason.number()).collect();
        let done = c.run(&SESSION_REVOKE_SET, &[&users, &names, &reasons]).await?;
        placed(all.len(), &done.rows, |_| Ok(Ok(1)))
    }
}
