//! How full the pool is: read when the metrics are asked for, so that taking a connection costs nothing more.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

/// The pools of connections and their names; a pool that serves for everything has one.
#[derive(Debug)]
pub(super) struct PoolStatus {
    pools: Vec<(&'static str, deadpool_postgres::Pool)>,
}

impl PoolStatus {
    pub(super) fn of(pools: [(&'static str, &deadpool_postgres::Pool); 2]) -> Self {
        let [first, second] = pools.map(|(name, pool)| (name, pool.clone()));
        let is_one = std::ptr::eq(first.1.manager(), second.1.manager());
        Self { pools: if is_one { vec![first] } else { vec![first, second] } }
    }

    fn gauge(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        name: &str,
        help: &str,
        value: impl Fn(deadpool_postgres::Status) -> usize,
    ) -> fmt::Result {
        let mut gauges = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (name, pool) in &self.pools {
            ConstGauge::new(value(pool.status())).encode(gauges.encode_family(&[("pool", *name)])?)?;
        }
        Ok(())
    }
}

impl Collector for PoolStatus {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let to = &mut encoder;
        self.gauge(to, "token_registry_pool_connections_max", "Connections that the pool may hold", |s| {
            s.max_size
        })?;
        self.gauge(to, "token_registry_pool_connections", "Connections that the pool holds", |s| s.size)?;
        self.gauge(to, "token_registry_pool_connections_in_use", "Connections that are in use", |s| {
            s.size.saturating_sub(s.available)
        })?;
        self.gauge(to, "token_registry_pool_waiting", "Requests that wait for a connection", |s| s.waiting)
    }
}
