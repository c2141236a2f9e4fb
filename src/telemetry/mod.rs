//! What the registry tells of itself: logs, metrics.

mod calls;
mod lanes;
mod logs;
mod metrics;
mod scrape;

pub use calls::{CallMetrics, InFlight};
pub use lanes::LaneMetrics;
pub use logs::start;
pub use metrics::{Metrics, RotationResult};
pub use scrape::serve as serve_metrics;
