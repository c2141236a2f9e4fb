//! What the registry needs to be allowed in its database: to own its tables for the migration, to read and write them for
//! everything else.

use token_registry::proto::{DeleteUserRequest, GetStatisticsRequest, PurgeExpiredRequest};
use token_registry::store;

use crate::support::postgres::{Cluster, FAST};
use crate::support::{Registry, config_for, connect, keys};

/// The statements of docs/operating.md, *Rights in the database*.
fn documented(role: &str) -> Vec<String> {
    let page = include_str!("../docs/operating.md");
    let section = page.split("### Rights in the database").nth(1).expect("the section");
    let statements: Vec<_> = section
        .lines()
        .skip_while(|line| !line.starts_with("    "))
        .take_while(|line| line.starts_with("    "))
        .map(|line| line.trim().trim_end_matches(';').replace("registry_server", role))
        .collect();
    assert!(statements.len() > 2, "{statements:?}");
    statements
}

#[tokio::test]
async fn a_role_that_may_only_read_and_write_the_tables_is_enough_once_another_has_migrated() {
    let cluster = Cluster::start(FAST);
    cluster.execute(&[
        "create role owner login nosuperuser",
        "create role server login nosuperuser",
        "create database registry owner owner",
    ]);
    let url = cluster.url("registry");
    // As it is from PostgreSQL 15 on.
    let as_on_15 = "revoke create on schema public from public; grant create on schema public to owner";
    connect(&url).await.batch_execute(as_on_15).await.unwrap();
    let as_role = |role: &str| url.replacen("postgres@", &format!("{role}@"), 1);
    let (owner, server) = (as_role("owner"), as_role("server"));
    assert_ne!(owner, server, "{url}");
    store::migrate(&config_for(&owner)).await.expect("the owner migrates");

    let sql = connect(&owner).await;
    for statement in documented("server") {
        sql.batch_execute(&statement).await.unwrap_or_else(|error| panic!("{statement}: {error:?}"));
    }
    let registry = Registry::on(&server, |_| {}).await;
    registry.add("ada", "laptop", "one").await.unwrap();
    registry.rotate("ada", "laptop", "one", "two").await.unwrap();
    keys::create(&registry, keys::wanted("ada")).await.unwrap();
    let purge = PurgeExpiredRequest { apply: true, ..Default::default() };
    registry.maintenance.clone().purge_expired(purge).await.unwrap();
    registry.maintenance.clone().get_statistics(GetStatisticsRequest {}).await.unwrap();
    registry.users.clone().delete_user(DeleteUserRequest { user_id: "ada".into() }).await.unwrap();

    // And no more than that.
    let sql = connect(&server).await;
    assert!(sql.batch_execute("drop table sessions").await.is_err());
    assert!(sql.batch_execute("create table mine (id int)").await.is_err());
}
