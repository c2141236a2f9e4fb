//! Imports: rows of another system, brought as one transaction a batch.
//!
//! What was seen there is remembered beside what is here (`imported_…`), and each row is decided by both
//! ([`crate::import::rules`]). All rows that are decided about are held, users first, so that the decision holds.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::{Duration, SystemTime};

use tokio_postgres::types::ToSql;

use super::connection::{Connection, Done, Params, StatementError, begin_bulk};
use super::rows::{ClientArrays, placed};
use super::statements::{
    IMPORT_ADD_AUTH, IMPORT_ADD_GENERIC, IMPORT_ADD_SESSIONS, IMPORT_CREATE_USERS, IMPORT_END_AUTH,
    IMPORT_END_GENERIC, IMPORT_END_SESSIONS, IMPORT_FORGET_USER, IMPORT_JUDGE_AUTH, IMPORT_KNOWN_AUTH,
    IMPORT_KNOWN_GENERIC, IMPORT_KNOWN_SESSIONS, IMPORT_KNOWN_USERS, IMPORT_LOCK, IMPORT_LOCK_STATES,
    IMPORT_MOVE_SESSIONS, IMPORT_REVOKE_GENERIC_OF, IMPORT_REVOKE_SESSIONS_OF, IMPORT_SEE_SESSIONS,
    IMPORT_SEE_USERS, IMPORT_SEEN_GENERIC, IMPORT_SEEN_SESSIONS, IMPORT_SESSIONS, IMPORT_SET_USERS_ACTIVE,
    IMPORT_USERS,
};
use super::{Call, Effect, Statement, Store};
use crate::import::batch::{Batch, Fate, Fates, OldKey, OldSession, OldToken, OldUser, Terms};
use crate::import::rules::{self, Here, Kept, Step, There};
use crate::registry::{Failure, Refusal, RevocationReason, UserId};

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

/// A user as judged, for the rows that hang on it.
#[derive(Clone, Copy)]
struct Owner {
    active: bool,
    /// What is older than this there ended here by a change of credentials.
    changed: Option<SystemTime>,
}

impl Owner {
    /// Why a row of this age comes as ended, if it does.
    fn ends(self, created: SystemTime) -> Option<RevocationReason> {
        if !self.active {
            Some(RevocationReason::UserDeactivated)
        } else if self.changed.is_some_and(|changed| created < changed) {
            Some(RevocationReason::CredentialChange)
        } else {
            None
        }
    }
}

/// Users, judged.
struct Judged<'a> {
    fates: Vec<Fate>,
    owners: HashMap<&'a str, Owner>,
    /// To be suspended or reinstated.
    switched: Vec<(&'a str, bool)>,
    now: SystemTime,
}

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

fn judge_users<'a>(users: &'a [OldUser], created: &Done, known: &Done) -> Result<Judged<'a>, StatementError> {
    let mut new = HashSet::new();
    for row in &created.rows {
        new.insert(row.try_get::<_, &str>(0)?);
    }
    let mut here = HashMap::new();
    let mut now = SystemTime::UNIX_EPOCH;
    for row in &known.rows {
        let (active, version): (bool, i64) = (row.try_get(1)?, row.try_get(2)?);
        let (seen_active, seen_version): (Option<bool>, Option<i64>) = (row.try_get(3)?, row.try_get(4)?);
        now = row.try_get(5)?;
        here.insert(row.try_get::<_, &str>(0)?, (active, version, seen_active, seen_version));
    }
    let mut judged = Judged { fates: Vec::new(), owners: HashMap::new(), switched: Vec::new(), now };
    for user in users {
        let user_id = user.user_id.as_str();
        let Some(&(active, version, seen_active, seen_version)) = here.get(user_id) else {
            judged.fates.push(Fate::Kept(Kept::Deleted));
            continue;
        };
        let to =
            if new.contains(user_id) { active } else { rules::user_active(user.active, seen_active, active) };
        if to != active {
            judged.switched.push((user_id, to));
        }
        let changed = seen_version.filter(|seen| *seen != version).map(|_| {
            SystemTime::UNIX_EPOCH + Duration::from_micros(u64::try_from(version).unwrap_or_default())
        });
        judged.owners.insert(user_id, Owner { active: to, changed });
        judged.fates.push(if new.contains(user_id) {
            Fate::New { ended: !to, from_now: false, expired: false }
        } else if to == active {
            Fate::Same
        } else {
            Fate::Changed
        });
    }
    Ok(judged)
}

/// A session's step, with its times and the reason why it comes as ended.
struct Planned {
    step: Step,
    ends: rules::Ends,
    reason: Option<RevocationReason>,
}

fn judge_sessions(
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

/// A one-time token to be brought: when it ends, and whether it comes as ended.
struct PlannedToken {
    expires: SystemTime,
    from_now: bool,
    ended: bool,
}

/// What becomes of each token: brought, there already, or its user's deletion.
enum TokenStep {
    Add(PlannedToken),
    Nothing,
    NoUser,
}

fn judge_tokens(
    batch: &Batch,
    judged: &Judged<'_>,
    terms: &Terms,
    seen_rows: &Done,
) -> Result<Vec<TokenStep>, StatementError> {
    let mut seen = HashSet::new();
    for row in &seen_rows.rows {
        seen.insert((row.try_get::<_, &str>(0)?, row.try_get::<_, &str>(1)?));
    }
    let plan = |old: &OldToken| {
        let Some(owner) = judged.owners.get(old.user_id.as_str()) else {
            return TokenStep::NoUser;
        };
        if seen.contains(&(old.user_id.as_str(), old.key.as_str())) {
            return TokenStep::Nothing;
        }
        let expires = old.created.min(judged.now) + old.lifetime;
        let from_now = terms.renew_expired_tokens && expires <= judged.now;
        TokenStep::Add(PlannedToken {
            expires: if from_now { judged.now + old.lifetime } else { expires },
            from_now,
            ended: owner.ends(old.created).is_some(),
        })
    };
    Ok(batch.tokens.iter().map(plan).collect())
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

/// Brings API keys: those of users who have none here. They outlive a suspension, there and here.
async fn add_keys(c: &Connection, batch: &Batch, judged: &Judged<'_>) -> Result<Vec<Fate>, StatementError> {
    let rows: Vec<&OldKey> = batch.keys.iter().collect();
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let arrays = |rows: &[&OldKey]| {
        let users: Vec<String> = rows.iter().map(|old| old.user_id.to_string()).collect();
        let digests: Vec<Vec<u8>> = rows.iter().map(|old| old.digest.to_vec()).collect();
        let prefixes: Vec<String> = rows.iter().map(|old| old.prefix.clone()).collect();
        (users, digests, prefixes)
    };
    let (users, digests, prefixes) = arrays(&rows);
    let [known] = c.proceed([(&IMPORT_JUDGE_AUTH, &[&users, &digests, &prefixes])]).await?;
    let read = placed(rows.len(), &known.rows, |row| Ok((row.try_get(1)?, row.try_get(2)?, row.try_get(3)?)));
    let known: Vec<Option<(bool, bool, bool)>> = undone_on_error(c, read).await?;
    let fate = |(old, known): (&&OldKey, &Option<(bool, bool, bool)>)| {
        if !judged.owners.contains_key(old.user_id.as_str()) {
            return Fate::Kept(Kept::Deleted);
        }
        match known.unwrap_or_default() {
            (_, true, _) => Fate::Same,
            (true, false, _) => Fate::Kept(Kept::Deleted),
            (false, false, true) => Fate::OtherKeyIsHere,
            (false, false, false) => Fate::New { ended: false, from_now: false, expired: false },
        }
    };
    let fates: Vec<Fate> = rows.iter().zip(&known).map(fate).collect();
    let new: Vec<&OldKey> = rows
        .iter()
        .zip(&fates)
        .filter(|(_, fate)| matches!(fate, Fate::New { .. }))
        .map(|(old, _)| *old)
        .collect();
    if !new.is_empty() {
        let (users, digests, prefixes) = arrays(&new);
        let created: Vec<SystemTime> = new.iter().map(|old| old.created).collect();
        c.proceed([(&IMPORT_ADD_AUTH, &[&users, &digests, &prefixes, &created])]).await?;
    }
    Ok(fates)
}

/// Brings one-time tokens; answers whose and which came.
async fn add_tokens(
    c: &Connection,
    rows: &[(&OldToken, &PlannedToken)],
) -> Result<HashSet<(String, String)>, StatementError> {
    let mut came = HashSet::new();
    if rows.is_empty() {
        return Ok(came);
    }
    let columns = TokenArrays::of(rows);
    let clients = ClientArrays::of(rows.iter().map(|(old, _)| Some(&old.client)));
    let first: Params<'_> = &[
        &columns.users,
        &columns.keys,
        &columns.purposes,
        &columns.codes,
        &columns.digests,
        &columns.challenges,
        &columns.created,
        &columns.expires,
    ];
    let mut params = clients.after(first);
    params.extend_from_slice(&[&columns.max_attempts, &columns.revoked]);
    let [done] = c.proceed([(&IMPORT_ADD_GENERIC, &params)]).await?;
    let read = done.rows.iter().try_for_each(|row| {
        came.insert((row.try_get(0)?, row.try_get(1)?));
        Ok(())
    });
    undone_on_error(c, read).await?;
    Ok(came)
}

async fn add_sessions(
    c: &Connection,
    rows: &[(&OldSession, &Planned)],
    terms: &Terms,
) -> Result<(), StatementError> {
    let reasons: Vec<Option<i16>> =
        rows.iter().map(|(_, plan)| plan.reason.map(RevocationReason::number)).collect();
    let (idle, grace) = (terms.lifetimes.idle.as_secs_f64(), terms.rotation_grace.as_secs_f64());
    write_sessions(c, &IMPORT_ADD_SESSIONS, rows, &reasons, &[&idle, &grace]).await
}

async fn follow_sessions(c: &Connection, rows: &[(&OldSession, &Planned)]) -> Result<(), StatementError> {
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

async fn see_sessions(c: &Connection, rows: &[(&OldSession, &Planned)]) -> Result<(), StatementError> {
    if rows.is_empty() {
        return Ok(());
    }
    let (users, sessions) = names(rows, |(old, _)| (old.user_id.as_str(), old.session.as_str()));
    let (jtis, enabled): (Vec<&str>, Vec<bool>) =
        rows.iter().map(|(old, _)| (old.jti.as_str(), old.enabled)).unzip();
    c.proceed([(&IMPORT_SEE_SESSIONS, &[&users, &sessions, &jtis, &enabled])]).await?;
    Ok(())
}

fn session_fate(plan: Option<&Planned>, now: SystemTime) -> Fate {
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

/// One-time tokens as one array a column.
struct TokenArrays<'a> {
    users: Vec<&'a str>,
    keys: Vec<&'a str>,
    purposes: Vec<&'a str>,
    codes: Vec<bool>,
    digests: Vec<&'a [u8]>,
    challenges: Vec<&'a str>,
    created: Vec<SystemTime>,
    expires: Vec<SystemTime>,
    max_attempts: Vec<i32>,
    revoked: Vec<bool>,
}

impl<'a> TokenArrays<'a> {
    fn of(rows: &[(&'a OldToken, &PlannedToken)]) -> Self {
        Self {
            users: rows.iter().map(|(old, _)| old.user_id.as_str()).collect(),
            keys: rows.iter().map(|(old, _)| old.key.as_str()).collect(),
            purposes: rows.iter().map(|(old, _)| old.purpose.as_str()).collect(),
            codes: rows.iter().map(|(old, _)| old.value.is_code).collect(),
            digests: rows.iter().map(|(old, _)| old.value.digest.as_slice()).collect(),
            challenges: rows.iter().map(|(old, _)| old.challenge.as_str()).collect(),
            created: rows.iter().map(|(old, _)| old.created).collect(),
            expires: rows.iter().map(|(_, plan)| plan.expires).collect(),
            max_attempts: rows.iter().map(|(old, _)| old.max_attempts).collect(),
            revoked: rows.iter().map(|(_, plan)| plan.ended).collect(),
        }
    }
}
