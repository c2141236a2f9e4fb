//! A Django database of a test's own, and imports from it.

use token_registry::import::{self, ImportError, Names, Options, Report};
use tokio_postgres::Client;

use crate::support::postgres::{Cluster, Database};
use crate::support::{Registry, config_for, connect};

/// The tables of the package with some rows, as `pg_dump` wrote them.
pub const SAMPLE: &str = include_str!("../data/django_dump_small.sql");

/// A Django database.
pub struct Django {
    pub database: Database,
    pub sql: Client,
}

impl Django {
    /// An empty one: no tables.
    pub async fn empty() -> Self {
        let database = Cluster::shared().create_database();
        let sql = connect(&database.url).await;
        Self { database, sql }
    }

    /// With the sample's tables and rows.
    pub async fn sample() -> Self {
        let django = Self::empty().await;
        django.run(SAMPLE).await;
        for table in ["refreshtokenwhitelistmodel", "generictokenmodel", "jauser"] {
            let next = format!(
                "select setval(pg_get_serial_sequence('jwt_allauth_{table}', 'id'), max(id)) from jwt_allauth_{table}"
            );
            django.run(&next).await;
        }
        django
    }

    /// With the package's tables, one active user (1, `ada`) and no tokens.
    pub async fn with_ada() -> Self {
        let django = Self::sample().await;
        django.run("delete from authtoken_token; delete from jwt_allauth_generictokenmodel").await;
        django.run("delete from jwt_allauth_refreshtokenwhitelistmodel; delete from jwt_allauth_jauser where id <> 1").await;
        django
    }

    /// Does something there.
    pub async fn run(&self, sql: &str) {
        if let Err(error) = self.sql.batch_execute(sql).await {
            panic!("{:?}", error.as_db_error());
        }
    }

    /// A login.
    pub async fn log_in(&self, user: i64, session: &str, jti: &str) {
        self.run(&format!(
            "insert into jwt_allauth_refreshtokenwhitelistmodel (created, jti, enabled, session, user_id) \
             values (clock_timestamp(), '{jti}', true, '{session}', {user})"
        ))
        .await;
    }

    /// A rotation, as the package does it: the row goes and another comes.
    pub async fn rotate(&self, user: i64, session: &str, jti: &str) {
        self.run(&format!(
            "begin; delete from jwt_allauth_refreshtokenwhitelistmodel where session = '{session}'; \
             insert into jwt_allauth_refreshtokenwhitelistmodel (created, jti, enabled, session, user_id, os) \
             values (clock_timestamp(), '{jti}', true, '{session}', {user}, 'Amiga'); commit"
        ))
        .await;
    }

    /// A logout.
    pub async fn log_out(&self, session: &str) {
        self.run(&format!("delete from jwt_allauth_refreshtokenwhitelistmodel where session = '{session}'"))
            .await;
    }

    /// A one-time token's row.
    pub async fn issue(&self, user: i64, purpose: &str, token: &str) {
        self.run(&format!(
            "insert into jwt_allauth_generictokenmodel (created, token, purpose, user_id) \
             values (clock_timestamp(), '{token}', '{purpose}', {user})"
        ))
        .await;
    }

    /// An import with everything default.
    pub fn options(&self) -> Options {
        Options {
            from: self.database.url.clone().into(),
            names: Names {
                schema: "public".into(),
                table_prefix: "jwt_allauth_".into(),
                auth_table: "authtoken_token".into(),
                user_table: None,
                columns: Vec::new(),
            },
            user_id_format: "{}".into(),
            refresh_token_lifetime: None,
            plain_purposes: Vec::new(),
            renew_expired_tokens: false,
            accept_missing: false,
            dry_run: false,
            report: None,
        }
    }

    /// Imports all into a registry.
    pub async fn import(&self, registry: &Registry) -> Report {
        import(registry, &self.options()).await.expect("the import comes to its end")
    }
}

/// Imports.
pub async fn import(registry: &Registry, options: &Options) -> Result<Report, ImportError> {
    import::django(&config_for(&registry.database_url), options, |_| {}).await.map_err(|(_, error)| error)
}

/// Counts of a kind that only tell of what was read, new, changed and as before.
pub fn counts(read: u64, new: u64, changed: u64, unchanged: u64) -> import::report::Counts {
    import::report::Counts { read, new, changed, unchanged, ..Default::default() }
}
