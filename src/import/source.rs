//! The Django database: what its tables look like, and their rows, read in one snapshot a page of users.

use std::time::{Duration, SystemTime};

use futures_util::TryStreamExt as _;
use secrecy::SecretString;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, NoTls, Row, RowStream, Socket};

use super::error::ImportError;
use super::shape::{CLIENT, Shape, Table};
use crate::client_info::{ClientInfo, parse_address};
use crate::config::parse_database_url;
use crate::store::{Known, KnownRow, tls_connector};

/// A connection to the Django database that can only read.
pub struct Source {
    client: Client,
    shape: Shape,
}

/// A page of users: those with keys after `after` and up to the last of them; the last page has no upper end.
pub struct Page {
    /// The users' keys, and whether each is active.
    pub users: Vec<(String, bool)>,
    /// Only rows of users after this key.
    after: Option<String>,
    /// Only rows of users up to this key.
    until: Option<String>,
}

/// What tables of tokens have in common.
pub struct Common {
    /// The row's primary key.
    pub key: String,
    /// The user's key; `None` if the column is null.
    pub user: Option<String>,
    /// When it was made; `None` if that is no time that a Timestamp can tell (infinity, say).
    pub created: Option<SystemTime>,
    /// The client.
    pub client: ClientInfo,
}

/// How long a connection attempt may take.
const CONNECT: Duration = Duration::from_secs(10);

impl Source {
    /// Connects, and looks at the tables.
    ///
    /// # Errors
    /// The database can't be reached, or isn't one that can be imported.
    pub async fn open(url: &SecretString, names: &super::Names) -> Result<Self, ImportError> {
        let url =
            parse_database_url(url).map_err(|wrong| ImportError::Settings(format!("--from: {wrong}")))?;
        let encryption = url.encryption.as_ref().map(tls_connector).transpose();
        let encryption = encryption.map_err(|wrong| ImportError::Settings(format!("--from: {wrong}")))?;
        let mut settings = url.settings;
        settings.application_name("token-registry import");
        if settings.get_connect_timeout().is_none() {
            settings.connect_timeout(CONNECT);
        }
        settings.keepalives_idle(Duration::from_secs(30));
        settings.tcp_user_timeout(Duration::from_secs(30));
        // Nothing is ever written there.
        let own = settings.get_options().unwrap_or_default();
        settings.options(format!("-c default_transaction_read_only=on {own}").trim());
        let client = match encryption {
            Some(encryption) => connect(&settings, encryption).await?,
            None => connect(&settings, NoTls).await?,
        };
        let shape = Shape::read(&client, names).await?;
        Ok(Self { client, shape })
    }

    /// What is odd about the tables but no obstacle.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.shape.notes
    }

    /// How many users there are.
    ///
    /// # Errors
    /// The database can't be read.
    pub async fn count_users(&self) -> Result<u64, ImportError> {
        let sql = format!("select count(*) from {}", self.shape.users.name);
        let count: i64 = self.client.query_one(&sql, &[]).await?.try_get(0)?;
        Ok(u64::try_from(count).unwrap_or_default())
    }

    /// Begins a snapshot and reads the users after a key, so many at most. [`Self::done`] must follow.
    ///
    /// # Errors
    /// The database can't be read.
    pub async fn page(&self, after: Option<String>, limit: usize) -> Result<Page, ImportError> {
        self.client.batch_execute("begin isolation level repeatable read read only").await?;
        let users = &self.shape.users;
        let (key, active) = (users.column("id"), users.column("is_active"));
        let from = match after {
            Some(_) => format!("where {key} > $1::text::{}", self.shape.key_type),
            None => "where $1::text is null".to_owned(),
        };
        let sql =
            format!("select {key}::text, {active} from {} t {from} order by {key} limit {limit}", users.name);
        let rows = self.client.query(&sql, &[&after]).await?;
        let read = |row: &Row| Ok::<_, ImportError>((row.try_get(0)?, row.try_get(1)?));
        let users: Vec<(String, bool)> = rows.iter().map(read).collect::<Result<_, _>>()?;
        let until = if users.len() == limit { users.last().map(|(key, _)| key.clone()) } else { None };
        Ok(Page { users, after, until })
    }

    /// Ends the snapshot.
    ///
    /// # Errors
    /// The database can't be read.
    pub async fn done(&self) -> Result<(), ImportError> {
        Ok(self.client.batch_execute("commit").await?)
    }

    /// The refresh tokens of a page's users: of each session the newest first. Columns: those of [`common`], then jti,
    /// enabled, session.
    ///
    /// # Errors
    /// The database can't be read.
    pub async fn refresh_tokens(&self, page: &Page) -> Result<RowStream, ImportError> {
        let table = &self.shape.refresh;
        let (created, id) = (table.column("created"), table.column("id"));
        let [jti, enabled, session] = ["jti", "enabled", "session"].map(|name| table.column(name));
        let order = format!("{session}, {created} desc, {id} desc");
        self.rows(table, page, &format!(", {jti}, {enabled}, {session}"), &order).await
    }

    /// The one-time tokens of a page's users: of each value the newest first. Columns: those of [`common`], then token,
    /// purpose. `None`: the database has no such table.
    ///
    /// # Errors
    /// The database can't be read.
    pub async fn generic_tokens(&self, page: &Page) -> Result<Option<RowStream>, ImportError> {
        let Some(table) = &self.shape.generic else { return Ok(None) };
        let (created, id) = (table.column("created"), table.column("id"));
        let [token, purpose] = ["token", "purpose"].map(|name| table.column(name));
        let order = format!("{purpose}, {token}, {created} desc, {id} desc");
        Ok(Some(self.rows(table, page, &format!(", {token}, {purpose}"), &order).await?))
    }

    /// The API keys of a page's users, of each the newest first, as [`key`] reads them. `None`: the database has no such
    /// table.
    ///
    /// # Errors
    /// The database can't be read.
    pub async fn auth_tokens(&self, page: &Page) -> Result<Option<RowStream>, ImportError> {
        let Some(table) = &self.shape.auth else { return Ok(None) };
        let (user, created, key) = (table.column("user_id"), table.column("created"), table.column("key"));
        let (of_users, params) = self.of_users(user, page);
        let sql = format!(
            "select {user}::text, {created}, {key}::text from {} t where {of_users} order by {user}, {created} desc, {key}",
            table.name
        );
        Ok(Some(self.client.query_raw(&sql, params).await?))
    }

    async fn rows(
        &self,
        table: &Table,
        page: &Page,
        more: &str,
        order: &str,
    ) -> Result<RowStream, ImportError> {
        let (id, user) = (table.column("id"), table.column("user_id"));
        let columns: Vec<String> = CLIENT.iter().map(|name| table.client_column(name)).collect();
        let (of_users, params) = self.of_users(user, page);
        let sql = format!(
            "select {id}::text, {user}::text, {}, {}{more} from {} t where {of_users} order by {user}, {order}",
            table.column("created"),
            columns.join(", "),
            table.name
        );
        Ok(self.client.query_raw(&sql, params).await?)
    }

    /// The condition that rows are of a page's users, with its parameters.
    fn of_users<'p>(&self, user: &str, page: &'p Page) -> (String, Vec<&'p (dyn ToSql + Sync)>) {
        let (mut of_users, mut params) = (Vec::new(), Vec::<&'p (dyn ToSql + Sync)>::new());
        if let Some(after) = &page.after {
            params.push(after);
            of_users.push(format!("{user} > ${}::text::{}", params.len(), self.shape.key_type));
        }
        if let Some(until) = &page.until {
            params.push(until);
            of_users.push(format!("{user} <= ${}::text::{}", params.len(), self.shape.key_type));
        }
        let mut of_users = if of_users.is_empty() { "true".to_owned() } else { of_users.join(" and ") };
        if page.until.is_none() {
            // Rows of nobody come with the last users, to be told of.
            of_users = format!("({of_users}) or {user} is null");
        }
        (of_users, params)
    }

    /// Which of these are no longer there.
    ///
    /// # Errors
    /// The database can't be read.
    pub async fn gone(&self, kind: Known, rows: &[KnownRow]) -> Result<Vec<KnownRow>, ImportError> {
        let keys: Vec<&str> = rows.iter().map(|row| row.key.as_str()).collect();
        let items: Vec<&str> = rows.iter().map(|row| row.item.as_str()).collect();
        let is_there = match (kind, &self.shape.generic) {
            (Known::Users, _) => {
                let table = &self.shape.users;
                format!(
                    "select from {} t where {} = r.key::{}",
                    table.name,
                    table.column("id"),
                    self.shape.key_type
                )
            }
            (Known::Sessions, _) => {
                let table = &self.shape.refresh;
                format!(
                    "select from {} t where {} = r.item and {} = r.key::{}",
                    table.name,
                    table.column("session"),
                    table.column("user_id"),
                    self.shape.key_type
                )
            }
            (Known::Tokens, Some(table)) => {
                format!(
                    "select from {} t where {} = r.item::{}",
                    table.name,
                    table.column("id"),
                    table.key_type()
                )
            }
            (Known::Keys, _) => {
                let Some(table) = &self.shape.auth else { return Ok(Vec::new()) };
                format!(
                    "select from {} t where {} = r.key::{} and encode(sha256(convert_to({}, 'UTF8')), 'hex') = r.item",
                    table.name,
                    table.column("user_id"),
                    self.shape.key_type,
                    table.column("key")
                )
            }
            (Known::Tokens, None) => return Ok(Vec::new()),
        };
        let sql = format!(
            "select r.n from unnest($1::text[], $2::text[]) with ordinality r (key, item, n) where not exists ({is_there}) order by r.n"
        );
        let gone = self.client.query(&sql, &[&keys, &items]).await?;
        let mut missing = Vec::with_capacity(gone.len());
        for row in gone {
            let n: i64 = row.try_get(0)?;
            missing.extend(usize::try_from(n - 1).ok().and_then(|n| rows.get(n)).cloned());
        }
        Ok(missing)
    }
}

async fn connect<T>(settings: &tokio_postgres::Config, encryption: T) -> Result<Client, ImportError>
where
    T: MakeTlsConnect<Socket>,
    T::Stream: Send + 'static,
{
    let (client, connection) = tokio::time::timeout(CONNECT, settings.connect(encryption))
        .await
        .map_err(|_| ImportError::Source("no answer in time".to_owned()))?
        .map_err(|error| ImportError::source(&error))?;
    tokio::spawn(connection);
    Ok(client)
}

/// How many columns [`common`] reads.
pub(super) const COMMON: usize = 3 + CLIENT.len();

/// Reads what tables of tokens have in common.
///
/// # Errors
/// The columns are of other types than they were.
pub fn common(row: &Row) -> Result<Common, ImportError> {
    let ip: Option<String> = row.try_get(3)?;
    let flag = |n: usize| row.try_get::<_, Option<bool>>(n);
    let text = |n: usize| row.try_get::<_, Option<String>>(n);
    let client = ClientInfo {
        ip: ip.and_then(|ip| parse_address(&ip).ok()),
        is_mobile: flag(4)?,
        is_tablet: flag(5)?,
        is_pc: flag(6)?,
        is_bot: flag(7)?,
        browser: text(8)?,
        browser_version: text(9)?,
        os: text(10)?,
        os_version: text(11)?,
        device: text(12)?,
        device_brand: text(13)?,
        device_model: text(14)?,
    };
    Ok(Common {
        key: row.try_get(0)?,
        user: row.try_get(1)?,
        created: Some(row.try_get::<_, SystemTime>(2)?).filter(is_told),
        client: client.normalised(),
    })
}

/// Reads a row of API keys: whose, the key, when it was made.
///
/// # Errors
/// The columns are of other types than they were.
pub fn key(row: &Row) -> Result<(Option<String>, String, Option<SystemTime>), ImportError> {
    Ok((row.try_get(0)?, row.try_get(2)?, Some(row.try_get(1)?).filter(is_told)))
}

/// Whether a `Timestamp` of the answers can tell this time: from 1970 to 9999.
fn is_told(time: &SystemTime) -> bool {
    const END: Duration = Duration::from_hours(70_389_528);
    time.duration_since(SystemTime::UNIX_EPOCH).is_ok_and(|since| since < END)
}

/// The next row of a stream.
///
/// # Errors
/// The database can't be read.
pub async fn next(stream: &mut std::pin::Pin<&mut RowStream>) -> Result<Option<Row>, ImportError> {
    Ok(stream.try_next().await?)
}
