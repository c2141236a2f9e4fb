//! A standby takes over: from a primary that is dead, from one that hangs, and from one that lives on and knows of
//! nothing.

use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use token_registry::proto::CheckSessionRequest;
use tokio::task::block_in_place;

use crate::support::load::Load;
use crate::support::postgres::{Cluster, Database};
use crate::support::{Registry, connect, patiently, until};

/// A primary with a standby that it waits for, a registry that knows of both, and callers.
struct Pair {
    primary: Cluster,
    standby: Cluster,
    database: Database,
    registry: Registry,
    load: Load,
}

impl Pair {
    async fn start() -> Self {
        let primary = Cluster::start(&[]);
        let database = primary.create_database();
        let standby = block_in_place(|| primary.start_standby());
        primary.commit_synchronously().await;
        let registry = Registry::on(&Cluster::url_of_all(&[&primary, &standby], &database.name), |config| {
            // As an operator has it: what is seen is how soon the registry gives up and moves.
            config.database_pool_wait = Duration::from_millis(250);
            config.database_connect_timeout = Duration::from_secs(3);
            config.default_deadline = Duration::from_secs(2);
        })
        .await;
        let mut load = Load::start(registry.address, 8);
        load.until_acknowledged(100).await;
        Self { primary, standby, database, registry, load }
    }

    /// Promotes the standby and waits until it is written to.
    async fn fail_over(&mut self) {
        block_in_place(|| self.standby.promote());
        let promoted = Instant::now();
        let moved = self.moved().await;
        self.load.until_acknowledged(8).await;
        println!(
            "written to {moved:?} after the promotion, eight calls acknowledged after {:?}; {} refused, {} unknown",
            promoted.elapsed(),
            self.load.tally.unavailable.load(SeqCst),
            self.load.tally.unknown.load(SeqCst),
        );
    }

    /// How long until the standby has a rotation that the old primary never had.
    async fn moved(&self) -> Duration {
        let began = Instant::now();
        let sql = connect(&self.standby.url(&self.database.name)).await;
        let count = "select coalesce(sum(rotations), 0)::bigint from sessions";
        let before: i64 = sql.query_one(count, &[]).await.unwrap().get(0);
        until(async || sql.query_one(count, &[]).await.unwrap().get::<_, i64>(0) > before).await;
        began.elapsed()
    }

    async fn finish(mut self) {
        self.load.until_acknowledged(100).await;
        self.load.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_takes_over_from_a_dead_primary_and_has_all_that_was_acknowledged() {
    let mut pair = Pair::start().await;
    block_in_place(|| pair.primary.kill());
    pair.fail_over().await;
    pair.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_takes_over_from_a_primary_that_hangs() {
    let mut pair = Pair::start().await;
    block_in_place(|| pair.primary.pause());
    pair.fail_over().await;
    pair.load.until_acknowledged(100).await;
    // Awake again it takes itself for the primary, and nobody goes back.
    block_in_place(|| pair.primary.resume());
    pair.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_is_not_fenced_acknowledges_nothing_more_and_is_left() {
    let mut pair = Pair::start().await;
    pair.fail_over().await;
    let old = connect(&pair.primary.url(&pair.database.name)).await;
    let read_only: bool = old.query_one("select pg_is_in_recovery()", &[]).await.unwrap().get(0);
    assert!(!read_only, "the old one still takes itself for a primary");
    // Whoever connects anew, and every connection has to, finds the new one.
    let new = connect(&pair.standby.url("postgres")).await;
    for _ in 0..3 {
        let end = "select pg_terminate_backend(pid) from pg_stat_activity where datname = $1 and pid <> pg_backend_pid()";
        new.execute(end, &[&pair.database.name]).await.unwrap();
        pair.load.until_acknowledged(20).await;
    }
    let connections = "select count(*) from pg_stat_activity where datname = current_database() \
                       and application_name = 'token-registry' and state <> 'active'";
    // But for those that wait for a standby that has gone, and look-outs that come and go.
    until(async || old.query_one(connections, &[]).await.unwrap().get::<_, i64>(0) == 0).await;
    pair.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_primary_is_not_gone_back_to_when_the_new_one_is_away() {
    let mut pair = Pair::start().await;
    pair.fail_over().await;
    block_in_place(|| pair.standby.kill());
    let refused = pair.load.tally.unavailable.load(SeqCst);
    pair.load.until(|tally| tally.unavailable.load(SeqCst) > refused + 20).await;
    for _ in 0..20 {
        let question = CheckSessionRequest { user_id: "user-0".into(), session: "own".into() };
        let answer = pair.registry.whitelist.clone().check_session(question).await;
        assert!(answer.is_err(), "answered by the old primary: {answer:?}");
    }
    block_in_place(|| pair.standby.restart());
    pair.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_is_never_asked() {
    let primary = Cluster::start(&[]);
    let database = primary.create_database();
    let standby = block_in_place(|| primary.start_standby());
    // First in the list, and it would answer sooner than a primary that is far away.
    let mut registry =
        Registry::on(&Cluster::url_of_all(&[&standby, &primary], &database.name), |_| {}).await;
    registry.add("ada", "laptop", "one").await.unwrap();
    assert_eq!(registry.rotate("ada", "laptop", "one", "two").await.unwrap().token.unwrap().jti, "two");
    let sql = connect(&standby.url("postgres")).await;
    let asked = "select count(*) from pg_stat_activity where datname = $1 and query ilike '%sessions%'";
    let asked: i64 = sql.query_one(asked, &[&database.name]).await.unwrap().get(0);
    assert_eq!(asked, 0);
    registry.stop();
    patiently(registry.ended()).await;
}
