//! Sessions: opened, rotated, asked about, listed and ended.

use tokio_postgres::Row;

use super::connection::{Connection, Params, StatementError, begin_bulk};
use super::rows::{ClientParams, life, session};
use super::session_sets::{Named, Opened, check_all};
use super::statements::{
    SESSION_ADD, SESSION_CHECK, SESSION_COUNT_LIVE, SESSION_GET, SESSION_GET_TAKEN, SESSION_LIST,
    SESSION_REVOKE, SESSION_REVOKE_ALL, SESSION_REVOKE_OLDEST, SESSION_ROTATE, SESSION_SET_ENABLED,
    USER_CREATE, USER_LOCK,
};
use super::{ATTEMPTS, Call, Effect, Store};
use crate::client_info::ClientInfo;
#[cfg(feature = "planted-bugs")]
use crate::planted;
use crate::registry::page::AfterSession;
use crate::registry::session::{Explanation, Life, Opening, Rotation, RotationOutcome};
use crate::registry::{
    CredentialVersion, Failure, Refusal, RevocationReason, Session, SessionName, TokenState, UserId,
};

/// Which of a user's sessions to list.
#[derive(Debug)]
pub struct SessionQuery {
    /// Whose.
    pub user_id: UserId,
    /// Only those in this state.
    pub state: Option<TokenState>,
    /// Only those after this one.
    pub after: Option<AfterSession>,
    /// At most so many.
    pub page_size: usize,
}

/// A page of sessions.
#[derive(Debug)]
pub struct ListedSessions {
    /// The sessions, newest first.
    pub sessions: Vec<Session>,
    /// Where the next page begins, if there is one.
    pub next: Option<AfterSession>,
}

impl Store {
    /// Opens a session. Answers also how many of the user's oldest ones had to end for it.
    ///
    /// # Errors
    /// The refusals of `AddRefreshToken`, in the contract's order.
    pub async fn add_session(&self, call: &Call, opening: Opening) -> Result<(Session, i64), Failure> {
        let user_id = opening.user_id.clone();
        let singly = |opening| async move { self.add_singly(call, &opening).await };
        let opened = self.sessions.open.answer(call, opening, singly).await?;
        if !opened.beyond_limit {
            return Ok((opened.session, 0));
        }
        // The session is open, whatever becomes of this; who opens the next one tries again.
        let ended = self.hold_session_limit(call, &user_id).await.unwrap_or_else(|failure| {
            tracing::warn!(?failure, "the oldest sessions of a user stay for now");
            0
        });
        Ok((opened.session, ended))
    }

    async fn add_singly(&self, call: &Call, opening: &Opening) -> Result<Opened, Failure> {
        let create_user = opening.credential_version.is_none() && !self.limits.require_known_users;
        let limit = i64::from(self.limits.max_sessions_per_user);
        self.run(call, Effect::Writes, |c| async move {
            for _ in 0..ATTEMPTS {
                match add(&c, opening, limit).await? {
                    Added::Opened(opened) => return Ok(*opened),
                    Added::NoUser if create_user => {
                        c.run(&USER_CREATE, &[&opening.user_id.as_str()]).await?;
                    }
                    Added::NoUser => return Err(Refusal::UserNotFound.into()),
                    Added::Refused(refusal) => return Err(refusal.into()),
                    Added::Again => {}
                }
            }
            Err(StatementError::TurnedAway)
        })
        .await
    }

    /// Ends a user's oldest sessions beyond the limit; answers how many.
    ///
    /// Live sessions are counted by a statement after the one that commits the new session, so that of several who
    /// open sessions at once the last one sees all of them.
    async fn hold_session_limit(&self, call: &Call, user_id: &UserId) -> Result<i64, Failure> {
        let limit = i64::from(self.limits.max_sessions_per_user);
        let user_id = user_id.as_str();
        self.run(call, Effect::Writes, |c| async move {
            let begin = begin_bulk(self.pool.bulk_timeout());
            let [_, revoked] = c
                .transaction(
                    &begin,
                    [(&USER_LOCK, &[&user_id]), (&SESSION_REVOKE_OLDEST, &[&user_id, &limit])],
                )
                .await?;
            Ok(revoked.affected)
        })
        .await
    }

    /// Rotates a session's refresh token.
    ///
    /// # Errors
    /// The refusals of `RotateRefreshToken`, in the contract's order.
    pub async fn rotate(
        &self,
        call: &Call,
        rotation: Rotation,
    ) -> Result<(Session, RotationOutcome), Failure> {
        let singly = |rotation| async move { self.rotate_singly(call, &rotation).await };
        let answer = self.sessions.rotate.answer(call, rotation, singly).await;
        #[cfg(feature = "planted-bugs")]
        let answer = planted::rotation(answer);
        answer
    }

    async fn rotate_singly(
        &self,
        call: &Call,
        rotation: &Rotation,
    ) -> Result<(Session, RotationOutcome), Failure> {
        self.run(call, Effect::Writes, |c| async move {
            for _ in 0..ATTEMPTS {
                if let Some(row) = self.rotate_once(&c, rotation).await? {
                    return Ok(rotation.written(row)?);
                }
                let row = get(&c, &rotation.user_id, &rotation.session).await?;
                match (rotation.explain(row.as_ref(), &self.limits), row) {
                    (Explanation::Retried, Some(row)) => return Ok((row, RotationOutcome::Retried)),
                    (Explanation::Refused(refusal), _) => return Err(refusal.into()),
                    (Explanation::NewJtiWasPrevious, _) => {
                        return Err(Failure::invalid("new_jti", "must not be the jti before this one").into());
                    }
                    #[cfg(feature = "planted-bugs")]
                    (Explanation::Again, _) if planted::is(planted::Bug::ReplayWithoutRevocation) => {
                        return Err(Refusal::TokenReplayed.into());
                    }
                    (Explanation::Again | Explanation::Retried, _) => {}
                }
            }
            Err(StatementError::TurnedAway)
        })
        .await
    }

    /// The conditional write of a rotation; `None` if it changed nothing.
    async fn rotate_once(
        &self,
        c: &Connection,
        rotation: &Rotation,
    ) -> Result<Option<Session>, StatementError> {
        let not_told = ClientInfo::default();
        let (user_id, name) = (rotation.user_id.as_str(), rotation.session.as_str());
        let (jti, new_jti) = (rotation.jti.as_str(), rotation.new_jti.as_str());
        let (grace, retry, idle) = self.limits.rotation_seconds();
        let told = rotation.client.is_some();
        let first: Params<'_> = &[&user_id, &name, &jti, &new_jti, &grace, &retry, &idle, &told];
        let client = ClientParams::of(rotation.client.as_ref().unwrap_or(&not_told));
        let row = c.row(&SESSION_ROTATE, &client.after(first)).await?;
        row.map(|row| session(&row, 0)).transpose()
    }

    /// Reads a session; `None` if there is none.
    ///
    /// # Errors
    /// Only of the database.
    pub async fn session(&self, call: &Call, named: Named) -> Result<Option<Session>, Failure> {
        let singly = |(user_id, name): Named| async move {
            let (user_id, name) = (&user_id, &name);
            self.run(call, Effect::Reads, |c| async move { get(&c, user_id, name).await }).await
        };
        self.sessions.read.answer(call, named, singly).await
    }

    /// Reads what decides whether a session is live; `None` if there is none.
    ///
    /// # Errors
    /// Only of the database.
    pub async fn check_session(&self, call: &Call, named: Named) -> Result<Option<Life>, Failure> {
        #[cfg(feature = "planted-bugs")]
        if let Some(life) = planted::remembered(&named) {
            return Ok(life);
        }
        #[cfg(feature = "planted-bugs")]
        let asked = named.clone();
        let singly = |(user_id, name): Named| async move {
            let params: Params<'_> = &[&user_id.as_str(), &name.as_str()];
            self.run(call, Effect::Reads, |c| async move {
                let row = c.row(&SESSION_CHECK, params).await?;
                row.map_or(Ok(None), |row| life(&row, 0))
            })
            .await
        };
        let answer = self.sessions.check.answer(call, named, singly).await;
        #[cfg(feature = "planted-bugs")]
        planted::remember(asked, &answer);
        answer
    }

    /// [`Self::check_session`] of many, in order.
    ///
    /// # Errors
    /// Only of the database.
    pub async fn check_sessions(
        &self,
        call: &Call,
        questions: &[Named],
    ) -> Result<Vec<Option<Life>>, Failure> {
        self.run(call, Effect::Reads, |c| async move { check_all(&c, questions.iter()).await }).await
    }

    /// Lists a user's sessions, newest first.
    ///
    /// # Errors
    /// Only of the database.
    pub async fn list_sessions(&self, call: &Call, query: &SessionQuery) -> Result<ListedSessions, Failure> {
        let user_id = query.user_id.as_str();
        // One more than the page tells whether there is another page.
        let wanted = query.page_size + 1;
        self.run(call, Effect::Reads, |c| async move {
            let mut sessions = Vec::new();
            let mut after = query.after.clone();
            loop {
                let created = after.as_ref().map(|after| after.session_created);
                let name = after.as_ref().map(|after| after.session.as_str());
                let limit = i64::try_from(wanted).unwrap_or(i64::MAX);
                let done = c.run(&SESSION_LIST, &[&user_id, &created, &name, &limit]).await?;
                for row in &done.rows {
                    let session = session(row, 0)?;
                    after = Some(place_of(&session));
                    if query.state.is_none_or(|state| state == session.life.state()) {
                        sessions.push(session);
                    }
                }
                if sessions.len() >= wanted || done.rows.len() < wanted {
                    break;
                }
            }
            let has_more = sessions.len() > query.page_size;
            sessions.truncate(query.page_size);
            let next = sessions.last().filter(|_| has_more).map(place_of);
            Ok(ListedSessions { sessions, next })
        })
        .await
    }

    /// Switches a live session on or off.
    ///
    /// # Errors
    /// The session is dead or not there.
    pub async fn set_session_enabled(
        &self,
        call: &Call,
        user_id: &UserId,
        name: &SessionName,
        enabled: bool,
    ) -> Result<Session, Failure> {
        self.run(call, Effect::Writes, |c| async move {
            let params: Params<'_> = &[&user_id.as_str(), &name.as_str(), &enabled];
            if let Some(row) = c.row(&SESSION_SET_ENABLED, params).await? {
                return session(&row, 0);
            }
            let row = get(&c, user_id, name).await?;
            Err(match row.map_or(Some(Refusal::SessionNotFound), |row| row.refusal_if_dead()) {
                Some(refusal) => refusal.into(),
                None => StatementError::TurnedAway,
            })
        })
        .await
    }

    /// Ends a session; answers how many live ones that were.
    ///
    /// # Errors
    /// Only of the database.
    pub async fn revoke_session(
        &self,
        call: &Call,
        named: Named,
        reason: RevocationReason,
    ) -> Result<i64, Failure> {
        let singly =
            |((user_id, name), reason): (Named, RevocationReason)| async move {
                let params: Params<'_> = &[&user_id.as_str(), &name.as_str(), &reason.number()];
                self.run(call, Effect::Writes, |c| async move {
                    Ok(c.run(&SESSION_REVOKE, params).await?.affected)
                })
                .await
            };
        self.sessions.revoke.answer(call, (named, reason), singly).await
    }

    /// Ends a user's sessions, all or all but one; answers how many live ones that were.
    ///
    /// # Errors
    /// Only of the database.
    pub async fn revoke_user_sessions(
        &self,
        call: &Call,
        user_id: &UserId,
        except: Option<&SessionName>,
        reason: RevocationReason,
    ) -> Result<i64, Failure> {
        let (user_id, except) = (user_id.as_str(), except.map(SessionName::as_str));
        let _place = self.pool.bulk_place(call).await?;
        self.run(call, Effect::Writes, |c| async move {
            let [_, revoked] = c
                .transaction(
                    &begin_bulk(self.pool.bulk_timeout()),
                    [
                        (&USER_LOCK, &[&user_id]),
                        (&SESSION_REVOKE_ALL, &[&user_id, &except, &reason.number()]),
                    ],
                )
                .await?;
            Ok(revoked.affected)
        })
        .await
    }
}

/// What came of one attempt to open a session.
enum Added {
    /// It is open, now or since an earlier copy of the request.
    Opened(Box<Opened>),
    NoUser,
    Refused(Refusal),
    /// Something changed in between.
    Again,
}

async fn add(c: &Connection, opening: &Opening, limit: i64) -> Result<Added, StatementError> {
    let (user_id, name, jti) = (opening.user_id.as_str(), opening.session.as_str(), opening.jti.as_str());
    let lifetime = opening.session_lifetime.as_secs_f64();
    let (idle, grace) = (opening.idle_timeout.as_secs_f64(), opening.rotation_grace.as_secs_f64());
    let version = opening.credential_version.as_ref().map(CredentialVersion::as_str);
    let first: Params<'_> = &[&user_id, &name, &jti, &opening.enabled, &lifetime, &idle, &grace, &version];
    let client = ClientParams::of(&opening.client);
    let [added, counted] = c
        .each([(&SESSION_ADD, &client.after(first)), (&SESSION_COUNT_LIVE, &[&user_id, &(limit + 1)])])
        .await?;
    let Some(row) = added.into_row() else {
        return Ok(Added::NoUser);
    };
    if let Some(refusal) = refusal_of_holder(&row)? {
        return Ok(Added::Refused(refusal));
    }
    if row.try_get::<_, Option<i64>>(2)?.is_some() {
        let live: i64 = counted.into_row().map_or(Ok(0), |row| row.try_get(0))?;
        return Ok(Added::Opened(Box::new(Opened {
            session: session(&row, 2)?,
            beyond_limit: live > limit,
        })));
    }
    let Some(row) = c.row(&SESSION_GET_TAKEN, &[&user_id, &name, &version]).await? else {
        return Ok(Added::Again);
    };
    if let Some(refusal) = refusal_of_holder(&row)? {
        return Ok(Added::Refused(refusal));
    }
    let known = session(&row, 2)?;
    if known.jti.as_str() != jti {
        return Ok(Added::Refused(Refusal::SessionExists));
    }
    Ok(match known.refusal_if_dead() {
        Some(refusal) => Added::Refused(refusal),
        None => Added::Opened(Box::new(Opened { session: known, beyond_limit: false })),
    })
}

/// Why a user may not open a session, from a row that begins with whether the user is active and the version current.
fn refusal_of_holder(row: &Row) -> Result<Option<Refusal>, StatementError> {
    let (active, credentials_current): (bool, bool) = (row.try_get(0)?, row.try_get(1)?);
    Ok(if !active {
        Some(Refusal::UserInactive)
    } else if !credentials_current {
        Some(Refusal::CredentialsChanged)
    } else {
        None
    })
}

async fn get(
    c: &Connection,
    user_id: &UserId,
    name: &SessionName,
) -> Result<Option<Session>, StatementError> {
    let row = c.row(&SESSION_GET, &[&user_id.as_str(), &name.as_str()]).await?;
    row.map(|row| session(&row, 0)).transpose()
}

fn place_of(session: &Session) -> AfterSession {
    AfterSession { session_created: session.session_created, session: session.session.clone() }
}
