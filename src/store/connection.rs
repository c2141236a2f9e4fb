//! One connection: statements, transactions in one round trip, and what each error says of the effect.

use std::time::Duration;

use deadpool_postgres::Object;
use futures_util::TryStreamExt as _;
use futures_util::future::{join, join_all, join3};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Error, Row};
use tracing::{Instrument as _, Span};

use super::Statement;
use crate::registry::{Failure, Refusal};
use crate::telemetry::traces;

/// Parameters of a statement.
pub(super) type Params<'a> = &'a [&'a (dyn ToSql + Sync)];

/// A statement and its parameters, to be sent.
pub(super) type Step<'a> = (&'static Statement, Params<'a>);

/// What a statement did.
#[derive(Debug)]
pub(super) struct Done {
    /// The rows that it answered.
    pub(super) rows: Vec<Row>,
    /// How many rows it touched.
    pub(super) affected: i64,
}

impl Done {
    /// The one row that there may be.
    pub(super) fn into_row(self) -> Option<Row> {
        self.rows.into_iter().next()
    }
}

/// Why a statement has no answer, by what is known of its effect.
#[derive(Debug)]
pub(super) enum StatementError {
    /// The rules refuse the call; nothing was written.
    Refused(Failure),
    /// A lock, a deadlock or a time limit: certainly not applied, worth another try.
    TurnedAway,
    /// The connection is to a server that is no longer the primary: not applied, try on another connection.
    Stale,
    /// The connection was lost: whatever was sent may have been applied, or not.
    Lost,
    /// The database can't do it now (disk full, out of memory): not applied.
    Unable,
    /// The database says that the statement is wrong: a fault of ours, not applied.
    Fault(String),
}

impl From<Failure> for StatementError {
    fn from(failure: Failure) -> Self {
        Self::Refused(failure)
    }
}

impl From<Refusal> for StatementError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal.into())
    }
}

impl From<Error> for StatementError {
    fn from(error: Error) -> Self {
        let Some(db) = error.as_db_error() else {
            return if error.is_closed()
                || std::error::Error::source(&error)
                    .is_some_and(<dyn std::error::Error>::is::<std::io::Error>)
            {
                Self::Lost
            } else {
                // Encoding or decoding of a value: no statement of ours should get here.
                Self::Fault(error.to_string())
            };
        };
        let code = db.code();
        match code.code() {
            "40001" | "40P01" | "55P03" | "57014" => Self::TurnedAway,
            // Ended by an administrator or a crash: it may have been after the commit.
            "57P01" | "57P02" | "57P03" | "57P05" | "25P03" => Self::Lost,
            // 25006: a primary that became a standby. 0A000: "cached plan must not change result type", a migration ran
            // beside us. A new connection finds the primary and plans anew.
            "25006" | "0A000" => Self::Stale,
            code if code.starts_with("08") => Self::Lost,
            code if code.starts_with("53") || code.starts_with("58") => Self::Unable,
            // The message of PostgreSQL names columns and constraints, its detail would name values: not kept.
            _ => Self::Fault(format!("SQLSTATE {}: {}", code.code(), db.message())),
        }
    }
}

/// The span of a round trip that sends these.
fn round_trip(steps: &[Step<'_>]) -> Span {
    steps.first().map_or_else(Span::none, |(first, _)| traces::round_trip(first.name, steps.len()))
}

/// A connection out of the pool.
pub(super) struct Connection {
    object: Object,
}

impl Connection {
    pub(super) fn new(object: Object) -> Self {
        Self { object }
    }

    /// Doesn't go back to the pool, nor stay those that wait there: what has befallen this one has befallen them too,
    /// and would cost a call each to find out.
    pub(super) fn discard(self) {
        if let Some(pool) = Object::pool(&self.object) {
            pool.retain(|_, _| false);
        }
        drop(Object::take(self.object));
    }

    /// Asks for a sign of life.
    pub(super) async fn ping(&self) -> Result<(), StatementError> {
        Ok(self.object.batch_execute("select 1").await?)
    }

    /// Runs commands that answer nothing, outside of any transaction.
    pub(super) async fn command(&self, sql: &str) -> Result<(), StatementError> {
        Ok(self.object.batch_execute(sql).await?)
    }

    /// Runs one statement.
    pub(super) async fn run(
        &self,
        statement: &Statement,
        params: Params<'_>,
    ) -> Result<Done, StatementError> {
        let running = async {
            let prepared = self.object.prepare_cached(statement.sql()).await?;
            Ok(self.send(&prepared, params).await?)
        };
        running.instrument(traces::round_trip(statement.name, 1)).await
    }

    /// Runs one statement and answers the one row that there may be.
    pub(super) async fn row(
        &self,
        statement: &Statement,
        params: Params<'_>,
    ) -> Result<Option<Row>, StatementError> {
        Ok(self.run(statement, params).await?.into_row())
    }

    /// Runs statements one after the other, each a transaction of its own, in one round trip.
    pub(super) async fn each<const N: usize>(
        &self,
        steps: [Step<'_>; N],
    ) -> Result<[Done; N], StatementError> {
        let prepared = self.prepare(&steps).await?;
        Ok(self.send_all(&prepared, &steps).instrument(round_trip(&steps)).await?)
    }

    /// Runs statements as one transaction, all in one round trip.
    pub(super) async fn transaction<const N: usize>(
        &self,
        begin: &str,
        steps: [Step<'_>; N],
    ) -> Result<[Done; N], StatementError> {
        let prepared = self.prepare(&steps).await?;
        let (begun, done, committed) = join3(
            self.object.batch_execute(begin),
            self.send_all(&prepared, &steps),
            self.object.batch_execute("commit"),
        )
        .instrument(round_trip(&steps))
        .await;
        begun?;
        let done = done?;
        committed?;
        Ok(done)
    }

    /// Begins a transaction and runs its first statements, in one round trip. [`Self::commit`] or [`Self::rollback`]
    /// must follow; after an error here the transaction is over.
    pub(super) async fn begin<const N: usize>(
        &self,
        begin: &str,
        steps: [Step<'_>; N],
    ) -> Result<[Done; N], StatementError> {
        let prepared = self.prepare(&steps).await?;
        let (begun, done) = join(self.object.batch_execute(begin), self.send_all(&prepared, &steps))
            .instrument(round_trip(&steps))
            .await;
        let result = begun.and(done);
        if result.is_err() {
            self.rollback().await;
        }
        Ok(result?)
    }

    /// Runs more statements of a transaction, in one round trip.
    pub(super) async fn proceed<const N: usize>(
        &self,
        steps: [Step<'_>; N],
    ) -> Result<[Done; N], StatementError> {
        let proceeding = async { Ok(self.send_all(&self.prepare(&steps).await?, &steps).await?) };
        let done = proceeding.instrument(round_trip(&steps)).await;
        if done.is_err() {
            self.rollback().await;
        }
        done
    }

    /// Runs the last statements of a transaction and commits, in one round trip.
    pub(super) async fn commit<const N: usize>(
        &self,
        steps: [Step<'_>; N],
    ) -> Result<[Done; N], StatementError> {
        let prepared = match self.prepare(&steps).await {
            Ok(prepared) => prepared,
            Err(error) => {
                self.rollback().await;
                return Err(error);
            }
        };
        let (done, committed) = join(self.send_all(&prepared, &steps), self.object.batch_execute("commit"))
            .instrument(round_trip(&steps))
            .await;
        let done = done?;
        committed?;
        Ok(done)
    }

    /// Ends a transaction without effect. If even that fails, the connection is lost, and with it the transaction.
    pub(super) async fn rollback(&self) {
        if let Err(error) = self.object.batch_execute("rollback").await {
            tracing::debug!(%error, "rollback on a lost connection");
        }
    }

    async fn prepare(&self, steps: &[Step<'_>]) -> Result<Vec<tokio_postgres::Statement>, StatementError> {
        let mut prepared = Vec::with_capacity(steps.len());
        for (statement, _) in steps {
            prepared.push(self.object.prepare_cached(statement.sql()).await?);
        }
        Ok(prepared)
    }

    /// Sends all statements before it waits for the first answer: `join_all` polls in order, and the first poll sends.
    async fn send_all<const N: usize>(
        &self,
        prepared: &[tokio_postgres::Statement],
        steps: &[Step<'_>; N],
    ) -> Result<[Done; N], Error> {
        let sending = prepared.iter().zip(steps).map(|(prepared, (_, params))| self.send(prepared, params));
        let mut done = Vec::with_capacity(N);
        for result in join_all(sending).await {
            done.push(result?);
        }
        Ok(done.try_into().expect("one answer a step"))
    }

    async fn send(&self, prepared: &tokio_postgres::Statement, params: Params<'_>) -> Result<Done, Error> {
        let stream = self.object.query_raw(prepared, params.iter().copied()).await?;
        let mut stream = std::pin::pin!(stream);
        let mut rows = Vec::new();
        while let Some(row) = stream.try_next().await? {
            rows.push(row);
        }
        let affected = stream.rows_affected().unwrap_or_default();
        Ok(Done { rows, affected: i64::try_from(affected).unwrap_or(i64::MAX) })
    }
}

/// Begins a transaction of one user's few rows.
pub(super) const BEGIN: &str = "begin isolation level read committed";

/// Begins a transaction that may touch all of a user's rows and so has a time limit of its own.
pub(super) fn begin_bulk(limit: Duration) -> String {
    let limit = limit.as_millis();
    format!("{BEGIN}; set local statement_timeout = {limit}; set local lock_timeout = {limit}")
}
