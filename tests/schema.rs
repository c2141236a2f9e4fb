//! The schema: brought up by the server itself, refused where it isn't what this release knows.

use std::time::Duration;

use token_registry::proto::IssueGenericTokenRequest;
use token_registry::server;
use token_registry::store::{self, Migrated, StoreError};
use tokio::net::TcpListener;

use crate::support::postgres::{Cluster, Database};
use crate::support::{Registry, config_for, connect, fresh_database, patiently};

/// The newest version that this release knows.
async fn newest() -> i32 {
    let database = fresh_database().await;
    let sql = connect(&database.url).await;
    sql.query_one("select max(version) from schema_migrations", &[]).await.unwrap().get(0)
}

/// A server on this database has to end by itself; what it says.
async fn refusal_to_serve(url: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let serving = Box::pin(server::run(listener, config_for(url), std::future::pending()));
    patiently(serving).await.expect_err("it must not serve").to_string()
}

async fn tables(database: &Database) -> Vec<String> {
    let sql = connect(&database.url).await;
    let tables = "select tablename::text from pg_tables where schemaname = 'public' order by 1";
    sql.query(tables, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

#[tokio::test]
async fn an_empty_database_gets_the_schema_once() {
    let database = Cluster::shared().create_database();
    let config = config_for(&database.url);
    let to = newest().await;
    assert_eq!(store::migrate(&config).await.unwrap(), Migrated { from: 0, to });
    let sql = connect(&database.url).await;
    let applied = "select version, name, checksum, applied::text from schema_migrations order by version";
    let before = format!("{:?}", sql.query(applied, &[]).await.unwrap());
    assert_eq!(store::migrate(&config).await.unwrap(), Migrated { from: to, to });
    assert_eq!(format!("{:?}", sql.query(applied, &[]).await.unwrap()), before);
}

#[tokio::test]
async fn replicas_that_start_together_on_an_empty_database_take_turns() {
    let database = Cluster::shared().create_database();
    let start = || Registry::on(&database.url, |_| {});
    let (a, b, c) = patiently(async { tokio::join!(start(), start(), start()) }).await;
    // And they share a server key, without which one would not know the other's codes.
    a.add("ada", "laptop", "one").await.unwrap();
    let issue = IssueGenericTokenRequest {
        user_id: "ada".into(),
        purpose: "login".into(),
        digits: Some(6),
        ..Default::default()
    };
    let value = b.generic.clone().issue_generic_token(issue).await.unwrap().into_inner().value;
    let consume = token_registry::proto::ConsumeGenericTokenRequest {
        purpose: "login".into(),
        value,
        user_id: Some("ada".into()),
        ..Default::default()
    };
    c.generic.clone().consume_generic_token(consume).await.unwrap();
    let sql = connect(&database.url).await;
    let count: i64 = sql.query_one("select count(*) from schema_migrations", &[]).await.unwrap().get(0);
    assert_eq!(count, i64::from(newest().await));
}

#[tokio::test]
async fn a_migration_that_fails_leaves_nothing_behind() {
    let database = Cluster::shared().create_database();
    let sql = connect(&database.url).await;
    // The last table of the first migration is in the way.
    sql.batch_execute("create table server_keys (theirs text)").await.unwrap();
    let refused = store::migrate(&config_for(&database.url)).await.unwrap_err();
    assert!(matches!(refused, StoreError::Database(_)), "{refused}");
    assert_eq!(tables(&database).await, ["server_keys"]);
    sql.batch_execute("drop table server_keys").await.unwrap();
    store::migrate(&config_for(&database.url)).await.unwrap();
}

#[tokio::test]
async fn a_schema_of_a_newer_release_is_refused_and_left_alone() {
    let database = fresh_database().await;
    let sql = connect(&database.url).await;
    sql.batch_execute("insert into schema_migrations values (9999, '9999_later', 'x')").await.unwrap();
    let refused = store::migrate(&config_for(&database.url)).await.unwrap_err();
    let known = newest().await;
    assert!(matches!(refused, StoreError::SchemaTooNew { found: 9999, known: k } if k == known), "{refused}");
    let said = refusal_to_serve(&database.url).await;
    assert!(said.contains("9999") && said.contains("newer"), "{said}");
}

#[tokio::test]
async fn a_migration_that_was_edited_is_refused_by_name() {
    let database = fresh_database().await;
    let sql = connect(&database.url).await;
    sql.batch_execute("update schema_migrations set checksum = 'of another text' where version = 1")
        .await
        .unwrap();
    let refused = store::migrate(&config_for(&database.url)).await.unwrap_err();
    assert!(matches!(refused, StoreError::SchemaDiffers { name: "0001_registry" }), "{refused}");
    let said = refusal_to_serve(&database.url).await;
    assert!(said.contains("0001_registry"), "{said}");
}

#[tokio::test]
async fn an_isolation_that_the_statements_are_not_written_for_is_refused() {
    let database = fresh_database().await;
    for isolation in ["serializable", "repeatable read"] {
        let option = isolation.replace(' ', "\\%20");
        let url = format!("{}?options=-c%20default_transaction_isolation%3D{option}", database.url);
        let refused = store::migrate(&config_for(&url)).await.unwrap_err();
        assert!(matches!(&refused, StoreError::Isolation(found) if found == isolation), "{refused}");
        let said = refusal_to_serve(&url).await;
        assert!(said.contains(isolation) && said.contains("read committed"), "{said}");
    }
    let sql = connect(&database.url).await;
    let name = &database.name;
    sql.batch_execute(&format!("alter database {name} set default_transaction_isolation to serializable"))
        .await
        .unwrap();
    assert!(matches!(store::migrate(&config_for(&database.url)).await, Err(StoreError::Isolation(_))));
}

#[tokio::test]
async fn every_table_and_column_says_what_it_is() {
    let database = fresh_database().await;
    let sql = connect(&database.url).await;
    let silent = "
        select c.relname || coalesce('.' || a.attname, '')
        from pg_class c
        join pg_namespace n on n.oid = c.relnamespace and n.nspname = 'public'
        left join lateral (
          select attname, attnum from pg_attribute where attrelid = c.oid and attnum > 0 and not attisdropped
          union all select null, 0) a on true
        where c.relkind = 'r'
          and coalesce(case a.attnum when 0 then obj_description(c.oid, 'pg_class') else col_description(c.oid, a.attnum) end, '') = ''
        order by 1";
    let silent: Vec<String> = sql.query(silent, &[]).await.unwrap().iter().map(|row| row.get(0)).collect();
    assert_eq!(silent, Vec::<String>::new());
}

#[tokio::test]
async fn everything_of_a_user_goes_with_the_users_row() {
    let registry = Registry::start().await;
    registry.add("ada", "laptop", "one").await.unwrap();
    registry.add("bob", "laptop", "one").await.unwrap();
    let issue =
        IssueGenericTokenRequest { user_id: "ada".into(), purpose: "reset".into(), ..Default::default() };
    registry.generic.clone().issue_generic_token(issue).await.unwrap();
    crate::support::keys::create(&registry, crate::support::keys::wanted("ada")).await.unwrap();
    let change = token_registry::proto::RevokeCredentialsRequest {
        user_id: "ada".into(),
        keep_auth_tokens: Some(false),
        request_id: Some("once".into()),
        ..Default::default()
    };
    registry.users.clone().revoke_credentials(change).await.unwrap();

    let sql = registry.sql().await;
    let seen = "insert into imported_sessions values ('ada', 'laptop', 'one', true);
        insert into imported_generic_tokens values ('ada', '1', 'reset', 1);
        insert into imported_auth_tokens values ('ada', '')";
    sql.batch_execute(seen).await.unwrap();
    // That an import has seen a user must outlive the user: the next import is not to bring them back.
    let with_users = "select table_name::text from information_schema.columns
        where table_schema = 'public' and column_name = 'user_id' and table_name <> 'imported_users'";
    let tables: Vec<String> =
        sql.query(with_users, &[]).await.unwrap().iter().map(|row| row.get(0)).collect();
    assert!(tables.len() >= 5, "{tables:?}");
    let count = async |table: &str, user: &str| -> i64 {
        let count = format!("select count(*) from {table} where user_id = $1");
        sql.query_one(&count, &[&user]).await.unwrap().get(0)
    };
    for table in &tables {
        assert!(count(table, "ada").await > 0, "nothing of hers in {table}: the test has to put it there");
    }
    sql.execute("delete from users where user_id = 'ada'", &[]).await.unwrap();
    for table in &tables {
        assert_eq!(count(table, "ada").await, 0, "{table}");
    }
    assert_eq!(count("sessions", "bob").await, 1);
}

#[tokio::test]
async fn a_server_waits_for_another_that_migrates() {
    let database = Cluster::shared().create_database();
    let mut other = connect(&database.url).await;
    // The lock that whoever migrates holds.
    let migrating = other.transaction().await.unwrap();
    migrating.execute("select pg_advisory_xact_lock(x'746f6b656e726567'::bigint)", &[]).await.unwrap();
    let (ready, is_ready) = tokio::sync::oneshot::channel();
    let registry = Registry::launch(
        &database.url,
        // The server's usual limits must not end this wait.
        |config| {
            (config.lock_timeout, config.statement_timeout) =
                (Duration::from_millis(1), Duration::from_millis(1));
        },
        move || _ = ready.send(()),
    )
    .await;
    let sql = connect(&database.url).await;
    crate::support::until_waiting_for_locks(&sql, 1).await;
    crate::support::assert_try_again(registry.add("ada", "laptop", "one").await, "DATABASE_UNAVAILABLE");
    migrating.commit().await.unwrap();
    patiently(is_ready).await.unwrap();
}
