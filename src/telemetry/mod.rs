//! What the registry tells of itself: logs, the audit log, metrics, traces.

mod audit;
mod calls;
mod lanes;
mod logs;
mod metrics;
mod scrape;
pub mod traces;
mod upkeep;

use std::path::PathBuf;

use opentelemetry_otlp::ExporterBuildError;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

pub use audit::{Record as AuditRecord, denied as audit_denied};
pub use calls::{CallMetrics, InFlight};
pub use lanes::LaneMetrics;
pub use metrics::{Metrics, RotationResult};
pub use scrape::serve as serve_metrics;
pub use upkeep::UpkeepMetrics;

use crate::config::Config;

/// A label of a metric: name and value.
type Label = (&'static str, &'static str);

/// Why the process can't tell of itself as it is configured to.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The audit log can't be opened.
    #[error("can't open the audit log {0}: {1}")]
    Audit(PathBuf, std::io::Error),
    /// The collector of traces can't be one.
    #[error("can't send traces: {0}")]
    Traces(#[from] ExporterBuildError),
}

/// What has to be ended with the process.
#[derive(Debug)]
#[must_use = "the last traces are sent at its end"]
pub struct Telemetry {
    traces: Option<traces::Traces>,
}

/// Starts logs, audit log and traces for the whole process, and makes panics log lines. Later calls change nothing. With
/// traces it must be called in the runtime.
///
/// # Errors
/// A file can't be opened, or an address is none.
pub fn start(config: &Config) -> Result<Telemetry, TelemetryError> {
    let traces = match &config.traces_endpoint {
        Some(endpoint) => Some(traces::Traces::to(endpoint, config.traces_percent)?),
        None => None,
    };
    let mut layers = vec![logs::layer(config.log_format, &config.log_filter, config.audit_log.is_none())];
    if let Some(path) = &config.audit_log {
        let file = audit::open(path).map_err(|error| TelemetryError::Audit(path.clone(), error))?;
        layers.push(audit::layer(file));
    }
    layers.extend(traces.as_ref().map(traces::Traces::layer));
    if tracing_subscriber::registry().with(layers).try_init().is_ok() {
        std::panic::set_hook(Box::new(logs::log_panic));
    }
    Ok(Telemetry { traces })
}

impl Telemetry {
    /// Sends what is left to be sent, for a few seconds at most.
    pub async fn finish(self) {
        if let Some(traces) = self.traces {
            let _ = tokio::task::spawn_blocking(move || traces.finish()).await;
        }
    }
}
