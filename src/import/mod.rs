//! Moving a Django system over: `jwt_allauth`'s tables are read while the system runs, and brought here.
//!
//! Users come a page at a time, each with all of theirs as one snapshot there and one transaction here, so that an
//! import that breaks off leaves whole users and the next one goes on. Every import may be repeated: it brings only what
//! has changed there since, and takes back nothing that the registry has done ([`rules`]).

pub mod batch;
mod error;
pub mod report;
pub mod rules;
mod shape;
mod source;
pub mod tokens;

use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;

use self::batch::{Batch, Fate, Fates, OldKey, OldSession, OldToken, OldUser, Terms};
pub use self::error::ImportError;
use self::report::Kind;
pub use self::report::Report;
use self::rules::Lifetimes;
use self::source::{COMMON, Page, Source, common, next};
use crate::config::AuthTokenModel;
use crate::config::Config;
use crate::registry::auth_token::Key;
use crate::registry::secrets::mint_challenge;
use crate::registry::{Jti, Purpose, SessionName, UserId};
use crate::store::{Call, Known, KnownRow, Store};
use crate::telemetry::Metrics;

/// How many users are one page.
const PAGE: usize = 200;
/// How many rows of theirs are brought at once: what bounds the memory, however much a single user has.
const ROWS: usize = 1000;
/// How many known rows are asked about at once.
const KNOWN: i64 = 1000;
/// Beyond so many, more than half being gone is taken for a mistake.
const SUSPICIOUS: usize = 20;

/// What is imported, and how.
pub struct Options {
    /// The Django database.
    pub from: SecretString,
    /// What its tables and columns are called.
    pub names: Names,
    /// The registry's name of a user: `{}` stands for the primary key.
    pub user_id_format: String,
    /// How long a refresh token lives there; older ones aren't given a lifetime from now.
    pub refresh_token_lifetime: Option<Duration>,
    /// Purposes whose column `token` holds the value itself, beside those that the package has.
    pub plain_purposes: Vec<String>,
    /// Whether one-time tokens that are over get their lifetime anew.
    pub renew_expired_tokens: bool,
    /// Whether most of what was brought before may be gone.
    pub accept_missing: bool,
    /// Whether all is undone in the end.
    pub dry_run: bool,
    /// Where the complete report goes.
    pub report: Option<PathBuf>,
}

/// What tables and columns are called there.
#[derive(Debug, Clone)]
pub struct Names {
    /// The schema of the package's tables.
    pub schema: String,
    /// What the names of the package's tables begin with.
    pub table_prefix: String,
    /// The table of API keys.
    pub auth_table: String,
    /// The table of the users, perhaps with its schema; `None`: the one that refresh tokens refer to.
    pub user_table: Option<String>,
    /// Columns that have another name there.
    pub columns: Vec<Column>,
}

/// A column that has another name there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// `user`, `refresh`, `generic` or `auth`.
    pub table: String,
    /// The package's name of it.
    pub name: String,
    /// Its name there.
    pub own: String,
}

impl Names {
    fn column<'a>(&'a self, table: &str, name: &'a str) -> &'a str {
        let own = self.columns.iter().find(|column| column.table == table && column.name == name);
        own.map_or(name, |column| &column.own)
    }
}

impl std::str::FromStr for Column {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('=').and_then(|(name, own)| Some((name.split_once('.')?, own)));
        match parts {
            Some(((table, name), own)) if !own.is_empty() && !name.is_empty() => {
                Ok(Self { table: table.to_owned(), name: name.to_owned(), own: own.to_owned() })
            }
            _ => Err("must look like refresh.user_id=owner_id".to_owned()),
        }
    }
}

/// How far an import is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Users done.
    pub done: u64,
    /// Users there are, as counted at the start.
    pub total: u64,
}

/// Imports, or finds out what an import would do. The report says what was done, also when it broke off.
///
/// # Errors
/// The report with the reason, which is in it as well.
pub async fn django(
    config: &Config,
    options: &Options,
    progress: impl FnMut(Progress),
) -> Result<Report, (Report, ImportError)> {
    let mut report = match Report::new(options.dry_run, options.report.as_deref()) {
        Ok(report) => report,
        Err(error) => return Err((Report::default(), error)),
    };
    let done = Import::run(config, options, &mut report, progress).await;
    report.finished = done.is_ok();
    report.error = done.as_ref().err().map(ToString::to_string);
    match (done, report.finish()) {
        (Ok(()), Ok(())) => Ok(report),
        (Err(error), _) | (Ok(()), Err(error)) => Err((report, error)),
    }
}

/// Forgets what imports have seen: for after the last one.
///
/// # Errors
/// The registry's database can't be reached.
pub async fn forget(config: &Config) -> Result<(), ImportError> {
    let store = Store::new(config, &Metrics::default())?;
    store.open(config).await?;
    Ok(store.forget_imports(&Call::within(config.bulk_timeout)).await?)
}

/// An import under way.
struct Import<'a> {
    config: &'a Config,
    options: &'a Options,
    source: Source,
    store: Store,
    terms: Terms,
    report: &'a mut Report,
}

impl<'a> Import<'a> {
    async fn run(
        config: &'a Config,
        options: &'a Options,
        report: &'a mut Report,
        mut progress: impl FnMut(Progress),
    ) -> Result<(), ImportError> {
        if options.user_id_format.matches("{}").count() != 1 {
            return Err(ImportError::Settings(
                "--user-id-format: must have {} once, where the user's primary key goes".to_owned(),
            ));
        }
        let source = Source::open(&options.from, &options.names).await?;
        let store = Store::new(config, &Metrics::default())?;
        store.open(config).await?;
        report.notes.extend_from_slice(source.notes());
        let terms = Terms {
            lifetimes: Lifetimes {
                session: config.session_lifetime,
                idle: config.idle_timeout,
                refresh_token: options.refresh_token_lifetime,
            },
            rotation_grace: config.rotation_grace,
            renew_expired_tokens: options.renew_expired_tokens,
            dry_run: options.dry_run,
        };
        let mut import = Self { config, options, source, store, terms, report };
        import.end_what_is_gone().await?;
        import.bring_all(&mut progress).await?;
        if import.report.users.written() + import.report.sessions.written() > 0 && !options.dry_run {
            import.store.analyze_after_import(&Call::within(Duration::from_hours(1))).await?;
        }
        Ok(())
    }

    fn call(&self) -> Call {
        Call::within(self.config.bulk_timeout * 4)
    }

    /// Ends here what ended there. First of all it is counted: a wrong database would end everything.
    async fn end_what_is_gone(&mut self) -> Result<(), ImportError> {
        let kinds = [
            (Known::Keys, Kind::Keys, "API keys"),
            (Known::Tokens, Kind::Tokens, "one-time tokens"),
            (Known::Sessions, Kind::Sessions, "sessions"),
            (Known::Users, Kind::Users, "users"),
        ];
        let mut any = false;
        for (kind, _, what) in kinds {
            let (mut known, mut gone) = (0, 0);
            let mut last = None;
            while let Some((rows, missing)) = self.known(kind, &mut last).await? {
                known += rows;
                gone += missing.len();
            }
            any |= gone > 0;
            let is_expected = self.options.accept_missing || kind == Known::Tokens;
            if !is_expected && gone > SUSPICIOUS && gone * 2 > known {
                return Err(ImportError::MostIsGone { known, gone, what });
            }
        }
        if !any {
            return Ok(());
        }
        for (kind, counted, _) in kinds {
            let mut last = None;
            while let Some((_, missing)) = self.known(kind, &mut last).await? {
                let ended = if self.options.dry_run || missing.is_empty() {
                    missing.len() as u64
                } else {
                    u64::try_from(self.store.end_imported(&self.call(), kind, &missing).await?)
                        .unwrap_or_default()
                };
                self.report.counts(counted).ended += ended;
            }
        }
        Ok(())
    }

    /// The next page of what was brought before: how many rows, and those that are gone.
    async fn known(
        &self,
        kind: Known,
        last: &mut Option<KnownRow>,
    ) -> Result<Option<(usize, Vec<KnownRow>)>, ImportError> {
        let rows = self.store.known_to_imports(&self.call(), kind, last.as_ref(), KNOWN).await?;
        let Some(row) = rows.last() else { return Ok(None) };
        *last = Some(row.clone());
        Ok(Some((rows.len(), self.source.gone(kind, &rows).await?)))
    }

    async fn bring_all(&mut self, progress: &mut impl FnMut(Progress)) -> Result<(), ImportError> {
        let mut now = Progress { done: 0, total: self.source.count_users().await? };
        let mut after = None;
        loop {
            progress(now);
            let page = self.source.page(after, PAGE).await?;
            self.bring_page(&page).await?;
            self.source.done().await?;
            now.done += page.users.len() as u64;
            let is_last = page.users.len() < PAGE;
            after = page.users.last().map(|(key, _)| key.clone());
            if is_last {
                progress(now);
                return Ok(());
            }
        }
    }

    async fn bring_page(&mut self, page: &Page) -> Result<(), ImportError> {
        let mut batch = Batch::default();
        for (key, active) in &page.users {
            match self.user_id(key) {
                Ok(user_id) => batch.users.push(OldUser { user_id, key: key.clone(), active: *active }),
                Err(wrong) => {
                    self.report.refuse(
                        Kind::Users,
                        key,
                        Some(key),
                        &format!("its key as user_id {wrong}"),
                    )?;
                }
            }
        }
        // Users are counted with their first batch alone.
        let mut is_first = true;
        self.read_sessions(page, &mut batch, &mut is_first).await?;
        self.read_tokens(page, &mut batch, &mut is_first).await?;
        self.read_keys(page, &mut batch, &mut is_first).await?;
        self.bring(&mut batch, &mut is_first).await
    }

    fn user_id(&self, key: &str) -> Result<UserId, String> {
        UserId::parse(self.options.user_id_format.replacen("{}", key, 1))
    }

    async fn read_sessions(
        &mut self,
        page: &Page,
        batch: &mut Batch,
        is_first: &mut bool,
    ) -> Result<(), ImportError> {
        let mut rows = std::pin::pin!(self.source.refresh_tokens(page).await?);
        let mut newest: Option<(String, String)> = None;
        while let Some(row) = next(&mut rows).await? {
            let it = common(&row)?;
            let (jti, enabled, session): (String, bool, String) =
                (row.try_get(COMMON)?, row.try_get(COMMON + 1)?, row.try_get(COMMON + 2)?);
            let parsed = self.owner(page, it.user.as_deref()).and_then(|user_id| {
                let session = SessionName::parse(session).map_err(|wrong| format!("its session {wrong}"))?;
                let jti = Jti::parse(jti).map_err(|wrong| format!("its jti {wrong}"))?;
                let created = it.created.ok_or("its time of creation is none that can be told")?;
                let name = (user_id.to_string(), session.to_string());
                if newest.as_ref() == Some(&name) {
                    return Err("the session has a newer row, which was taken".to_owned());
                }
                newest = Some(name);
                Ok(OldSession {
                    key: it.key.clone(),
                    user_id,
                    session,
                    jti,
                    enabled,
                    created,
                    client: it.client,
                })
            });
            match parsed {
                Ok(session) => batch.sessions.push(session),
                Err(reason) => self.report.refuse(Kind::Sessions, &it.key, it.user.as_deref(), &reason)?,
            }
            if batch.rows() >= ROWS {
                self.bring(batch, is_first).await?;
            }
        }
        Ok(())
    }

    async fn read_tokens(
        &mut self,
        page: &Page,
        batch: &mut Batch,
        is_first: &mut bool,
    ) -> Result<(), ImportError> {
        let Some(rows) = self.source.generic_tokens(page).await? else { return Ok(()) };
        let mut rows = std::pin::pin!(rows);
        let mut newest: Option<(String, Purpose, Vec<u8>)> = None;
        while let Some(row) = next(&mut rows).await? {
            let it = common(&row)?;
            let (token, purpose): (String, String) = (row.try_get(COMMON)?, row.try_get(COMMON + 1)?);
            let keys = self.store.keys()?;
            let parsed = self.owner(page, it.user.as_deref()).and_then(|user_id| {
                let purpose = Purpose::parse(purpose).map_err(|wrong| format!("its purpose {wrong}"))?;
                let value = tokens::keep(keys, &self.options.plain_purposes, &user_id, &purpose, &token)?;
                let created = it.created.ok_or("its time of creation is none that can be told")?;
                let name = (user_id.to_string(), purpose.clone(), value.digest.clone());
                if newest.as_ref() == Some(&name) {
                    return Err(
                        "a newer row has the same value, and was taken: once used, both are".to_owned()
                    );
                }
                newest = Some(name);
                let policy = self.config.policy(purpose.as_str());
                let lifetime = if self.config.purposes.contains_key(purpose.as_str()) {
                    policy.lifetime
                } else {
                    tokens::package_lifetime(purpose.as_str())
                };
                let max_attempts =
                    if value.is_code { i32::try_from(policy.max_attempts).unwrap_or(i32::MAX) } else { 0 };
                let challenge = mint_challenge(&mut rand::rng());
                let (key, client) = (it.key.clone(), it.client);
                Ok(OldToken {
                    key,
                    user_id,
                    purpose,
                    value,
                    challenge,
                    created,
                    lifetime,
                    max_attempts,
                    client,
                })
            });
            match parsed {
                Ok(token) => batch.tokens.push(token),
                Err(reason) => self.report.refuse(Kind::Tokens, &it.key, it.user.as_deref(), &reason)?,
            }
            if batch.rows() >= ROWS {
                self.bring(batch, is_first).await?;
            }
        }
        Ok(())
    }

    async fn read_keys(
        &mut self,
        page: &Page,
        batch: &mut Batch,
        is_first: &mut bool,
    ) -> Result<(), ImportError> {
        let Some(rows) = self.source.auth_tokens(page).await? else { return Ok(()) };
        let mut rows = std::pin::pin!(rows);
        let mut newest: Option<UserId> = None;
        while let Some(row) = next(&mut rows).await? {
            let (user, text, created) = source::key(&row)?;
            let parsed = self.owner(page, user.as_deref()).and_then(|user_id| {
                let key = Key::parse(&text).filter(|key| key.model() == AuthTokenModel::Drf);
                let key = key.ok_or("it is not of 40 hexadecimal digits")?;
                let created = created.ok_or("its time of creation is none that can be told")?;
                if newest.as_ref() == Some(&user_id) {
                    return Err("the user has a newer key, which was taken: here, each has one".to_owned());
                }
                newest = Some(user_id.clone());
                Ok(OldKey { user_id, digest: key.digest(), prefix: key.prefix().to_owned(), created })
            });
            match parsed {
                Ok(key) => batch.keys.push(key),
                // The primary key is the secret: the user tells which row it is.
                Err(reason) => self.report.refuse(Kind::Keys, "", user.as_deref(), &reason)?,
            }
            if batch.rows() >= ROWS {
                self.bring(batch, is_first).await?;
            }
        }
        Ok(())
    }

    /// Whose a row is.
    fn owner(&self, page: &Page, user: Option<&str>) -> Result<UserId, String> {
        let known = user.and_then(|key| page.users.iter().find(|(known, _)| known == key));
        let (key, _) = known.ok_or("there is no such user")?;
        self.user_id(key).map_err(|wrong| format!("its user's key as user_id {wrong}"))
    }

    /// Brings what was read so far, and makes room for more.
    async fn bring(&mut self, batch: &mut Batch, is_first: &mut bool) -> Result<(), ImportError> {
        if batch.rows() == 0 && !*is_first {
            return Ok(());
        }
        let Some(fates) = self.store.import_batch(&self.call(), batch, &self.terms).await? else {
            return Err(ImportError::Busy);
        };
        self.count(batch, &fates, *is_first)?;
        *is_first = false;
        batch.sessions.clear();
        batch.tokens.clear();
        batch.keys.clear();
        Ok(())
    }

    fn count(&mut self, batch: &Batch, fates: &Fates, with_users: bool) -> Result<(), ImportError> {
        let users = batch.users.iter().zip(&fates.users).filter(|_| with_users);
        let users = users.map(|(it, fate)| (Kind::Users, &it.key, &it.user_id, *fate));
        let sessions = batch.sessions.iter().zip(&fates.sessions);
        let sessions = sessions.map(|(it, fate)| (Kind::Sessions, &it.key, &it.user_id, *fate));
        let tokens = batch.tokens.iter().zip(&fates.tokens);
        let tokens = tokens.map(|(it, fate)| (Kind::Tokens, &it.key, &it.user_id, *fate));
        let no_name = String::new();
        let keys = batch.keys.iter().zip(&fates.keys);
        let keys = keys.map(|(it, fate)| (Kind::Keys, &no_name, &it.user_id, *fate));
        for (kind, key, user_id, fate) in users.chain(sessions).chain(tokens).chain(keys) {
            let _: Fate = fate;
            self.report.note(kind, key, user_id.as_str(), fate)?;
        }
        Ok(())
    }
}
