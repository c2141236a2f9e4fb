//! The statements against the schema: each is one that PostgreSQL takes, and the hot path writes no index.

use token_registry::store::{self, STATEMENTS};

use crate::support::postgres::{Cluster, FAST};
use crate::support::{Registry, config_for};

#[tokio::test]
async fn every_statement_prepares_against_the_migrated_schema() {
    let registry = Registry::start().await;
    let sql = registry.sql().await;
    let mut wrong = Vec::new();
    for statement in STATEMENTS {
        // A phrase that nothing filled in.
        if statement.sql().contains(['{', '}']) {
            wrong.push(format!("{}: a phrase is left in it", statement.name));
        }
        if let Err(error) = sql.prepare(statement.sql()).await {
            let told = error.as_db_error().map_or_else(|| error.to_string(), ToString::to_string);
            wrong.push(format!("{}: {told}", statement.name));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_statement_has_a_name_of_its_own_and_a_file_that_is_used() {
    let mut names: Vec<_> = STATEMENTS.iter().map(|statement| statement.name.to_owned()).collect();
    names.sort_unstable();
    let mut files = Vec::new();
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store/statements");
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path == root.join("phrases") {
                // Parts of statements, and none themselves.
            } else if path.is_dir() {
                folders.push(path);
            } else {
                files.push(path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    files.sort_unstable();
    assert_eq!(names, files);
}

#[tokio::test]
async fn the_only_index_on_sessions_is_the_primary_key() {
    let registry = Registry::start().await;
    let sql = "select string_agg(indexrelid::regclass::text, ' ') from pg_index \
               where indrelid = 'sessions'::regclass";
    let indexes: String = registry.sql().await.query_one(sql, &[]).await.unwrap().get(0);
    assert_eq!(indexes, "sessions_pkey");
    let sql = "select pg_get_indexdef('sessions_pkey'::regclass)";
    let definition: String = registry.sql().await.query_one(sql, &[]).await.unwrap().get(0);
    assert!(definition.ends_with("(user_id, session)"), "{definition}");
}

#[tokio::test]
async fn rotations_write_no_index() {
    // A transaction under way in any database of a cluster holds back the clearing of pages in all of them, and so
    // other tests would have some of these rotations move to another page.
    let cluster = Cluster::start(FAST);
    let database = cluster.create_database();
    store::migrate(&config_for(&database.url)).await.expect("the schema");
    let registry = Registry::on(&database.url, |_| {}).await;
    let sessions: Vec<_> = (0..40).map(|n| format!("session {n}")).collect();
    for session in &sessions {
        registry.add("ada", session, "jti-0").await.unwrap();
    }
    for n in 0..5 {
        for session in &sessions {
            let (jti, new_jti) = (format!("jti-{n}"), format!("jti-{}", n + 1));
            registry.rotate("ada", session, &jti, &new_jti).await.unwrap();
        }
    }
    let sql = registry.sql().await;
    // A connection's counts are certain to be told when it ends.
    let end = "select count(*) from pg_stat_activity, pg_terminate_backend(pid, 10000) as ended \
               where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend' \
               and ended";
    let ended: i64 = sql.query_one(end, &[]).await.unwrap().get(0);
    assert_ne!(ended, 0, "the server had connections");
    let counts =
        "select n_tup_upd, n_tup_hot_upd from pg_stat_user_tables where relid = 'sessions'::regclass";
    let row = sql.query_one(counts, &[]).await.unwrap();
    let (updates, hot): (i64, i64) = (row.get(0), row.get(1));
    assert_eq!((updates, hot), (200, 200));
}
