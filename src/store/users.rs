//! Users: made known, suspended, their credentials changed, deleted.

use tokio_postgres::Row;

use super::connection::{Connection, Done, StatementError, Step, begin_bulk};
use super::rows::{Columns, USER_WIDTH, user};
use super::statements::{
    AUTH_DELETE_ALL, AUTH_REVOKE_ALL, GENERIC_DELETE_ALL, GENERIC_DELETE_STATE, GENERIC_REVOKE_ALL,
    SESSION_DELETE_ALL, SESSION_REVOKE_ALL, USER_CREATE, USER_DELETE, USER_FIND_CREDENTIAL_CHANGE,
    USER_FORGET_CREDENTIAL_CHANGES, USER_GET, USER_GET_WITH_COUNTS, USER_LOCK_FOR_DELETE,
    USER_MOVE_CREDENTIAL_VERSION, USER_RECORD_CREDENTIAL_CHANGE, USER_SET_ACTIVE,
};
use super::{Call, Effect, Store};
use crate::registry::RevocationReason;
use crate::registry::{Counts, Failure, Purpose, Refusal, RequestId, SessionName, User, UserId};

/// A credential change, as asked for.
#[derive(Debug)]
pub struct CredentialChange {
    /// Whose credentials.
    pub user_id: UserId,
    /// A session to spare.
    pub except_session: Option<SessionName>,
    /// One-time tokens of these purposes stay.
    pub keep_purposes: Vec<Purpose>,
    /// API keys stay.
    pub keep_auth_tokens: bool,
    /// Makes it safe to retry.
    pub request_id: Option<RequestId>,
}

impl Store {
    /// Makes a user known, or reads it.
    ///
    /// # Errors
    /// Only of the database.
    pub async fn create_user(&self, call: &Call, user_id: &UserId) -> Result<User, Failure> {
        let user_id = user_id.as_str();
        self.run(call, Effect::Writes, |c| async move {
            c.run(&USER_CREATE, &[&user_id]).await?;
            // Deleted again in between: try again.
            let row = c.row(&USER_GET, &[&user_id]).await?.ok_or(StatementError::TurnedAway)?;
            user(&row)
        })
        .await
    }

    /// Reads a user, and how much of theirs is live.
    ///
    /// # Errors
    /// There is no such user.
    pub async fn user(&self, call: &Call, user_id: &UserId) -> Result<(User, Counts), Failure> {
        let user_id = user_id.as_str();
        self.run(call, Effect::Reads, |c| async move {
            let row = c.row(&USER_GET_WITH_COUNTS, &[&user_id]).await?;
            let row = row.ok_or(Refusal::UserNotFound)?;
            Ok((user(&row)?, counts_from(&row, USER_WIDTH)?))
        })
        .await
    }

    /// Suspends a user, which ends all sessions and one-time tokens of theirs that are live, or ends the suspension.
    /// API keys are only suspended with their user.
    ///
    /// # Errors
    /// Only of the database.
    pub async fn set_user_active(
        &self,
        call: &Call,
        user_id: &UserId,
        active: bool,
    ) -> Result<(User, Counts), Failure> {
        let user_id = user_id.as_str();
        let _place = self.pool.bulk_place(call).await?;
        self.run(call, Effect::Writes, |c| async move {
            if active {
                let row = c.row(&USER_SET_ACTIVE, &[&user_id, &active]).await?;
                let row = row.ok_or(StatementError::TurnedAway)?;
                return Ok((user(&row)?, Counts::default()));
            }
            let no_session: Option<&str> = None;
            let all: Option<Vec<&str>> = None;
            let reason = RevocationReason::UserDeactivated.number();
            let [set, sessions, generic_tokens] = c
                .transaction(
                    &begin_bulk(self.pool.bulk_timeout()),
                    [
                        (&USER_SET_ACTIVE, &[&user_id, &active]),
                        (&SESSION_REVOKE_ALL, &[&user_id, &no_session, &reason]),
                        (&GENERIC_REVOKE_ALL, &[&user_id, &all, &all]),
                    ],
                )
                .await?;
            let row = set.into_row().ok_or(StatementError::TurnedAway)?;
            let revoked = Counts {
                sessions: sessions.affected,
                generic_tokens: generic_tokens.affected,
                auth_tokens: 0,
            };
            Ok((user(&row)?, revoked))
        })
        .await
    }

    /// Moves a user's credential version and ends what the old credentials opened.
    ///
    /// # Errors
    /// Only of the database.
    pub async fn revoke_credentials(
        &self,
        call: &Call,
        change: &CredentialChange,
    ) -> Result<(User, Counts), Failure> {
        let _place = self.pool.bulk_place(call).await?;
        self.run(call, Effect::Writes, |c| async move { self.change_credentials(&c, change).await }).await
    }

    async fn change_credentials(
        &self,
        c: &Connection,
        change: &CredentialChange,
    ) -> Result<(User, Counts), StatementError> {
        let user_id = change.user_id.as_str();
        let request_id = change.request_id.as_ref().map(RequestId::as_str);
        let [moved, earlier] = c
            .begin(
                &begin_bulk(self.pool.bulk_timeout()),
                [
                    (&USER_MOVE_CREDENTIAL_VERSION, &[&user_id]),
                    (&USER_FIND_CREDENTIAL_CHANGE, &[&user_id, &request_id]),
                ],
            )
            .await?;
        if let Some(row) = earlier.into_row() {
            c.rollback().await;
            return answered_before(c, user_id, &row).await;
        }
        let Some(row) = moved.into_row() else {
            c.rollback().await;
            return Err(StatementError::TurnedAway);
        };
        let user = user(&row)?;
        let except = change.except_session.as_ref().map(SessionName::as_str);
        let keep: Vec<&str> = change.keep_purposes.iter().map(Purpose::as_str).collect();
        let all: Option<Vec<&str>> = None;
        let reason = RevocationReason::CredentialChange.number();
        let sessions: Step<'_> = (&SESSION_REVOKE_ALL, &[&user_id, &except, &reason]);
        let generic_tokens: Step<'_> = (&GENERIC_REVOKE_ALL, &[&user_id, &all, &keep]);
        let auth_tokens: Step<'_> = (&AUTH_REVOKE_ALL, &[&user_id, &change.keep_auth_tokens]);
        let Some(request_id) = request_id else {
            let revoked = c.commit([sessions, generic_tokens, auth_tokens]).await?;
            return Ok((user, counts(&revoked)));
        };
        let revoked = counts(&c.proceed([sessions, generic_tokens, auth_tokens]).await?);
        c.commit([
            (&USER_FORGET_CREDENTIAL_CHANGES, &[&user_id]),
            (
                &USER_RECORD_CREDENTIAL_CHANGE,
                &[
                    &user_id,
                    &request_id,
                    &user.credential_version,
                    &revoked.sessions,
                    &revoked.generic_tokens,
                    &revoked.auth_tokens,
                ],
            ),
        ])
        .await?;
        Ok((user, revoked))
    }

    /// Removes a user and everything of theirs.
    ///
    /// # Errors
    /// Only of the database.
    pub async fn delete_user(&self, call: &Call, user_id: &UserId) -> Result<Counts, Failure> {
        let user_id = user_id.as_str();
        let _place = self.pool.bulk_place(call).await?;
        self.run(call, Effect::Writes, |c| async move {
            let bulk = begin_bulk(self.pool.bulk_timeout());
            let [user] = c.begin(&bulk, [(&USER_LOCK_FOR_DELETE, &[&user_id])]).await?;
            // Without the lock on its row, things of a user who is created right now would be deleted against the order
            // of locks.
            if user.rows.is_empty() {
                c.rollback().await;
                return Ok(Counts::default());
            }
            // Children go first, so that they can be counted.
            let [_, generic_tokens, sessions, auth_tokens, _] = c
                .commit([
                    (&GENERIC_DELETE_STATE, &[&user_id]),
                    (&GENERIC_DELETE_ALL, &[&user_id]),
                    (&SESSION_DELETE_ALL, &[&user_id]),
                    (&AUTH_DELETE_ALL, &[&user_id]),
                    (&USER_DELETE, &[&user_id]),
                ])
                .await?;
            Ok(counts(&[sessions, generic_tokens, auth_tokens]))
        })
        .await
    }
}

fn counts([sessions, generic_tokens, auth_tokens]: &[Done; 3]) -> Counts {
    Counts {
        sessions: sessions.affected,
        generic_tokens: generic_tokens.affected,
        auth_tokens: auth_tokens.affected,
    }
}

/// Counts that begin at a column.
fn counts_from(row: &Row, first: usize) -> Result<Counts, StatementError> {
    let mut c = Columns::from(row, first);
    Ok(Counts { sessions: c.next()?, generic_tokens: c.next()?, auth_tokens: c.next()? })
}

/// What an earlier copy of a credential change was answered.
async fn answered_before(c: &Connection, user_id: &str, row: &Row) -> Result<(User, Counts), StatementError> {
    let known = c.row(&USER_GET, &[&user_id]).await?.ok_or(StatementError::TurnedAway)?;
    let user = User { credential_version: row.try_get(0)?, ..user(&known)? };
    Ok((user, counts_from(row, 1)?))
}
