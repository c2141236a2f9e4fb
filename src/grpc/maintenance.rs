//! `MaintenanceService`.

use std::sync::Arc;

use prost_types::{Duration, Timestamp};
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use super::acts::Act;
use super::answer::command;
use super::message::{counts_out, parts};
use super::{Registry, page_token_in, read, status};
use crate::proto::maintenance_service_server::MaintenanceService;
use crate::proto::{
    GetStatisticsRequest, GetStatisticsResponse, PurgeExpiredRequest, PurgeExpiredResponse, StatisticsCount,
    TableStatistics,
};
use crate::registry::fields::Zero;
use crate::registry::maintenance::{Purge, PurgePlace, Statistics, TableFigures};

/// Most rows that one step may be asked to look at.
const BATCH_MAX: u32 = 10_000;

/// A thousand years: nothing has been over for longer. A request may name ten thousand, and so far back PostgreSQL's
/// calendar doesn't go.
const OVER_FOR_MAX: std::time::Duration = std::time::Duration::from_hours(1000 * 365 * 24);

#[tonic::async_trait]
impl MaintenanceService for Registry {
    async fn purge_expired(
        &self,
        request: Request<PurgeExpiredRequest>,
    ) -> Result<Response<PurgeExpiredResponse>, Status> {
        let (metadata, extensions, r) = request.into_parts();
        let schedule = self.store.limits().purge;
        let keys = self.store.keys().map_err(status::of)?;
        let sealed_for = format!("{:?}", r.older_than.map(|d| (d.seconds, d.nanos)));
        let query = ["PurgeExpired".to_owned(), r.apply.to_string(), sealed_for];
        let query_of = || query.each_ref().map(String::as_str);
        let (purge, from) = read(|f| {
            let batch_size = match u32::try_from(r.batch_size) {
                Ok(0) => schedule.batch_size,
                Ok(size) => size.min(BATCH_MAX),
                Err(_) => {
                    f.refuse("batch_size", "must not be negative");
                    1
                }
            };
            let older_than = f.duration("older_than", parts(r.older_than), Zero::Allowed);
            let older_than = older_than.map_or(schedule.retention, |asked| asked.min(OVER_FOR_MAX));
            let from = page_token_in(f, &r.page_token, |token| PurgePlace::open(keys, &query_of(), token));
            (Purge { apply: r.apply, batch_size, older_than }, from)
        })?;
        let (store, acts) = (Arc::clone(&self.store), self.acts(&extensions));
        let query = query.clone();
        command(&metadata, self.bulk_deadline, |call| async move {
            let now = Instant::now();
            let until = now + call.deadline().saturating_duration_since(now) / 2;
            let rows_estimate = store.rows_estimate(&call).await?;
            let purged = store.purge(&call, &purge, from, until).await;
            if purge.apply {
                let retention = format!("older than {}", humantime::format_duration(purge.older_than));
                acts.record(
                    Act::on_all("PurgeExpired").to(&retention),
                    purged.as_ref().map(|purged| purged.counts),
                );
            }
            let purged = purged?;
            let query = query.each_ref().map(String::as_str);
            let keys = store.keys()?;
            Ok(PurgeExpiredResponse {
                counts: Some(counts_out(purged.counts)),
                credential_changes: purged.credential_changes,
                next_page_token: purged.next.map_or_else(String::new, |next| next.seal(keys, &query)),
                examined: purged.examined,
                rows_estimate,
            })
        })
        .await
    }

    async fn get_statistics(
        &self,
        request: Request<GetStatisticsRequest>,
    ) -> Result<Response<GetStatisticsResponse>, Status> {
        let (metadata, _, GetStatisticsRequest {}) = request.into_parts();
        let store = Arc::clone(&self.store);
        // Once begun, counting goes on after its caller has left: the next one has the use of it.
        command(&metadata, self.bulk_deadline, |call| async move {
            Ok(statistics_out(store.statistics(&call).await?))
        })
        .await
    }
}

fn statistics_out(statistics: Statistics) -> GetStatisticsResponse {
    let age = statistics.oldest_over.and_then(|since| statistics.as_of.duration_since(since).ok());
    GetStatisticsResponse {
        counts: statistics
            .counts
            .into_iter()
            .map(|c| StatisticsCount { kind: c.kind, state: c.state, purpose: c.purpose, count: c.count })
            .collect(),
        as_of: Some(Timestamp::from(statistics.as_of)),
        oldest_expired_age: age.and_then(|age| Duration::try_from(age).ok()),
        tables: statistics.tables.into_iter().map(table_out).collect(),
    }
}

fn table_out(table: TableFigures) -> TableStatistics {
    #[expect(clippy::cast_precision_loss, reason = "a share needs no more digits")]
    let share = (table.updates > 0).then(|| table.hot_updates as f64 / table.updates as f64);
    TableStatistics {
        table: table.table,
        total_bytes: table.total_bytes,
        updates: table.updates,
        hot_updates: table.hot_updates,
        hot_share: share,
    }
}
