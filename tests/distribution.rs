//! What a database that is spread over several machines by `user_id` would have to do for each statement. PostgreSQL's own
//! hash partitions stand for the machines: a plan says which of them it looked at. See docs/scaling.md.

use std::collections::BTreeSet;

use serde_json::Value;
use token_registry::store::{self, STATEMENTS, Statement};
use tokio_postgres::Client;

use crate::plans::{plan, values};
use crate::support::postgres::{Cluster, Database};
use crate::support::{config_for, connect};

/// Everything that belongs to a user.
const SPREAD: [&str; 6] =
    ["users", "sessions", "generic_state", "generic_tokens", "auth_tokens", "credential_changes"];
const PARTS: usize = 4;
const USER: &str = "'user 7'";

/// Statements that the calls make for one user each. The rest goes beside them (the purge, imports, statistics), once at
/// the start, or is about many users at once: sets, which `gathering = false` does without, and batches.
fn is_of_a_call(statement: &Statement) -> bool {
    let beside =
        ["maintenance/", "import/", "server_key"].iter().any(|name| statement.name.starts_with(name));
    let of_many = ["_set.sql", "_batch.sql"].iter().any(|name| statement.name.ends_with(name));
    !beside && !of_many
}

/// A database whose tables are in parts by `user_id`, with something of a hundred users in them.
async fn spread() -> (Database, Client) {
    let database = Cluster::shared().create_database();
    store::migrate(&config_for(&database.url)).await.expect("the schema");
    let sql = connect(&database.url).await;
    for table in SPREAD {
        let key = "select pg_get_constraintdef(oid) from pg_constraint where conrelid = $1::text::regclass and contype = 'p'";
        let key: String = sql.query_one(key, &[&table]).await.expect("a primary key").get(0);
        sql.batch_execute(&format!(
            "alter table {table} rename to whole;
             create table {table} (like whole including defaults including identity including constraints)
               partition by hash (user_id);
             drop table whole cascade;
             alter table {table} add {key}"
        ))
        .await
        .unwrap_or_else(|error| panic!("{table} with {key}: {error:?}"));
        for part in 0..PARTS {
            let part = format!(
                "create table {table}_{part} partition of {table} for values with (modulus {PARTS}, remainder {part})"
            );
            sql.batch_execute(&part).await.expect("a part");
        }
    }
    sql.batch_execute(
        "create temporary view everybody as select 'user ' || n as user_id, n from generate_series(0, 99) n;
         insert into users (user_id) select user_id from everybody;
         insert into sessions (user_id, session, jti, enabled, created, session_created, session_expires, idle_expires,
                               idle_timeout, rotation_grace)
         select user_id, 'laptop', 'one', true, now(), now(), now() + interval '30 days', now() + interval '14 days',
                interval '14 days', interval '30 seconds' from everybody;
         insert into generic_state (user_id, purpose) select user_id, 'reset' from everybody;
         insert into generic_tokens (user_id, purpose, is_code, digest, challenge, created, expires, max_attempts)
         select user_id, 'reset', false, sha256(user_id::bytea), user_id, now(), now() + interval '1 day', 0 from everybody;
         insert into auth_tokens (user_id, prefix, is_drf, digest)
         select user_id, left(md5(user_id), 8), true, sha256(user_id::bytea) from everybody;
         set plan_cache_mode = force_custom_plan",
    )
    .await
    .expect("the rows");
    (database, sql)
}

/// Values under which a statement does its work for [`USER`].
fn known(statement: &Statement) -> Vec<String> {
    let of_user: &[&str] = match statement.name {
        "session/add.sql" => &["'new'", "'one'", "true", "60", "60", "30"],
        "session/rotate.sql" => &["'laptop'", "'one'", "'two'", "30", "86400", "1209600", "false"],
        "session/check.sql" | "session/get.sql" => &["'laptop'"],
        "session/revoke.sql" => &["'laptop'", "1"],
        "session/set_enabled.sql" => &["'laptop'", "true"],
        "session/revoke_all.sql" => &["null", "1"],
        "session/count_live.sql" | "session/revoke_oldest.sql" => &["1"],
        "user/set_active.sql" => &["true"],
        "user/record_credential_change.sql" => &["'change'", "1", "0", "0", "0"],
        "generic/insert.sql" => &["'reset'", "false", "'new'", "'challenge'", "null", "60", "0"],
        "generic/set_window.sql" => &["'reset'", "1", "now()"],
        "generic/consume_secret.sql" | "generic/find_secret.sql" => {
            let digest = format!("array[sha256({USER}::bytea)]");
            return vec![digest, "'reset'".into(), USER.into()];
        }
        "generic/list.sql"
        | "generic/revoke_all.sql"
        | "generic/delete_all.sql"
        | "generic/delete_state.sql" => &[],
        name if name.starts_with("generic/") => &["'reset'"],
        "auth/insert.sql" => &["'trk_'", "false", "'new'", "''"],
        "auth/find.sql" => return vec![format!("sha256({USER}::bytea)")],
        "auth/note_uses.sql" => {
            return vec![format!("array[sha256({USER}::bytea)]"), "array[now() + interval '1 hour']".into()];
        }
        _ => &[],
    };
    std::iter::once(USER).chain(of_user.iter().copied()).map(str::to_owned).collect()
}

/// The parts that a plan has looked at when it was carried out.
fn parts(plan: &Value, found: &mut BTreeSet<usize>) {
    let looked = plan["Actual Loops"].as_f64().unwrap_or_default() > 0.0;
    let part: Option<usize> =
        plan["Relation Name"].as_str().and_then(|name| name.rsplit_once('_')?.1.parse().ok());
    found.extend(part.filter(|_| looked));
    for child in plan["Plans"].as_array().into_iter().flatten() {
        parts(child, found);
    }
}

/// The parts that a statement looks at.
async fn looked_at(sql: &Client, statement: &Statement, known: &[String]) -> BTreeSet<usize> {
    let values = values(sql, statement, known).await;
    sql.batch_execute("begin").await.expect("a transaction");
    let plan = plan(sql, statement, "analyze, ", &values).await;
    sql.batch_execute("rollback").await.expect("its end");
    let mut found = BTreeSet::new();
    parts(&plan, &mut found);
    found
}

#[tokio::test]
async fn a_call_about_a_user_stays_with_the_part_that_has_the_user() {
    let (_database, sql) = spread().await;
    let home: String = sql
        .query_one(&format!("select tableoid::regclass::text from users where user_id = {USER}"), &[])
        .await
        .expect("the user")
        .get(0);
    let home: usize = home.trim_start_matches("users_").parse().expect("a part");
    let (mut astray, mut elsewhere, mut seen) = (Vec::new(), Vec::new(), 0);
    for statement in STATEMENTS.iter().filter(|statement| is_of_a_call(statement)) {
        let found = looked_at(&sql, statement, &known(statement)).await;
        seen += usize::from(!found.is_empty());
        if found.len() > 1 {
            elsewhere.push(statement.name);
        } else if found.first().is_some_and(|part| *part != home) {
            astray.push(statement.name);
        }
    }
    assert_eq!(astray, Vec::<&str>::new());
    // An API key is all that its request has. Uses are written beside the calls.
    assert_eq!(elsewhere, ["auth/find.sql", "auth/note_uses.sql"]);
    assert!(seen > 35, "only {seen} statements looked at anything");
}

#[tokio::test]
async fn a_one_time_secret_without_its_user_is_looked_for_everywhere() {
    let (_database, sql) = spread().await;
    for name in ["generic/consume_secret.sql", "generic/find_secret.sql"] {
        let statement = STATEMENTS.iter().find(|statement| statement.name == name).expect("a statement");
        let mut known = known(statement);
        known.truncate(2);
        assert_eq!(looked_at(&sql, statement, &known).await.len(), PARTS, "{name}");
    }
}
