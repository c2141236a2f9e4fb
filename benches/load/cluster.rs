//! A PostgreSQL of the bench's own, and its databases full of sessions.

use std::path::PathBuf;
use std::time::Duration;

use token_registry::config::Config;
use token_registry::store;
use tokio_postgres::{Client, NoTls};

use crate::names::{
    CLIENT, CONSUMED_PURPOSE, OVER, SECRET_PREFIX, SECRETS_OF_PGBENCH, SESSIONS, SESSIONS_PER_USER, USERS,
    jti_expression,
};
use crate::postgres::{self, Database};
use crate::{Failure, progress};

/// As an operator would run it where a lost commit matters, with a good part of the machine's memory: ten million sessions
/// are 5 GB, and reading them from the system's cache again and again would be what is measured. Checkpoints are kept out of the measurements by room for
/// the log, not by turning anything off.
const SETTINGS: &[(&str, &str)] = &[
    ("fsync", "on"),
    ("synchronous_commit", "on"),
    ("full_page_writes", "on"),
    ("shared_buffers", "6GB"),
    ("max_wal_size", "8GB"),
    ("checkpoint_timeout", "30min"),
    ("max_connections", "300"),
];

/// The server.
pub struct Cluster {
    cluster: postgres::Cluster,
    pub pgbench: PathBuf,
}

/// A database, filled.
pub struct Filled {
    pub database: Database,
    /// A connection for statements outside of the measurements.
    pub client: Client,
    /// That connection's process in PostgreSQL.
    pub backend: u32,
    pub sessions: u64,
    /// One-time tokens there are to be consumed, by servers and by pgbench each.
    pub secrets: u64,
}

impl Cluster {
    pub fn start() -> Self {
        let cluster = postgres::Cluster::start(SETTINGS);
        let pgbench = cluster.program("pgbench");
        Self { cluster, pgbench }
    }

    pub async fn version(&self) -> Result<String, Failure> {
        let client = connect(&self.cluster.url("postgres")).await?;
        Ok(client.query_one("show server_version", &[]).await?.get(0))
    }

    /// A copy on the same machine, which follows.
    pub fn start_standby(&self) -> postgres::Cluster {
        self.cluster.start_standby()
    }

    /// Whether a commit is acknowledged only when the standby has it too.
    pub async fn commit_synchronously(&self, waits: bool) -> Result<(), Failure> {
        if waits {
            self.cluster.commit_synchronously().await;
        } else {
            let client = connect(&self.cluster.url("postgres")).await?;
            client.batch_execute("alter system reset synchronous_standby_names").await?;
            client.batch_execute("select pg_reload_conf()").await?;
        }
        Ok(())
    }

    /// A database with the registry's schema, the seed's table beside it, and so many sessions and an API key a user.
    pub async fn fill(&self, sessions: u64, secrets: u64, seed: bool) -> Result<Filled, Failure> {
        self.until_nothing_is_being_dropped().await?;
        progress(&format!("filling {sessions} sessions of {} users", sessions / SESSIONS_PER_USER));
        let database = self.cluster.create_database();
        store::migrate(&configuration(&database.url)).await?;
        let client = connect(&database.url).await?;
        // No look at `users` for each row: the fill has them all.
        client.batch_execute("set session_replication_role = replica; set synchronous_commit = off").await?;
        client.batch_execute(&fill_sessions(sessions)).await?;
        client.batch_execute(&fill_keys(sessions)).await?;
        if secrets > 0 {
            client.batch_execute(&fill_secrets(sessions, secrets)).await?;
        }
        if seed {
            client.batch_execute(&fill_seed(sessions)).await?;
        }
        for statement in ["vacuum analyze", "checkpoint"] {
            client.batch_execute(statement).await?;
        }
        let backend: i32 = client.query_one("select pg_backend_pid()", &[]).await?.get(0);
        Ok(Filled { database, client, backend: u32::try_from(backend)?, sessions, secrets })
    }
}

impl Cluster {
    /// Waits for the databases that were let go. To drop one of many sessions is a transaction of seconds, and while it
    /// is open no version of a row that died since can be removed, in no database: rotations would run out of room.
    async fn until_nothing_is_being_dropped(&self) -> Result<(), Failure> {
        let client = connect(&self.cluster.url("postgres")).await?;
        // Who is in use has the connection of its `Filled`.
        let let_go = "select count(*) from pg_database d where datname like 'test\\_%'
                      and not exists (select from pg_stat_activity a where a.datid = d.oid)";
        for _ in 0..600 {
            if client.query_one(let_go, &[]).await?.get::<_, i64>(0) == 0 {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Err("a database wasn't dropped within a minute".into())
    }
}

impl Filled {
    /// Adds sessions that were revoked or expired longer ago than they are kept, in among the others.
    pub async fn add_sessions_that_are_over(&self, sessions: u64) -> Result<(), Failure> {
        progress(&format!("adding {sessions} sessions that are over"));
        let add = format!(
            "insert into sessions (user_id, session, jti, enabled, created, session_created, session_expires, idle_expires,
                                   idle_timeout, rotation_grace, revoked_at, revocation_reason, {columns})
             select ({USERS} + i / {SESSIONS_PER_USER})::text, ({OVER} + i)::text, ({jti})::text, true, past, past,
                    past + interval '30 days', past + interval '14 days', interval '14 days', interval '30 seconds',
                    case when i % 2 = 0 then past end, case when i % 2 = 0 then 1 end, {values}
             from generate_series(0::bigint, {sessions} - 1) i, (select now() - interval '90 days' as past) long_ago;",
            columns = client_columns(),
            values = client_values(),
            jti = jti_expression("0", "i"),
        );
        for statement in [add.as_str(), "vacuum analyze", "checkpoint"] {
            self.client.batch_execute(statement).await?;
        }
        Ok(())
    }
}

/// The registry's default configuration, on a database.
pub fn configuration(database_url: &str) -> Config {
    Config {
        database_url: Some(database_url.to_owned().into()),
        // So that it doesn't have to make one, and to warn of that.
        server_keys: vec!["a key of the bench and of nothing else".to_owned().into()],
        // So that a slow machine shows as slow, and not as refusals.
        database_pool_wait: Duration::from_secs(5),
        ..Config::default()
    }
}

async fn connect(url: &str) -> Result<Client, Failure> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

fn client_columns() -> String {
    CLIENT.map(|(column, _)| column).join(", ")
}

fn client_values() -> String {
    CLIENT.map(|(_, value)| format!("'{value}'")).join(", ")
}

fn fill_sessions(sessions: u64) -> String {
    let users = sessions.div_ceil(SESSIONS_PER_USER);
    format!(
        "insert into users (user_id) select ({USERS} + u)::text from generate_series(0, {users} - 1) u;
         insert into sessions (user_id, session, jti, enabled, created, session_created, session_expires, idle_expires,
                               idle_timeout, rotation_grace, {columns})
         select ({USERS} + i / {SESSIONS_PER_USER})::text, ({SESSIONS} + i)::text, ({jti})::text, true, now(), now(),
                now() + interval '30 days', now() + interval '14 days', interval '14 days', interval '30 seconds', {values}
         from generate_series(0::bigint, {sessions} - 1) i;",
        columns = client_columns(),
        values = client_values(),
        jti = jti_expression("0", "i"),
    )
}

/// An API key a user, never used yet: that it is used now is written as in real life.
fn fill_keys(sessions: u64) -> String {
    let users = sessions.div_ceil(SESSIONS_PER_USER);
    format!(
        "insert into auth_tokens (user_id, prefix, is_drf, digest)
         select user_id, left(key, 8), true, sha256(convert_to(key, 'UTF8'))
         from (select ({USERS} + u)::text as user_id, lpad(to_hex({USERS} + u), 40, '0') as key
               from generate_series(0::bigint, {users} - 1) u) keys;"
    )
}

/// One-time tokens to be consumed: the first half by servers, which are kept as a server keeps them, the second by
/// pgbench, which can't hash.
fn fill_secrets(sessions: u64, secrets: u64) -> String {
    let users = sessions.div_ceil(SESSIONS_PER_USER);
    let insert = |digest: &str| {
        format!(
            "insert into generic_tokens (user_id, purpose, is_code, digest, challenge, created, expires, max_attempts, {columns})
             select ({USERS} + n % {users})::text, '{CONSUMED_PURPOSE}', false, {digest}, ({SECRETS_OF_PGBENCH} + n)::text, now(),
                    now() + interval '1 hour' * 24, 0, {values}
             from generate_series(0::bigint, {secrets} - 1) n;",
            columns = client_columns(),
            values = client_values(),
        )
    };
    let of_server = format!("sha256(convert_to('{SECRET_PREFIX}' || ({SECRETS_OF_PGBENCH} + n), 'UTF8'))");
    let of_pgbench = format!("convert_to(({SECRETS_OF_PGBENCH} + n)::text, 'UTF8')");
    insert(&of_server) + &insert(&of_pgbench)
}

/// The table as Django makes it of the seed's models: one row a token.
fn fill_seed(sessions: u64) -> String {
    format!(
        "create table seed_user (id bigint primary key);
         insert into seed_user select u from generate_series(0::bigint, {sessions} / {SESSIONS_PER_USER}) u;
         create table seed_token (
           id bigint generated by default as identity primary key, created timestamptz not null,
           ip inet, is_mobile boolean, is_tablet boolean, is_pc boolean, is_bot boolean,
           browser varchar(64), browser_version varchar(64), os varchar(64), os_version varchar(64),
           device varchar(64), device_brand varchar(64), device_model varchar(64),
           jti varchar(255) not null, enabled boolean not null, session varchar(255) not null,
           user_id bigint not null references seed_user (id) deferrable initially deferred);
         insert into seed_token (created, jti, enabled, session, user_id, {columns})
         select now(), ({jti})::text, true, ({SESSIONS} + i)::text, i / {SESSIONS_PER_USER}, {values}
         from generate_series(0::bigint, {sessions} - 1) i;
         create unique index on seed_token (jti);
         create index on seed_token (session);
         create index on seed_token (user_id);",
        columns = client_columns(),
        values = client_values(),
        jti = jti_expression("0", "i"),
    )
}
