//! Metrics of upkeep: what the purge takes away, and what there is, as it was last counted. Nothing is looked up when
//! they are asked for.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::Label;
use crate::proto::{TokenKind, TokenState};
use crate::registry::maintenance::{PurgedKind, Statistics};

/// What is known of upkeep.
#[derive(Debug, Clone, Default)]
pub struct UpkeepMetrics(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    /// By the kinds' numbers.
    purged: [u64; PurgedKind::ALL.len()],
    /// For how long something must have been over; none where no replica purges by itself.
    retention: Option<Duration>,
    finished: Option<SystemTime>,
    statistics: Option<Statistics>,
}

impl UpkeepMetrics {
    /// The replicas purge by themselves what has been over for so long.
    pub fn retained_for(&self, retention: Duration) {
        self.known().retention = Some(retention);
    }

    /// So many rows of a kind were removed.
    pub fn purged(&self, kind: PurgedKind, count: i64) {
        self.known().purged[kind as usize] += u64::try_from(count).unwrap_or_default();
    }

    /// This replica's purge has gone through all tables.
    pub fn purge_finished(&self) {
        self.known().finished = Some(SystemTime::now());
    }

    /// This is what there is.
    pub fn counted(&self, statistics: Statistics) {
        self.known().statistics = Some(statistics);
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Collector for UpkeepMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let known = self.known();
        let to = &mut encoder;
        counters(
            to,
            "token_registry_purged",
            "Rows that this replica's purge removed",
            PurgedKind::ALL.iter().map(|kind| ([("kind", purged_kind(*kind))], known.purged[*kind as usize])),
        )?;
        gauge(
            to,
            "token_registry_purge_retention_seconds",
            "For how long something must have been over until the purge takes it",
            known.retention.map(|retention| retention.as_secs_f64()),
        )?;
        gauge(
            to,
            "token_registry_purge_finished_timestamp_seconds",
            "When this replica last finished a purge of all tables; since its start",
            known.finished.map(unix),
        )?;

        let statistics = known.statistics.as_ref();
        gauge(
            to,
            "token_registry_counted_timestamp_seconds",
            "When the rows were last counted, by whichever replica",
            statistics.map(|statistics| unix(statistics.as_of)),
        )?;
        gauge(
            to,
            "token_registry_oldest_expired_age_seconds",
            "How long the row has been over that has been so for longest; 0: nothing is over",
            statistics.map(|statistics| {
                let since = statistics.oldest_over.unwrap_or(statistics.as_of);
                statistics.as_of.duration_since(since).unwrap_or_default().as_secs_f64()
            }),
        )?;
        rows(to, statistics)?;
        let tables = || statistics.into_iter().flat_map(|statistics| &statistics.tables);
        let mut sizes = to.encode_descriptor(
            "token_registry_table_bytes",
            "Size of a table with its indexes",
            None,
            MetricType::Gauge,
        )?;
        for table in tables() {
            let labels = [("table", table.table.as_str())];
            ConstGauge::new(table.total_bytes).encode(sizes.encode_family(&labels)?)?;
        }
        for (name, help, of) in [
            ("token_registry_table_updates", "Updates of rows", 0),
            (
                "token_registry_table_hot_updates",
                "Updates of rows that stayed on their page and wrote no index",
                1,
            ),
        ] {
            let count = tables().map(|table| {
                let updates = [table.updates, table.hot_updates][of];
                ([("table", table.table.as_str())], u64::try_from(updates).unwrap_or_default())
            });
            counters(to, name, help, count)?;
        }
        Ok(())
    }
}

/// Rows by kind and state: of all purposes together, since those come from requests.
fn rows(to: &mut DescriptorEncoder<'_>, statistics: Option<&Statistics>) -> fmt::Result {
    let mut counts: Vec<([Label; 2], i64)> = Vec::new();
    for counted in statistics.into_iter().flat_map(|statistics| &statistics.counts) {
        let labels = [("kind", kind(counted.kind)), ("state", state(counted.state))];
        match counts.iter_mut().find(|(known, _)| *known == labels) {
            Some((_, count)) => *count += counted.count,
            None => counts.push((labels, counted.count)),
        }
    }
    let help = "Rows by kind and state, as last counted";
    let mut rows = to.encode_descriptor("token_registry_rows", help, None, MetricType::Gauge)?;
    for (labels, count) in counts {
        ConstGauge::new(count).encode(rows.encode_family(&labels)?)?;
    }
    Ok(())
}

fn gauge(to: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: Option<f64>) -> fmt::Result {
    let encoder: MetricEncoder<'_> = to.encode_descriptor(name, help, None, MetricType::Gauge)?;
    value.map_or(Ok(()), |value| ConstGauge::new(value).encode(encoder))
}

fn counters<'a>(
    to: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: impl Iterator<Item = ([(&'static str, &'a str); 1], u64)>,
) -> fmt::Result {
    let mut counters = to.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (labels, value) in values {
        ConstCounter::new(value).encode(counters.encode_family(&labels)?)?;
    }
    Ok(())
}

fn unix(time: SystemTime) -> f64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

fn purged_kind(kind: PurgedKind) -> &'static str {
    match kind {
        PurgedKind::Sessions => "session",
        PurgedKind::GenericTokens => "generic_token",
        PurgedKind::AuthTokens => "auth_token",
        PurgedKind::CredentialChanges => "credential_change",
    }
}

fn kind(number: i32) -> &'static str {
    match TokenKind::try_from(number) {
        Ok(TokenKind::Session) => "session",
        Ok(TokenKind::GenericToken) => "generic_token",
        Ok(TokenKind::AuthToken) => "auth_token",
        Ok(TokenKind::User) => "user",
        Ok(TokenKind::Unspecified) | Err(_) => "other",
    }
}

fn state(number: i32) -> &'static str {
    let name = TokenState::try_from(number).unwrap_or_default().as_str_name();
    name.strip_prefix("TOKEN_STATE_").unwrap_or(name)
}
