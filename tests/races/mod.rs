//! Races: what holds however many callers come at once, and on whichever replica.
//!
//! Every race has several rounds, each with users of its own, by several channels to two replicas on one database.
//! `TOKEN_REGISTRY_TEST_ROUNDS` says how many rounds: few by default, a hundred to be sure.

mod auth_tokens;
mod codes;
mod enders;
mod history;
mod issues;
mod rotations;
mod sessions;
mod users;

use std::collections::BTreeMap;
use std::env;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use token_registry::config::Config;
use token_registry::proto::RotateRefreshTokenResponse;
use tokio::sync::Barrier;
use tokio::time::timeout;
use tonic::Status;

use crate::support::postgres::Cluster;
use crate::support::{Registry, reason};

/// How many channels lead to each replica.
const CHANNELS: usize = 3;

/// How many rounds a race has.
fn rounds() -> usize {
    rounds_or(3)
}

/// How many rounds were asked for, or so many.
pub fn rounds_or(few: usize) -> usize {
    match env::var("TOKEN_REGISTRY_TEST_ROUNDS") {
        Ok(text) => text.parse().expect("TOKEN_REGISTRY_TEST_ROUNDS is a number"),
        Err(_) => few,
    }
}

/// Two replicas on one database, and clients of both.
struct Arena {
    clients: Vec<Arc<Registry>>,
    sql: tokio_postgres::Client,
    // They end with it.
    _replicas: [Registry; 2],
}

impl Arena {
    async fn open() -> Self {
        Self::open_with(|_| {}).await
    }

    async fn open_with(change: impl Fn(&mut Config)) -> Self {
        let one = Registry::start_with(&change).await;
        let two = Registry::on(&one.database_url, &change).await;
        let clients = (0..CHANNELS * 2)
            .map(|n| if n % 2 == 0 { one.another_client() } else { two.another_client() })
            .map(Arc::new)
            .collect();
        let sql = one.sql().await;
        // The second replica goes before the first, which owns the database.
        Self { clients, sql, _replicas: [two, one] }
    }

    /// A client; neighbours in number reach different replicas.
    fn client(&self, n: usize) -> Arc<Registry> {
        Arc::clone(&self.clients[n % self.clients.len()])
    }

    /// The one number that a query answers about a user.
    async fn count(&self, query: &str, user_id: &str) -> i64 {
        self.sql.query_one(query, &[&user_id]).await.expect("a count").get(0)
    }

    /// Moves a session's last rotation into the past.
    async fn age_rotation(&self, user_id: &str, seconds: i32) {
        let moved = self
            .sql
            .execute(
                "update sessions set created = created - make_interval(secs => $2) where user_id = $1",
                &[&user_id, &f64::from(seconds)],
            )
            .await
            .expect("an update");
        assert_eq!(moved, 1);
    }

    /// Locks rows and holds them, so that calls sent now are sure to meet: see [`Held`].
    async fn hold(&self, query: &str, user_id: &str) -> Held<'_> {
        let holder = self.clients[0].sql().await;
        holder.batch_execute("begin").await.expect("a transaction");
        holder.execute(query, &[&user_id]).await.expect("the locks");
        Held { arena: self, holder }
    }

    /// At the end of a race: the database had to break up no deadlock.
    async fn close(self) {
        let row = self.sql.query_one("select current_database()::text", &[]).await.expect("a name");
        let database: String = row.get(0);
        let log = Cluster::shared().log();
        let deadlocks: Vec<_> = log
            .lines()
            .filter(|line| line.contains("deadlock detected"))
            .filter(|line| line.split_whitespace().any(|word| word == database))
            .collect();
        assert!(deadlocks.is_empty(), "{deadlocks:#?}");
    }
}

/// Rows that calls are waiting for.
struct Held<'a> {
    arena: &'a Arena,
    holder: tokio_postgres::Client,
}

impl Held<'_> {
    /// Answers once at least so many statements are waiting in the database.
    async fn waited_for_by(&self, statements: i64) {
        let waiting = "select count(*) from pg_stat_activity
            where datname = current_database() and wait_event_type = 'Lock' and $1 <> ''";
        let come = async { while self.arena.count(waiting, "any").await < statements {} };
        // Bounds the failure, when a call doesn't wait that should.
        let patience = Duration::from_secs(20);
        assert!(timeout(patience, come).await.is_ok(), "fewer than {statements} statements wait");
    }

    async fn release(self) {
        self.holder.batch_execute("commit").await.expect("a commit");
    }

    async fn release_when_waited_for_by(self, statements: i64) {
        self.waited_for_by(statements).await;
        self.release().await;
    }
}

/// Sends all calls at one moment, each from a task of its own, and answers what each was answered, in order.
async fn at_once<T, F>(calls: impl IntoIterator<Item = F>) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let calls: Vec<_> = calls.into_iter().collect();
    let start = Arc::new(Barrier::new(calls.len()));
    let tasks = calls.into_iter().map(|call| {
        let start = Arc::clone(&start);
        tokio::spawn(async move {
            start.wait().await;
            call.await
        })
    });
    // All are spawned before the first is waited for.
    let tasks: Vec<_> = tasks.collect();
    join_all(tasks).await.into_iter().map(|done| done.expect("the task doesn't panic")).collect()
}

/// The word for how a rotation was answered: its outcome, or its reason to refuse.
fn word(answer: &Result<RotateRefreshTokenResponse, Status>) -> String {
    match answer {
        Ok(answer) => answer.outcome().as_str_name().trim_start_matches("ROTATION_OUTCOME_").to_owned(),
        Err(status) => reason(status),
    }
}

/// `OK`, or the reason of a refusal.
fn verdict<T>(answer: &Result<T, Status>) -> String {
    answer.as_ref().map_or_else(reason, |_| "OK".to_owned())
}

/// How often each word came.
fn tally(words: impl IntoIterator<Item = String>) -> BTreeMap<String, usize> {
    let mut tally = BTreeMap::new();
    for word in words {
        *tally.entry(word).or_default() += 1;
    }
    tally
}

/// What a [`tally`] should be.
fn expected<const N: usize>(counts: [(&str, usize); N]) -> BTreeMap<String, usize> {
    counts.into_iter().map(|(word, n)| (word.to_owned(), n)).collect()
}
