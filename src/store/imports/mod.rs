//! Imports: rows of another system, brought as one transaction a batch.
//!
//! What was seen there is remembered beside what is here (`imported_…`), and each row is decided by both
//! ([`crate::import::rules`]). All rows that are decided about are held, users first, so that the decision holds.

mod keys;
mod sessions;
mod tokens;
mod users;

use std::collections::BTreeSet;

use super::connection::{Connection, Done, StatementError, begin_bulk};
use super::statements::{
    IMPORT_CREATE_USERS, IMPORT_END_AUTH, IMPORT_END_GENERIC, IMPORT_END_SESSIONS, IMPORT_FORGET_USER,
    IMPORT_KNOWN_AUTH, IMPORT_KNOWN_GENERIC, IMPORT_KNOWN_SESSIONS, IMPORT_KNOWN_USERS, IMPORT_LOCK,
    IMPORT_LOCK_STATES, IMPORT_REVOKE_GENERIC_OF, IMPORT_REVOKE_SESSIONS_OF, IMPORT_SEE_USERS,
    IMPORT_SEEN_GENERIC, IMPORT_SEEN_SESSIONS, IMPORT_SESSIONS, IMPORT_SET_USERS_ACTIVE, IMPORT_USERS,
};
use super::{Call, Effect, Store};
use crate::import::batch::{Batch, Fate, Fates, OldSession, OldToken, Terms};
use crate::import::rules::{Kept, Step};
use crate::registry::{Failure, Refusal, RevocationReason, UserId};
use keys::add_keys;
use sessions::{Planned, add_sessions, follow_sessions, judge_sessions, see_sessions, session_fate};
use tokens::{PlannedToken, TokenStep, add_tokens, judge_tokens};
use users::{Judged, judge_users};

/// What an import has brought, and asks the other side about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// Users.
    Users,
    /// Sessions.
    Sessions,
    /// One-time tokens.
    Tokens,
    /// API keys.
    Keys,
}

/// One thing that an import has brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownRow {
    /// The registry's name of its user.
    pub user_id: String,
    /// The primary key there: of a session its user's, else the row's own.
    pub key: String,
    /// What tells it apart among those of the user; empty of a user.
    pub item: String,
}

/// Rows are found by index, whatever the planner thinks of tables that were empty a moment ago.
const BY_INDEX: &str = "; set local enable_seqscan = off; set local enable_hashjoin = off; \
     set local enable_mergejoin = off; set local enable_bitmapscan = off";

impl Store {
    /// Brings a batch. `None`: another import is at work.
    ///
    /// # Errors
    /// Only of the database. Then nothing was brought, or (`OutcomeUnknown`) perhaps all: the same batch again is right.
    pub async fn import_batch(
        &self,
        call: &Call,
        batch: &Batch,
        terms: &Terms,
    ) -> Result<Option<Fates>, Failure> {
        self.run(call, Effect::Writes, |c| async move {
            let begin = format!("{}{BY_INDEX}", begin_bulk(self.pool.bulk_timeout()));
            let users: Vec<&str> = batch.users.iter().map(|user| user.user_id.as_str()).collect();
            let active: Vec<bool> = batch.users.iter().map(|user| user.active).collect();
            let (session_users, session_names) =
                names(&batch.sessions, |s| (s.user_id.as_str(), s.session.as_str()));
            let (token_users, tokens) = names(&batch.tokens, |t| (t.user_id.as_str(), t.key.as_str()));
            let [lock, created, known, seen_sessions, seen_tokens] = c
                .begin(
                    &begin,
                    [
                        (&IMPORT_LOCK, &[]),
                        (&IMPORT_CREATE_USERS, &[&users, &active]),
                        (&IMPORT_USERS, &[&users]),
                        (&IMPORT_SEEN_SESSIONS, &[&session_users, &session_names]),
                        (&IMPORT_SEEN_GENERIC, &[&token_users, &tokens]),
                    ],
                )
                .await?;
            if !undone_on_error(&c, took_lock(lock)).await? {
                c.rollback().await;
                return Ok(None);
            }
            let judged = undone_on_error(&c, judge_users(&batch.users, &created, &known)).await?;
            let token_steps = undone_on_error(&c, judge_tokens(batch, &judged, terms, &seen_tokens)).await?;
            let here = self.hold(&c, batch, &judged, &token_steps, (&session_users, &session_names)).await?;
            let sessions = judge_sessions(batch, &judged, terms, &seen_sessions, &here);
            let sessions = undone_on_error(&c, sessions).await?;
            let fates = write(&c, batch, &judged, terms, &sessions, &token_steps).await?;
            if terms.dry_run {
                c.rollback().await;
            } else {
                c.commit([]).await?;
            }
            Ok(Some(fates))
        })
        .await
    }

    /// Carries out what was judged of users, takes the locks that order issues, then holds the sessions.
    async fn hold(
        &self,
        c: &Connection,
        batch: &Batch,
        judged: &Judged<'_>,
        tokens: &[TokenStep],
        (session_users, sessions): (&[&str], &[&str]),
    ) -> Result<Done, StatementError> {
        let (switched, to): (Vec<&str>, Vec<bool>) = judged.switched.iter().copied().unzip();
        let suspended: Vec<&str> =
            judged.switched.iter().filter(|(_, to)| !to).map(|(user, _)| *user).collect();
        let reason = RevocationReason::UserDeactivated.number();
        let issues: BTreeSet<(&str, &str)> = batch
            .tokens
            .iter()
            .zip(tokens)
            .filter(|(_, step)| matches!(step, TokenStep::Add(_)))
            .map(|(token, _)| (token.user_id.as_str(), token.purpose.as_str()))
            .collect();
        let (issue_users, purposes): (Vec<&str>, Vec<&str>) = issues.into_iter().unzip();
        let seen =
            || batch.users.iter().zip(&judged.fates).filter(|(_, fate)| !matches!(fate, Fate::Kept(_)));
        let user_ids: Vec<&str> = seen().map(|(user, _)| user.user_id.as_str()).collect();
        let keys: Vec<&str> = seen().map(|(user, _)| user.key.as_str()).collect();
        let active: Vec<bool> = seen().map(|(user, _)| user.active).collect();
        let [_, _, _, _, _, here] = c
            .proceed([
                (&IMPORT_SET_USERS_ACTIVE, &[&switched, &to]),
                (&IMPORT_SEE_USERS, &[&user_ids, &keys, &active]),
                (&IMPORT_LOCK_STATES, &[&issue_users, &purposes]),
                (&IMPORT_REVOKE_GENERIC_OF, &[&suspended]),
                (&IMPORT_REVOKE_SESSIONS_OF, &[&suspended, &reason]),
                (&IMPORT_SESSIONS, &[&session_users, &sessions]),
            ])
            .await?;
        Ok(here)
    }

    /// A page of what imports have brought, after one of them.
    ///
    /// # Errors
    /// Only of the database.
    pub async fn known_to_imports(
        &self,
        call: &Call,
        kind: Known,
        after: Option<&KnownRow>,
        limit: i64,
    ) -> Result<Vec<KnownRow>, Failure> {
        let user_id = &after.map(|row| row.user_id.as_str());
        let item = &after.map(|row| row.item.as_str());
        self.run(call, Effect::Reads, |c| async move {
            let done = match kind {
                Known::Users => c.run(&IMPORT_KNOWN_USERS, &[user_id, &limit]).await?,
                Known::Sessions => c.run(&IMPORT_KNOWN_SESSIONS, &[user_id, item, &limit]).await?,
                Known::Tokens => c.run(&IMPORT_KNOWN_GENERIC, &[user_id, item, &limit]).await?,
                Known::Keys => c.run(&IMPORT_KNOWN_AUTH, &[user_id, item, &limit]).await?,
            };
            let read = |row: &tokio_postgres::Row| {
                Ok(KnownRow { user_id: row.try_get(0)?, key: row.try_get(1)?, item: row.try_get(2)? })
            };
            done.rows.iter().map(read).collect()
        })
        .await
    }

    /// Ends what is gone on the other side, unless the registry has gone on with it; answers how much was ended.
    ///
    /// # Errors
    /// Only of the database.
    pub async fn end_imported(&self, call: &Call, kind: Known, gone: &[KnownRow]) -> Result<i64, Failure> {
        if kind == Known::Users {
            let mut ended = 0;
            for row in gone {
                let user_id = UserId::parse(row.user_id.clone()).map_err(Failure::Fault)?;
                match self.user(call, &user_id).await {
                    Ok(_) => {
                        self.set_user_active(call, &user_id, false).await?;
                    }
                    // The registry has deleted them already.
                    Err(Failure::Refused(Refusal::UserNotFound)) => {}
                    Err(failure) => return Err(failure),
                }
                let user_id = user_id.as_str();
                self.run(
                    call,
                    Effect::Writes,
                    |c| async move { c.run(&IMPORT_FORGET_USER, &[&user_id]).await },
                )
                .await?;
                ended += 1;
            }
            return Ok(ended);
        }
        let (user_ids, items) = names(gone, |row| (row.user_id.as_str(), row.item.as_str()));
        let (user_ids, items) = (&user_ids, &items);
        let begin = &format!("{}{BY_INDEX}", begin_bulk(self.pool.bulk_timeout()));
        let reason = RevocationReason::Logout.number();
        self.run(call, Effect::Writes, |c| async move {
            let [done] = match kind {
                Known::Sessions => {
                    c.transaction(begin, [(&IMPORT_END_SESSIONS, &[user_ids, items, &reason])]).await?
                }
                Known::Keys => c.transaction(begin, [(&IMPORT_END_AUTH, &[user_ids, items])]).await?,
                _ => c.transaction(begin, [(&IMPORT_END_GENERIC, &[user_ids, items])]).await?,
            };
            Ok(done.affected)
        })
        .await
    }

    /// Forgets what imports have seen.
    ///
    /// # Errors
    /// Only of the database.
    pub async fn forget_imports(&self, call: &Call) -> Result<(), Failure> {
        self.run(call, Effect::Writes, |c| async move {
            c.command(
                "truncate imported_users, imported_sessions, imported_generic_tokens, imported_auth_tokens",
            )
            .await
        })
        .await
    }

    /// Refreshes what the planner knows of the tables, which an import may have filled.
    ///
    /// # Errors
    /// Only of the database.
    pub async fn analyze_after_import(&self, call: &Call) -> Result<(), Failure> {
        self.run(call, Effect::Writes, |c| async move {
            c.command(
                "set statement_timeout = 0; analyze users, sessions, generic_tokens; reset statement_timeout",
            )
            .await
        })
        .await
    }
}

/// Two columns of some rows.
fn names<'a, T>(rows: &'a [T], of: impl Fn(&'a T) -> (&'a str, &'a str)) -> (Vec<&'a str>, Vec<&'a str>) {
    rows.iter().map(of).unzip()
}

/// What was made of the rows read, or the end of the transaction.
async fn undone_on_error<T>(c: &Connection, made: Result<T, StatementError>) -> Result<T, StatementError> {
    if made.is_err() {
        c.rollback().await;
    }
    made
}

fn took_lock(lock: Done) -> Result<bool, StatementError> {
    Ok(lock.into_row().ok_or(StatementError::TurnedAway)?.try_get(0)?)
}

async fn write(
    c: &Connection,
    batch: &Batch,
    judged: &Judged<'_>,
    terms: &Terms,
    sessions: &[Option<Planned>],
    tokens: &[TokenStep],
) -> Result<Fates, StatementError> {
    let planned =
        || batch.sessions.iter().zip(sessions).filter_map(|(old, plan)| Some((old, plan.as_ref()?)));
    let of = |wanted: fn(&Step) -> bool| -> Vec<(&OldSession, &Planned)> {
        planned().filter(|(_, plan)| wanted(&plan.step)).collect()
    };
    let brought: Vec<(&OldToken, &PlannedToken)> = batch
        .tokens
        .iter()
        .zip(tokens)
        .filter_map(|(old, step)| if let TokenStep::Add(plan) = step { Some((old, plan)) } else { None })
        .collect();
    let came = add_tokens(c, &brought).await?;
    add_sessions(c, &of(|step| *step == Step::Add), terms).await?;
    let keys = add_keys(c, batch, judged).await?;
    follow_sessions(c, &of(|step| matches!(step, Step::Follow { .. }))).await?;
    see_sessions(c, &of(|step| matches!(step, Step::Follow { .. } | Step::See))).await?;
    let token_fate = |(old, step): (&OldToken, &TokenStep)| match step {
        TokenStep::NoUser => Fate::Kept(Kept::Deleted),
        TokenStep::Nothing => Fate::Same,
        TokenStep::Add(plan) if came.contains(&(old.user_id.to_string(), old.key.clone())) => {
            Fate::New { ended: plan.ended, from_now: plan.from_now, expired: plan.expires <= judged.now }
        }
        TokenStep::Add(_) => Fate::ValueIsHere,
    };
    Ok(Fates {
        users: judged.fates.clone(),
        sessions: sessions.iter().map(|plan| session_fate(plan.as_ref(), judged.now)).collect(),
        tokens: batch.tokens.iter().zip(tokens).map(token_fate).collect(),
        keys,
    })
}
