//! Statistics: counted by one replica at a time, at most once a minute, and kept in a row for all.
//!
//! Counting reads whole tables, in steps of some pages with a rest after each. Where that takes long it is done less
//! often, so that it never takes more than a small part of the database's time.

use std::convert::Infallible;
use std::time::{Duration, SystemTime};

use tokio::time::{Instant, sleep};

use super::statements::{
    COUNT_AUTH_TOKENS, COUNT_GENERIC_TOKENS, COUNT_SESSIONS, COUNT_USERS, GET_STATISTICS, PUT_STATISTICS,
    Statement, TABLES,
};
use super::tasks::Task;
use super::{Call, Effect, StatementError, Store};
use crate::registry::Failure;
use crate::registry::maintenance::{StateCount, Statistics, TableFigures};

/// For how long counts are good.
const FRESH: Duration = Duration::from_mins(1);
/// What took so long is not done again for so many times as long.
const REST: u32 = 20;
/// How many pages of 8 kB one step counts.
const PAGES: i64 = 2000;
/// How long a step may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long to wait for another replica's first count before looking again.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What is counted: the number of its `TokenKind`, its table, its statement.
const COUNTED: [(i32, &str, &Statement); 4] = [
    (1, "sessions", &COUNT_SESSIONS),
    (2, "generic_tokens", &COUNT_GENERIC_TOKENS),
    (3, "auth_tokens", &COUNT_AUTH_TOKENS),
    (4, "users", &COUNT_USERS),
];

impl Store {
    /// The statistics, counted anew if they are old and no other replica is at it.
    ///
    /// # Errors
    /// Only of the database; `Overloaded` while another replica counts for the first time.
    pub async fn statistics(&self, call: &Call) -> Result<Statistics, Failure> {
        loop {
            let known = self.known_statistics(call).await?;
            if let Some((statistics, age)) = &known
                && *age < FRESH
            {
                return Ok(statistics.clone());
            }
            if self.claim(Task::Statistics).await? {
                let begun = Instant::now();
                let statistics = self.count().await?;
                self.keep_statistics(&statistics).await?;
                self.finish(Task::Statistics, FRESH.max(begun.elapsed() * REST)).await?;
                return Ok(statistics);
            }
            if let Some((statistics, _)) = known {
                return Ok(statistics);
            }
            if Instant::now() + LOOK_EVERY > call.deadline() {
                return Err(Failure::Overloaded);
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Keeps the statistics of the metrics fresh, for as long as it is polled.
    pub async fn follow_statistics(&self) -> Infallible {
        loop {
            match self.statistics(&Call::within(PATIENCE)).await {
                Ok(statistics) => self.upkeep.counted(statistics),
                Err(failure) => tracing::debug!(?failure, "what there is wasn't counted"),
            }
            sleep(FRESH).await;
        }
    }

    async fn known_statistics(&self, call: &Call) -> Result<Option<(Statistics, Duration)>, Failure> {
        self.run(call, Effect::Reads, |c| async move {
            let Some(row) = c.row(&GET_STATISTICS, &[]).await? else { return Ok(None) };
            let age = Duration::try_from_secs_f64(row.try_get(1)?).unwrap_or_default();
            // Those of another release may read otherwise: counted anew, then.
            Ok(serde_json::from_str(row.try_get(0)?).ok().map(|statistics| (statistics, age)))
        })
        .await
    }

    async fn keep_statistics(&self, statistics: &Statistics) -> Result<(), Failure> {
        let text = &serde_json::to_string(statistics).map_err(|error| Failure::Fault(error.to_string()))?;
        self.run(&Call::within(PATIENCE), Effect::Writes, |c| async move {
            c.run(&PUT_STATISTICS, &[text, &statistics.as_of]).await?;
            Ok(())
        })
        .await
    }

    async fn count(&self) -> Result<Statistics, Failure> {
        let (as_of, tables) = self.tables().await?;
        let mut statistics = Statistics { as_of, counts: Vec::new(), oldest_over: None, tables: Vec::new() };
        for (kind, table, statement) in COUNTED {
            let Some((pages, figures)) = tables.iter().find(|(_, figures)| figures.table == table) else {
                continue;
            };
            statistics.tables.push(figures.clone());
            let mut page = 0;
            while page < *pages {
                let begun = Instant::now();
                // The last step takes what was added in the meantime along.
                let end = if page + PAGES < *pages { page + PAGES } else { i64::from(u32::MAX) };
                self.count_pages(&mut statistics, kind, statement, page, end).await?;
                page = end;
                sleep(begun.elapsed()).await;
            }
        }
        Ok(statistics)
    }

    async fn count_pages(
        &self,
        statistics: &mut Statistics,
        kind: i32,
        statement: &Statement,
        first: i64,
        end: i64,
    ) -> Result<(), Failure> {
        let rows = self
            .run(&Call::within(PATIENCE), Effect::Reads, |c| async move {
                let done = c.run(statement, &[&first, &end]).await?;
                let row = |row: &tokio_postgres::Row| {
                    let (state, purpose, count) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
                    let oldest: Option<SystemTime> = row.try_get(3)?;
                    Ok::<_, StatementError>((StateCount { kind, state, purpose, count }, oldest))
                };
                done.rows.iter().map(row).collect::<Result<Vec<_>, _>>()
            })
            .await?;
        for (counted, oldest) in rows {
            let same = statistics.counts.iter_mut().find(|known| {
                (known.kind, known.state) == (kind, counted.state) && known.purpose == counted.purpose
            });
            match same {
                Some(known) => known.count += counted.count,
                None => statistics.counts.push(counted),
            }
            statistics.oldest_over = statistics.oldest_over.into_iter().chain(oldest).min();
        }
        Ok(())
    }

    /// When it is, and each table with the number of its pages.
    async fn tables(&self) -> Result<(SystemTime, Vec<(i64, TableFigures)>), Failure> {
        self.run(&Call::within(PATIENCE), Effect::Reads, |c| async move {
            let done = c.run(&TABLES, &[]).await?;
            let first = done.rows.first().ok_or_else(|| StatementError::Fault("no tables".to_owned()))?;
            let figures = |row: &tokio_postgres::Row| {
                let figures = TableFigures {
                    table: row.try_get(0)?,
                    total_bytes: row.try_get(2)?,
                    updates: row.try_get(3)?,
                    hot_updates: row.try_get(4)?,
                };
                Ok::<_, StatementError>((row.try_get(1)?, figures))
            };
            Ok((first.try_get(5)?, done.rows.iter().map(figures).collect::<Result<Vec<_>, _>>()?))
        })
        .await
    }
}
