//! The schema: migrations embedded in the binary, checksummed, applied in order under a lock.
//!
//! All of it is one transaction on one connection, with a lock that ends with it: two replicas that start together
//! take turns, a pooler in transaction mode is no obstacle, and a migration that fails leaves nothing behind.

use sha2::{Digest as _, Sha256};
use tokio_postgres::{Client, Transaction};

use super::error::StoreError;

/// One step of the schema.
struct Migration {
    version: i32,
    name: &'static str,
    sql: &'static str,
}

/// Every step that this binary knows. A step that was released is never edited: a new one is added.
const MIGRATIONS: &[Migration] = &[
    Migration { version: 1, name: "0001_registry", sql: include_str!("../../migrations/0001_registry.sql") },
    Migration {
        version: 2,
        name: "0002_auth_tokens",
        sql: include_str!("../../migrations/0002_auth_tokens.sql"),
    },
    Migration { version: 3, name: "0003_imports", sql: include_str!("../../migrations/0003_imports.sql") },
    Migration {
        version: 4,
        name: "0004_imported_auth_tokens",
        sql: include_str!("../../migrations/0004_imported_auth_tokens.sql"),
    },
    Migration {
        version: 5,
        name: "0005_maintenance",
        sql: include_str!("../../migrations/0005_maintenance.sql"),
    },
];

/// Which schema was found, and which is there now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Migrated {
    /// The version found; 0 of an empty database.
    pub from: i32,
    /// The version now.
    pub to: i32,
}

/// Any number, but always the same: replicas that migrate wait for each other under it.
const MIGRATION_LOCK: i64 = 0x746f_6b65_6e72_6567;

const BOOKKEEPING: &str = "\
create table schema_migrations (
  version  integer primary key,
  name     text not null,
  checksum text not null,
  applied  timestamptz not null default clock_timestamp()
)";

/// What the bookkeeping's columns are, said once: when the first step is applied.
const BOOKKEEPING_COMMENTS: &str = "\
comment on table schema_migrations is 'Which steps of the schema were applied. Written by token-registry alone.';
comment on column schema_migrations.version is 'The step''s number.';
comment on column schema_migrations.name is 'The step''s file in migrations/, without .sql.';
comment on column schema_migrations.checksum is 'SHA-256 of the step''s text, in hex: a step that was edited afterwards is refused.';
comment on column schema_migrations.applied is 'When it was applied.'";

fn checksum(sql: &str) -> String {
    use std::fmt::Write as _;
    Sha256::digest(sql).iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// Brings the schema to the newest version that this binary knows.
pub(super) async fn migrate(client: &mut Client) -> Result<Migrated, StoreError> {
    let transaction = client.transaction().await?;
    transaction.batch_execute("set local lock_timeout = 0; set local statement_timeout = 0").await?;
    transaction.execute("select pg_advisory_xact_lock($1)", &[&MIGRATION_LOCK]).await?;
    // Once it is there, a role that may make nothing can look whether anything is to be done.
    let bookkeeping =
        transaction.query_one("select to_regclass('schema_migrations') is not null", &[]).await?;
    if !bookkeeping.try_get(0)? {
        transaction.batch_execute(BOOKKEEPING).await?;
    }
    let applied =
        transaction.query("select version, checksum from schema_migrations order by version", &[]).await?;
    let mut from = 0;
    for row in &applied {
        let (version, found): (i32, String) = (row.try_get(0)?, row.try_get(1)?);
        let Some(known) = MIGRATIONS.iter().find(|known| known.version == version) else {
            let newest = MIGRATIONS.last().map_or(0, |newest| newest.version);
            return Err(StoreError::SchemaTooNew { found: version, known: newest });
        };
        if checksum(known.sql) != found {
            return Err(StoreError::SchemaDiffers { name: known.name });
        }
        from = version;
    }
    if from == 0 {
        transaction.batch_execute(BOOKKEEPING_COMMENTS).await?;
    }
    let mut to = from;
    for step in MIGRATIONS.iter().filter(|step| step.version > from) {
        tracing::info!(migration = step.name, "applying");
        transaction.batch_execute(step.sql).await?;
        transaction
            .execute(
                "insert into schema_migrations (version, name, checksum) values ($1, $2, $3)",
                &[&step.version, &step.name, &checksum(step.sql)],
            )
            .await?;
        to = step.version;
    }
    if to != from {
        analyze(&transaction).await?;
    }
    transaction.commit().await?;
    Ok(Migrated { from, to })
}

/// Tells the planner what the tables hold. Not of an empty one: told that there is nothing in it, the planner walks it
/// from end to end for each set, and goes on with that plan while it grows, until autovacuum looks at it a minute later.
/// Told nothing, it expects a few pages and takes the index.
async fn analyze(transaction: &Transaction<'_>) -> Result<(), StoreError> {
    for table in ["users", "sessions", "generic_state", "generic_tokens", "auth_tokens"] {
        let filled = transaction.query_one(&format!("select exists (select from {table})"), &[]).await?;
        if filled.try_get(0)? {
            transaction.batch_execute(&format!("analyze {table}")).await?;
        }
    }
    Ok(())
}
