//! Metrics of gathering: how large the sets are, how long their first waits, and who goes singly.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use tokio::time::Instant;

use super::Label;

const SIZES: [f64; 8] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0];
/// Seconds.
const WAITS: [f64; 12] = [0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1.0, 5.0];

type Histograms = Family<[Label; 1], Histogram, fn() -> Histogram>;

/// The metrics of all lanes.
pub(super) struct Families {
    sizes: Histograms,
    waits: Histograms,
    singles: Family<[Label; 2], Counter>,
}

impl Families {
    pub(super) fn registered_in(registry: &mut Registry) -> Self {
        let families = Self {
            sizes: Family::new_with_constructor(|| Histogram::new(SIZES)),
            waits: Family::new_with_constructor(|| Histogram::new(WAITS)),
            singles: Family::default(),
        };
        registry.register(
            "token_registry_gathered_set_size",
            "Requests that went together in one statement",
            families.sizes.clone(),
        );
        registry.register(
            "token_registry_gathered_wait_seconds",
            "How long the first request of a set waited in line for it",
            families.waits.clone(),
        );
        registry.register(
            "token_registry_single_requests",
            "Requests with a statement of their own: directly, or because no set answered them",
            families.singles.clone(),
        );
        families
    }

    pub(super) fn of(&self, lane: &'static str) -> LaneMetrics {
        let singles = |why| self.singles.get_or_create_owned(&[("lane", lane), ("why", why)]);
        LaneMetrics {
            sizes: self.sizes.get_or_create_owned(&[("lane", lane)]),
            waits: self.waits.get_or_create_owned(&[("lane", lane)]),
            direct: singles("direct"),
            left_out: singles("left_out"),
        }
    }
}

/// The metrics of one lane.
#[derive(Debug, Clone)]
pub struct LaneMetrics {
    sizes: Histogram,
    waits: Histogram,
    direct: Counter,
    left_out: Counter,
}

impl LaneMetrics {
    /// A set is sent, whose first request has waited since then.
    pub fn set(&self, size: usize, since: Instant) {
        self.sizes.observe(f64::from(u32::try_from(size).unwrap_or(u32::MAX)));
        self.waits.observe(since.elapsed().as_secs_f64());
    }

    /// A request goes with a statement of its own: at once, or because its set has left it out.
    pub fn single(&self, left_out: bool) {
        if left_out { &self.left_out } else { &self.direct }.inc();
    }
}
