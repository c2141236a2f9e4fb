//! The purge takes what has been over for long and nothing else; the statistics count what there is.

use std::time::Duration;

use token_registry::config::Config;
use token_registry::proto::{
    AuthToken, Counts, GetStatisticsRequest, GetStatisticsResponse, PurgeExpiredRequest,
    PurgeExpiredResponse, TokenKind, TokenState,
};
use tokio_postgres::Client;
use tonic::Status;

use crate::support::keys::{self, wanted};
use crate::support::one_time::{consume, issue, presented, secret};
use crate::support::people::{change, get, revoke_credentials};
use crate::support::process::run;
use crate::support::sessions::seconds;
use crate::support::{Registry, assert_invalid, assert_refused, until, until_waiting_for_locks};

/// A registry that purges when it is told to.
fn quiet(config: &mut Config) {
    config.purge.interval = Duration::ZERO;
}

async fn registry() -> Registry {
    Registry::start_with(quiet).await
}

async fn purge(registry: &Registry, request: PurgeExpiredRequest) -> Result<PurgeExpiredResponse, Status> {
    registry.maintenance.clone().purge_expired(request).await.map(tonic::Response::into_inner)
}

fn applied() -> PurgeExpiredRequest {
    PurgeExpiredRequest { apply: true, ..Default::default() }
}

async fn statistics(registry: &Registry) -> GetStatisticsResponse {
    registry
        .maintenance
        .clone()
        .get_statistics(GetStatisticsRequest {})
        .await
        .expect("an answer")
        .into_inner()
}

/// Everything becomes older by so many days.
async fn pass_days(sql: &Client, days: i32) {
    let pass = format!(
        "update sessions set created = created - d, session_created = session_created - d,
           session_expires = session_expires - d, idle_expires = idle_expires - d, revoked_at = revoked_at - d
           from (select interval '{days} days' as d) d;
         update generic_tokens set created = created - d, expires = expires - d, consumed_at = consumed_at - d,
           revoked_at = revoked_at - d from (select interval '{days} days' as d) d;
         update auth_tokens set created = created - d, expires = expires - d, revoked_at = revoked_at - d
           from (select interval '{days} days' as d) d;
         update credential_changes set changed = changed - interval '{days} days'"
    );
    sql.batch_execute(&pass).await.expect("time to pass");
}

/// A user with one live thing of each kind, and one who has only things that are over.
async fn seed(registry: &Registry) -> (String, AuthToken) {
    for session in ["revoked", "other"] {
        registry.add("over", session, "one").await.unwrap();
    }
    let (_, value) = issue(registry, secret("over", "reset")).await.unwrap();
    consume(registry, presented("reset", &value)).await.unwrap();
    issue(registry, secret("over", "confirm")).await.unwrap();
    keys::create(registry, wanted("over")).await.unwrap();
    let change =
        token_registry::proto::RevokeCredentialsRequest { request_id: Some("once".into()), ..change("over") };
    revoke_credentials(registry, change).await.unwrap();
    pass_days(&registry.sql().await, 31).await;

    registry.add("ada", "laptop", "one").await.unwrap();
    registry.add("ada", "lately", "one").await.unwrap();
    registry.log_out("ada", "lately").await;
    issue(registry, secret("ada", "reset")).await.unwrap();
    let (token, key) = keys::create(registry, wanted("ada")).await.unwrap();
    // As old as a key without end may be.
    registry
        .sql()
        .await
        .execute("update auth_tokens set created = '2001-01-01' where user_id = 'ada'", &[])
        .await
        .unwrap();
    (key, token)
}

const OVER: Counts = Counts { sessions: 2, generic_tokens: 2, auth_tokens: 1 };

#[tokio::test]
async fn what_was_over_for_long_is_counted_and_then_removed_and_the_rest_stays() {
    let registry = registry().await;
    let (key, _) = seed(&registry).await;
    let before = registry.contents().await;
    let counted = purge(&registry, PurgeExpiredRequest::default()).await.unwrap();
    assert_eq!((counted.counts, counted.credential_changes), (Some(OVER), 1));
    assert_eq!((counted.examined, counted.next_page_token.as_str()), (10, ""));
    assert_eq!(registry.contents().await, before, "only counted");

    let removed = purge(&registry, applied()).await.unwrap();
    assert_eq!((removed.counts, removed.credential_changes), (Some(OVER), 1));
    let again = purge(&registry, applied()).await.unwrap();
    assert_eq!((again.counts, again.credential_changes), (Some(Counts::default()), 0));
    let (user, live) = get(&registry, "over").await.unwrap();
    assert_eq!((user.user_id.as_str(), live), ("over", Counts::default()), "user rows stay");
    assert_eq!(
        get(&registry, "ada").await.unwrap().1,
        Counts { sessions: 1, generic_tokens: 1, auth_tokens: 1 }
    );
    assert_eq!(registry.check_session("ada", "lately").await, TokenState::Revoked);
    assert_eq!(keys::state(&registry, &key).await, TokenState::Active);
    registry.rotate("ada", "laptop", "one", "two").await.unwrap();
    // The name is free again.
    registry.add("over", "revoked", "two").await.unwrap();
}

#[tokio::test]
async fn how_long_something_must_have_been_over_is_the_callers_or_the_configured() {
    let registry = Registry::start_with(|config| {
        quiet(config);
        config.purge.retention = Duration::from_hours(40 * 24);
    })
    .await;
    seed(&registry).await;
    let counted = async |older_than| {
        let request = PurgeExpiredRequest { older_than, ..Default::default() };
        purge(&registry, request).await.unwrap().counts.unwrap()
    };
    assert_eq!(counted(None).await, Counts::default());
    assert_eq!(counted(seconds(30 * 24 * 3600)).await, OVER);
    assert_eq!(counted(seconds(32 * 24 * 3600)).await, Counts::default());
    assert_eq!(counted(seconds(0)).await, Counts { sessions: 3, ..OVER });
    // The longest that a duration can be: further back than the database's calendar goes.
    assert_eq!(counted(seconds(315_576_000_000)).await, Counts::default());
}

#[tokio::test]
async fn steps_of_any_size_come_to_the_same() {
    for batch_size in [1, 2, 3, 10_000, i32::MAX] {
        let registry = registry().await;
        seed(&registry).await;
        let removed = purge(&registry, PurgeExpiredRequest { batch_size, ..applied() }).await.unwrap();
        assert_eq!((removed.counts, removed.credential_changes, removed.examined), (Some(OVER), 1, 10));
    }
}

#[tokio::test]
async fn a_call_that_has_no_time_goes_on_where_it_stopped() {
    let registry = registry().await;
    seed(&registry).await;
    let mut all = Counts::default();
    let mut request = PurgeExpiredRequest { batch_size: 1, ..applied() };
    let mut calls = 0;
    loop {
        let mut timed = tonic::Request::new(request.clone());
        // Half of it is used.
        timed.set_timeout(Duration::from_millis(400));
        let answer = registry.maintenance.clone().purge_expired(timed).await;
        let Ok(answer) = answer.map(tonic::Response::into_inner) else {
            // A busy machine: what was removed stays removed, and what it was isn't known here.
            continue;
        };
        let counts = answer.counts.unwrap();
        all.sessions += counts.sessions;
        calls += 1;
        if answer.next_page_token.is_empty() {
            break;
        }
        request.page_token = answer.next_page_token;
        let elsewhere = PurgeExpiredRequest { apply: false, ..request.clone() };
        assert_invalid(purge(&registry, elsewhere).await, &["page_token"]);
    }
    assert!(calls >= 1);
    let left = purge(&registry, PurgeExpiredRequest::default()).await.unwrap();
    assert_eq!(left.counts, Some(Counts::default()));
    assert!(all.sessions <= 2);
}

#[tokio::test]
async fn a_purge_waits_for_nobody_and_leaves_what_is_held_to_the_next() {
    let registry = registry().await;
    seed(&registry).await;
    let holder = registry.sql().await;
    holder.batch_execute("begin; select from sessions where session = 'revoked' for update").await.unwrap();
    let removed = purge(&registry, applied()).await.unwrap();
    assert_eq!(removed.counts, Some(Counts { sessions: 1, ..OVER }));
    holder.batch_execute("rollback").await.unwrap();
    let removed = purge(&registry, applied()).await.unwrap();
    assert_eq!(removed.counts, Some(Counts { sessions: 1, ..Default::default() }));
}

#[tokio::test]
async fn nobody_waits_for_a_purge() {
    let registry = Registry::start_with(|config| {
        quiet(config);
        config.statement_timeout = Duration::from_mins(5);
        config.lock_timeout = Duration::from_mins(5);
    })
    .await;
    seed(&registry).await;
    registry.add("over", "tablet", "one").await.unwrap();
    let (holder, watcher) = (registry.sql().await, registry.sql().await);
    // The purge stops in the midst of a step, with all its locks.
    holder
        .batch_execute(
            "create function wait() returns trigger language plpgsql as
               $$ begin perform pg_advisory_xact_lock(7); return old; end $$;
             create trigger wait before delete on sessions for each row execute function wait();
             select pg_advisory_lock(7)",
        )
        .await
        .unwrap();
    let purging = registry.another_client();
    let purging = tokio::spawn(async move { purge(&purging, applied()).await });
    until_waiting_for_locks(&watcher, 1).await;
    for user in ["over", "ada"] {
        registry.add(user, "phone", "one").await.unwrap();
        registry.rotate(user, "phone", "one", "two").await.unwrap();
    }
    registry.rotate("over", "tablet", "one", "two").await.unwrap();
    registry.rotate("ada", "laptop", "one", "two").await.unwrap();
    assert_eq!(registry.log_out("ada", "laptop").await, 1);
    holder.batch_execute("select pg_advisory_unlock(7)").await.unwrap();
    assert_eq!(purging.await.unwrap().unwrap().counts, Some(OVER));
}

#[tokio::test]
async fn a_purge_that_the_database_breaks_off_says_how_far_it_came() {
    let registry = Registry::start_with(|config| {
        quiet(config);
        config.lock_timeout = Duration::from_millis(20);
    })
    .await;
    seed(&registry).await;
    let holder = registry.sql().await;
    holder.batch_execute("begin; lock table generic_tokens in access exclusive mode").await.unwrap();
    let begun = purge(&registry, applied()).await.unwrap();
    assert_eq!(begun.counts, Some(Counts { sessions: OVER.sessions, ..Counts::default() }));
    assert_ne!(begun.next_page_token, "");
    // Nothing was done: that is refused.
    let on = PurgeExpiredRequest { page_token: begun.next_page_token, ..applied() };
    assert_refused(purge(&registry, on.clone()).await, tonic::Code::Unavailable, "OVERLOADED");
    holder.batch_execute("rollback").await.unwrap();
    let rest = purge(&registry, on).await.unwrap();
    assert_eq!(rest.counts, Some(Counts { sessions: 0, ..OVER }));
    assert_eq!(rest.next_page_token, "");
}

#[tokio::test]
async fn one_replica_at_a_time_purges_by_itself() {
    let registry = registry().await;
    seed(&registry).await;
    let sql = registry.sql().await;
    let count = async || -> i64 { sql.query_one("select count(*) from sessions", &[]).await.unwrap().get(0) };
    // Another replica is at it, as long as its lease goes.
    let held = "update tasks set holder = 'another', held_until = clock_timestamp() + interval '1 hour', due = '-infinity'";
    sql.execute(held, &[]).await.unwrap();
    let often = |config: &mut Config| config.purge.interval = Duration::from_millis(20);
    let _replicas = [
        Registry::on(&registry.database_url, often).await,
        Registry::on(&registry.database_url, often).await,
    ];
    // Long enough for both to have looked: by what they ask, not by the clock.
    let looks = "select calls from (select count(*) as calls from pg_stat_activity
                 where datname = current_database() and query like '-- Takes or keeps a task%') c";
    until(async || sql.query_one(looks, &[]).await.unwrap().get::<_, i64>(0) >= 2).await;
    assert_eq!(count().await, 4);
    // It is gone: its lease ends, and one of them goes on.
    sql.execute("update tasks set held_until = clock_timestamp()", &[]).await.unwrap();
    until(async || count().await == 2).await;
    let due = "select due > clock_timestamp() - interval '1 hour' from tasks where task = 'purge'";
    until(async || sql.query_one(due, &[]).await.unwrap().get(0)).await;
}

#[tokio::test]
async fn statistics_count_by_kind_state_and_purpose() {
    let registry = registry().await;
    seed(&registry).await;
    let told = statistics(&registry).await;
    let mut counts: Vec<_> =
        told.counts.iter().map(|c| (c.kind(), c.state(), c.purpose.as_str(), c.count)).collect();
    counts.sort();
    assert_eq!(
        counts,
        [
            (TokenKind::Session, TokenState::Active, "", 1),
            (TokenKind::Session, TokenState::Revoked, "", 3),
            (TokenKind::GenericToken, TokenState::Active, "reset", 1),
            (TokenKind::GenericToken, TokenState::Revoked, "confirm", 1),
            (TokenKind::GenericToken, TokenState::Consumed, "reset", 1),
            (TokenKind::AuthToken, TokenState::Active, "", 1),
            (TokenKind::AuthToken, TokenState::Revoked, "", 1),
            (TokenKind::User, TokenState::Active, "", 2),
        ]
    );
    let days = told.oldest_expired_age.unwrap().seconds / (24 * 3600);
    assert_eq!(days, 31);
    let tables: Vec<_> = told.tables.iter().map(|table| table.table.as_str()).collect();
    assert_eq!(tables, ["sessions", "generic_tokens", "auth_tokens", "users"]);
    assert!(told.tables.iter().all(|table| table.total_bytes > 0));
}

#[tokio::test]
async fn statistics_are_counted_once_a_minute_for_all_replicas() {
    let registry = registry().await;
    let replica = Registry::on(&registry.database_url, quiet).await;
    let first = statistics(&registry).await;
    registry.add("ada", "laptop", "one").await.unwrap();
    assert_eq!(statistics(&replica).await, first);
    let sql = registry.sql().await;
    sql.batch_execute(
        "update statistics set as_of = as_of - interval '1 minute';
         update tasks set due = due - interval '1 minute'",
    )
    .await
    .unwrap();
    let next = statistics(&replica).await;
    assert_ne!(next.as_of, first.as_of);
    assert!(next.counts.iter().any(|c| c.kind() == TokenKind::Session && c.count == 1), "{next:?}");
    // While another one counts, the last ones are told.
    sql.batch_execute(
        "update statistics set as_of = as_of - interval '1 minute';
         update tasks set holder = 'another', held_until = 'infinity', due = '-infinity'",
    )
    .await
    .unwrap();
    assert_eq!(statistics(&registry).await, next);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_counts_purges_and_looks() {
    let registry = registry().await;
    seed(&registry).await;
    let say = |line: &str| {
        let words: Vec<_> = line.split(' ').collect();
        run(&words, &[("TOKEN_REGISTRY_ADDRESS", &registry.address.to_string())])
    };
    let told = say("purge");
    assert!(
        told.out.contains("would be removed") && told.out.contains("--apply removes them"),
        "{}{}",
        told.out,
        told.err
    );
    let refused = say("purge --apply");
    assert!(refused.code != Some(0) && refused.err.contains("say --yes"), "{}", refused.err);
    let removed: serde_json::Value =
        serde_json::from_str(&say("purge --apply --yes --output json").out).unwrap();
    assert_eq!((&removed["sessions"], &removed["applied"]), (&2.into(), &true.into()));
    let told = say("stats");
    assert!(told.out.contains("revoked") && told.out.contains("as of"), "{}{}", told.out, told.err);
    let told: serde_json::Value = serde_json::from_str(&say("stats --output json").out).unwrap();
    assert!(told["counts"].as_array().is_some_and(|counts| !counts.is_empty()), "{told}");
}
