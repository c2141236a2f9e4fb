//! How PostgreSQL finds what a statement is about: by an index, whatever is or isn't known of the tables, and in a set
//! by one look-up a member.

use serde_json::Value;
use token_registry::store::{self, NEVER_COMPILED, PINNED_PLANS, STATEMENTS, Statement};
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::support::postgres::{Cluster, Database, FAST};
use crate::support::{config_for, connect};

const SESSIONS: usize = 1_000_000;
const SESSIONS_PER_USER: usize = 5;
/// The sizes of sets: one, a few, the most that are gathered, the most of a batch, and beyond.
const SIZES: [usize; 5] = [1, 8, 128, 500, 512];
/// The tables that grow with the users.
const GROWING: [&str; 5] = ["users", "sessions", "generic_tokens", "generic_state", "auth_tokens"];

/// Whether a statement is meant to walk a table in bounded steps, beside the calls.
fn may_walk(statement: &Statement) -> bool {
    statement.name.starts_with("maintenance/")
}

fn is_set(statement: &Statement) -> bool {
    statement.name.ends_with("_set.sql") || statement.name.ends_with("_batch.sql")
}

/// A database with the registry's schema and nothing in it, and a connection whose plans are pinned as those are that
/// carry sets, or aren't.
async fn database(cluster: &Cluster, pinned: bool) -> (Database, Client) {
    let database = cluster.create_database();
    store::migrate(&config_for(&database.url)).await.expect("the schema");
    let sql = connect(&database.url).await;
    set(&sql, NEVER_COMPILED).await;
    if pinned {
        set(&sql, PINNED_PLANS).await;
    }
    (database, sql)
}

async fn set(sql: &Client, options: &str) {
    for option in options.split("-c ").map(str::trim).filter(|option| !option.is_empty()) {
        sql.batch_execute(&format!("set {option}")).await.expect("an option");
    }
}

/// A million sessions, of which the planner knows.
async fn fill(sql: &Client) {
    let users = SESSIONS / SESSIONS_PER_USER;
    let fill = format!(
        "set session_replication_role = replica;
         insert into users (user_id) select 'user ' || u from generate_series(0, {users} - 1) u;
         insert into sessions (user_id, session, jti, enabled, created, session_created, session_expires, idle_expires,
                               idle_timeout, rotation_grace)
         select 'user ' || n / {SESSIONS_PER_USER}, 'session ' || n, 'jti ' || n, true, now(), now(),
                now() + interval '30 days', now() + interval '14 days', interval '14 days', interval '30 seconds'
         from generate_series(0, {SESSIONS} - 1) n;
         insert into generic_state (user_id, purpose) select 'user ' || u, 'reset' from generate_series(0, {users} - 1) u;
         insert into generic_tokens (user_id, purpose, is_code, digest, challenge, created, expires, max_attempts)
         select 'user ' || u, 'reset', false, sha256(u::text::bytea), u::text, now(), now() + interval '1 day', 0
         from generate_series(0, {users} - 1) u;
         insert into auth_tokens (user_id, prefix, is_drf, digest)
         select 'user ' || u, left(md5(u::text), 8), true, sha256(u::text::bytea) from generate_series(0, {users} - 1) u;
         reset session_replication_role"
    );
    sql.batch_execute(&fill).await.expect("the rows");
    sql.batch_execute("vacuum analyze").await.expect("the statistics");
}

/// The plan by which a statement is carried out with these values, and what came of it if `how` says so.
pub async fn plan(sql: &Client, statement: &Statement, how: &str, values: &[String]) -> Value {
    let prepare = format!("deallocate all; prepare statement as {}", statement.sql());
    sql.batch_execute(&prepare).await.unwrap_or_else(|error| panic!("{}: {error:?}", statement.name));
    let values = if values.is_empty() { String::new() } else { format!("({})", values.join(", ")) };
    let explain = format!("explain ({how}format json) execute statement{values}");
    let answer =
        sql.simple_query(&explain).await.unwrap_or_else(|error| panic!("{}: {error:?}", statement.name));
    let text = answer.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    let plans: Value = serde_json::from_str(text.expect("a plan")).expect("JSON");
    // Compiling takes longer than any statement here.
    assert!(plans[0]["JIT"].is_null(), "{} is compiled", statement.name);
    plans[0]["Plan"].clone()
}

/// A value for each parameter of a statement: the known ones, then nulls.
pub async fn values(sql: &Client, statement: &Statement, known: &[String]) -> Vec<String> {
    let parameters = sql.prepare(statement.sql()).await.expect("a statement").params().len();
    let mut values = known.to_vec();
    values.resize(parameters.max(known.len()), "null".to_owned());
    values.truncate(parameters);
    values
}

/// All nodes of a plan that read one of the tables.
fn readers<'a>(plan: &'a Value, found: &mut Vec<&'a Value>) {
    if plan["Relation Name"].as_str().is_some_and(|table| GROWING.contains(&table))
        && plan["Operation"].is_null()
    {
        found.push(plan);
    }
    for child in plan["Plans"].as_array().into_iter().flatten() {
        readers(child, found);
    }
}

/// Nodes of a plan that read a table from one end to the other.
fn walks(plan: &Value) -> Vec<String> {
    let mut all = Vec::new();
    readers(plan, &mut all);
    let conditions = ["Index Cond", "TID Cond", "Recheck Cond"];
    let walks = all.into_iter().filter(|node| conditions.iter().all(|condition| node[*condition].is_null()));
    walks.map(|node| format!("{} on {}", node["Node Type"], node["Relation Name"])).collect()
}

/// Statements whose plan reads a table from one end to the other.
async fn that_walk(sql: &Client, which: impl Fn(&Statement) -> bool) -> Vec<String> {
    let mut wrong = Vec::new();
    for statement in STATEMENTS.iter().filter(|statement| which(statement)) {
        let values = values(sql, statement, &[]).await;
        for walk in walks(&plan(sql, statement, "", &values).await) {
            wrong.push(format!("{}: {walk}", statement.name));
        }
    }
    wrong
}

#[tokio::test]
async fn sets_planned_on_empty_tables_look_up_their_members() {
    let (_database, sql) = database(Cluster::shared(), true).await;
    assert_eq!(that_walk(&sql, is_set).await, Vec::<String>::new());
}

#[tokio::test]
async fn at_a_million_sessions_everything_is_found_by_an_index() {
    let cluster = Cluster::start(FAST);
    let (_database, sql) = database(&cluster, false).await;
    fill(&sql).await;

    sql.batch_execute("set plan_cache_mode = force_generic_plan").await.expect("an option");
    let single = |statement: &Statement| !is_set(statement) && !may_walk(statement);
    assert_eq!(that_walk(&sql, single).await, Vec::<String>::new());

    set(&sql, PINNED_PLANS).await;
    assert_eq!(
        that_walk(&sql, |statement| statement.name.starts_with("maintenance/purge_")).await,
        Vec::<String>::new()
    );
    let array = |name: fn(usize) -> String, size: usize| {
        // Spread over the table, no two of one user.
        let names: Vec<_> = (0..size).map(|n| format!("'{}'", name(n * (SESSIONS / 512)))).collect();
        format!("array[{}]", names.join(", "))
    };
    for statement in STATEMENTS.iter().filter(|statement| is_set(statement)) {
        for size in SIZES {
            let users = array(|n| format!("user {}", n / SESSIONS_PER_USER), size);
            let second = if statement.name.starts_with("generic/") {
                array(|_| "reset".into(), size)
            } else {
                array(|n| format!("session {n}"), size)
            };
            let all = |value: &str| format!("array[{}]", vec![value; size].join(", "));
            let known = match statement.name {
                // Of sessions that are there: nothing is added, all is looked up.
                "session/add_set.sql" => {
                    let (flags, seconds) = (all("true"), all("60"));
                    vec![users, second.clone(), second, flags, seconds.clone(), seconds.clone(), seconds]
                }
                "generic/insert_set.sql" => {
                    let digests = all("''::bytea");
                    let (codes, challenges) = (all("false"), all("'new'"));
                    vec![users, second, codes, digests, challenges, "null".into(), all("60"), all("0")]
                }
                "session/count_live_set.sql" => vec![users, "1000".into()],
                "session/rotate_set.sql" => {
                    let (jtis, new) =
                        (array(|n| format!("jti {n}"), size), array(|n| format!("new {n}"), size));
                    vec![users, second, jtis, new, "30".into(), "86400".into(), "1209600".into()]
                }
                "session/revoke_set.sql" => vec![users, second, all("1")],
                "auth/find_set.sql" => {
                    let digests: Vec<_> = (0..size).map(|n| format!("sha256('{n}'::bytea)")).collect();
                    vec![format!("array[{}]", digests.join(", "))]
                }
                "generic/consume_secret_set.sql" => vec![second, users],
                _ => vec![users, second],
            };
            let values = values(&sql, statement, &known).await;
            sql.batch_execute("begin").await.expect("a transaction");
            let plan = plan(&sql, statement, "analyze, timing off, ", &values).await;
            sql.batch_execute("rollback").await.expect("its end");
            assert_eq!(walks(&plan), Vec::<String>::new(), "{} of {size}", statement.name);

            let mut found = Vec::new();
            readers(&plan, &mut found);
            for node in found {
                let count = |name: &str| node[name].as_f64().unwrap_or_default();
                let read = (count("Actual Rows") + count("Rows Removed by Filter")) * count("Actual Loops");
                // A user's five sessions are counted where a session is opened.
                let most = u32::try_from(size * SESSIONS_PER_USER).expect("a small number");
                assert!(read <= f64::from(most), "{} of {size} reads {read} rows: {node:#}", statement.name);
            }
        }
    }
}
