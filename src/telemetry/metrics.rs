//! Metrics in Prometheus' sense, of one server.
//!
//! Whoever counts on a hot path holds the counter itself, taken once at start: counting is an addition there, without a
//! look-up by label. No label's value comes from a request: all are names of ours, so the number of series is bounded.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::{CallMetrics, Label, LaneMetrics, UpkeepMetrics, lanes};
use crate::client_info::Reading;
use crate::registry::RevocationReason;
use crate::registry::session::RotationOutcome;
use crate::registry::{Counts, Failure, Refusal};

/// Everything that one server counts.
pub struct Metrics {
    /// Locked to add a metric and to write them all out, never to count.
    registry: Mutex<Registry>,
    /// Of the gRPC calls.
    pub calls: CallMetrics,
    /// Of purge and statistics.
    pub upkeep: UpkeepMetrics,
    lanes: lanes::Families,
    rotations: [Counter; RotationResult::ALL.len()],
    revoked: Family<[Label; 2], Counter>,
    user_agents: [Counter; 3],
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::default();
        let calls = CallMetrics::registered_in(&mut registry);
        let lanes = lanes::Families::registered_in(&mut registry);
        let upkeep = UpkeepMetrics::default();
        registry.register_collector(Box::new(upkeep.clone()));
        let rotations = Family::<[Label; 1], Counter>::default();
        registry.register(
            "token_registry_rotations",
            "Rotations of refresh tokens by what came of them",
            rotations.clone(),
        );
        let revoked = Family::<[Label; 2], Counter>::default();
        registry.register(
            "token_registry_revoked",
            "Live sessions, one-time tokens and API keys that were ended before their time, by kind and reason",
            revoked.clone(),
        );
        let user_agents = Family::<[Label; 1], Counter>::default();
        registry.register(
            "token_registry_user_agents",
            "User agents by what became of them",
            user_agents.clone(),
        );
        // From 0 on, so that an alert sees the first one too.
        for reason in RevocationReason::ALL {
            for kind in ["session", "generic_token", "auth_token"] {
                let _ = revoked.get_or_create(&[("kind", kind), ("reason", reason.name())]);
            }
        }
        Self {
            registry: Mutex::new(registry),
            calls,
            upkeep,
            lanes,
            rotations: RotationResult::ALL
                .map(|result| rotations.get_or_create_owned(&[("result", result.name())])),
            revoked,
            user_agents: ["remembered", "read", "skipped"]
                .map(|result| user_agents.get_or_create_owned(&[("result", result)])),
        }
    }
}

impl Metrics {
    /// Counts a rotation by what came of it.
    pub fn rotated<T>(&self, result: &Result<(T, RotationOutcome), Failure>) {
        self.rotations[RotationResult::of(result) as usize].inc();
    }

    /// Counts what was ended before its time.
    pub fn revoked(&self, reason: RevocationReason, counts: &Counts) {
        for (kind, count) in [
            ("session", counts.sessions),
            ("generic_token", counts.generic_tokens),
            ("auth_token", counts.auth_tokens),
        ] {
            if let Ok(count @ 1..) = u64::try_from(count) {
                self.revoked.get_or_create_owned(&[("kind", kind), ("reason", reason.name())]).inc_by(count);
            }
        }
    }

    /// Counts a user agent.
    pub fn user_agent(&self, reading: &Reading) {
        let [remembered, read, skipped] = &self.user_agents;
        match reading {
            Reading::Remembered(_) => remembered.inc(),
            Reading::Read(_) => read.inc(),
            Reading::Skipped => skipped.inc(),
        };
    }

    /// The metrics of a lane of requests.
    #[must_use]
    pub fn lane(&self, name: &'static str) -> LaneMetrics {
        self.lanes.of(name)
    }

    /// Adds what is looked up when the metrics are asked for.
    pub fn add(&self, collector: impl Collector) {
        self.registry().register_collector(Box::new(collector));
    }

    /// All metrics in the text format `OpenMetrics`, which Prometheus reads.
    ///
    /// # Errors
    /// A collector can't write its metrics.
    pub fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        text::encode(&mut text, &self.registry())?;
        Ok(text)
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// What came of a rotation, as it is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RotationResult {
    /// The jti was swapped.
    Rotated,
    /// The same rotation again.
    Retried,
    /// The predecessor, in time.
    Grace,
    /// A replay: the session was revoked.
    Replayed,
    /// The rules refuse it for another reason.
    Refused,
    /// It got no answer of the rules: overload, or the database.
    Failed,
}

impl RotationResult {
    const ALL: [Self; 6] =
        [Self::Rotated, Self::Retried, Self::Grace, Self::Replayed, Self::Refused, Self::Failed];

    fn of<T>(result: &Result<(T, RotationOutcome), Failure>) -> Self {
        match result {
            Ok((_, RotationOutcome::Rotated)) => Self::Rotated,
            Ok((_, RotationOutcome::Retried)) => Self::Retried,
            Ok((_, RotationOutcome::Grace)) => Self::Grace,
            Err(Failure::Refused(Refusal::TokenReplayed)) => Self::Replayed,
            Err(Failure::Refused(_) | Failure::Invalid(_)) => Self::Refused,
            Err(_) => Self::Failed,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Rotated => "rotated",
            Self::Retried => "retried",
            Self::Grace => "grace",
            Self::Replayed => "replayed",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}
