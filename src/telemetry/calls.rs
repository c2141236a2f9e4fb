//! Metrics of gRPC calls, by the names that dashboards for gRPC servers know.

use std::sync::OnceLock;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use tokio::time::Instant;
use tonic::Code;

use super::Label;
use crate::grpc::methods::{self, Method};

/// Seconds.
const DURATIONS: [f64; 16] =
    [0.0001, 0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// How many codes there are.
const CODES: usize = 17;

/// Metrics of all methods.
#[derive(Debug)]
pub struct CallMetrics {
    /// By the methods' numbers.
    methods: Vec<MethodMetrics>,
    /// Of calls to methods that aren't here, whatever they are called.
    unknown: MethodMetrics,
}

/// Metrics of one method.
#[derive(Debug)]
struct MethodMetrics {
    labels: [Label; 3],
    started: Counter,
    /// All methods' by code, for those that are taken at their first use.
    by_code: Family<[Label; 4], Counter>,
    /// By code; most never come.
    handled: [OnceLock<Counter>; CODES],
    seconds: Histogram,
}

impl CallMetrics {
    pub(super) fn registered_in(registry: &mut Registry) -> Self {
        let started = Family::<[Label; 3], Counter>::default();
        let handled = Family::<[Label; 4], Counter>::default();
        let seconds: Family<_, _, fn() -> Histogram> =
            Family::new_with_constructor(|| Histogram::new(DURATIONS));
        registry.register("grpc_server_started", "Calls that were started", started.clone());
        registry.register(
            "grpc_server_handled",
            "Calls that were answered, by code; one that its caller gave up is Canceled",
            handled.clone(),
        );
        registry.register(
            "grpc_server_handling_seconds",
            "How long calls took until the answer; of streams until it begins",
            seconds.clone(),
        );
        let of = |kind, service, method| {
            let labels = [("grpc_type", kind), ("grpc_service", service), ("grpc_method", method)];
            let [kind, service, method] = labels;
            let answered =
                handled.get_or_create_owned(&[kind, service, method, ("grpc_code", name(Code::Ok))]);
            let taken: [OnceLock<Counter>; CODES] = Default::default();
            // From 0 on, so that rates know the first one; most other codes never come.
            let _ = taken[Code::Ok as usize].set(answered);
            MethodMetrics {
                labels,
                started: started.get_or_create_owned(&labels),
                by_code: handled.clone(),
                handled: taken,
                seconds: seconds.get_or_create_owned(&labels),
            }
        };
        let mut all: Vec<&'static Method> = methods::all().collect();
        all.sort_unstable_by_key(|method| method.number);
        Self {
            methods: all.into_iter().map(|method| of(method.kind, &method.service, &method.name)).collect(),
            unknown: of("unknown", "unknown", "unknown"),
        }
    }

    /// Counts a call that starts; without a method, one to a method that isn't here.
    #[must_use]
    pub fn start(&self, method: Option<&Method>, begun: Instant) -> InFlight<'_> {
        let metrics = method.map_or(&self.unknown, |method| &self.methods[method.number]);
        metrics.started.inc();
        InFlight { metrics, begun, code: Code::Cancelled }
    }
}

/// A call under way. Counted as given up by its caller when it is dropped without an end.
#[derive(Debug)]
pub struct InFlight<'a> {
    metrics: &'a MethodMetrics,
    begun: Instant,
    code: Code,
}

impl InFlight<'_> {
    /// The call is answered, with this code.
    pub fn end(mut self, code: Code) {
        self.code = code;
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        let metrics = self.metrics;
        let count = metrics.handled[self.code as usize].get_or_init(|| {
            let [kind, service, method] = metrics.labels;
            metrics.by_code.get_or_create_owned(&[kind, service, method, ("grpc_code", name(self.code))])
        });
        count.inc();
        metrics.seconds.observe(self.begun.elapsed().as_secs_f64());
    }
}

/// A code as gRPC's other implementations write it.
fn name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "Canceled",
        Code::Unknown => "Unknown",
        Code::InvalidArgument => "InvalidArgument",
        Code::DeadlineExceeded => "DeadlineExceeded",
        Code::NotFound => "NotFound",
        Code::AlreadyExists => "AlreadyExists",
        Code::PermissionDenied => "PermissionDenied",
        Code::ResourceExhausted => "ResourceExhausted",
        Code::FailedPrecondition => "FailedPrecondition",
        Code::Aborted => "Aborted",
        Code::OutOfRange => "OutOfRange",
        Code::Unimplemented => "Unimplemented",
        Code::Internal => "Internal",
        Code::Unavailable => "Unavailable",
        Code::DataLoss => "DataLoss",
        Code::Unauthenticated => "Unauthenticated",
    }
}
