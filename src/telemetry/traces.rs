//! Traces by OpenTelemetry: a span a call, which continues its caller's trace (W3C `traceparent`), and spans of what it
//! does at the database. Sent by OTLP over gRPC to a collector; off unless one is configured.
//!
//! These spans have a target of their own: the exporter sees nothing else, and the log doesn't see them. Off, a span
//! costs one comparison. None carries a field of a request.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::HeaderMap;
use opentelemetry::propagation::{Extractor, TextMapPropagator as _};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use tonic::{Code, Status};
use tracing::Span;
use tracing::field::Empty;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::{Layer, Registry};

use crate::grpc::methods::Method;

/// The target of all spans that are exported.
pub(super) const TARGET: &str = "token_registry::traces";

/// How long the last spans may take to be sent at the end.
const FLUSH: Duration = Duration::from_secs(5);

/// Whether there is a collector.
static ON: AtomicBool = AtomicBool::new(false);

/// What sends spans to the collector.
#[derive(Debug)]
pub(super) struct Traces {
    provider: SdkTracerProvider,
}

impl Traces {
    /// Sends to this collector. Of calls whose caller hasn't decided, so many percent are traced.
    pub(super) fn to(endpoint: &str, percent: u32) -> Result<Self, ExporterBuildError> {
        let exporter = SpanExporter::builder().with_tonic().with_endpoint(endpoint).build()?;
        let share = Sampler::TraceIdRatioBased(f64::from(percent) / 100.0);
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_sampler(Sampler::ParentBased(Box::new(share)))
            .with_resource(Resource::builder().with_service_name("token-registry").build())
            .build();
        ON.store(true, Ordering::Relaxed);
        Ok(Self { provider })
    }

    /// The layer that makes spans of ours the collector's.
    pub(super) fn layer(&self) -> Box<dyn Layer<Registry> + Send + Sync> {
        tracing_opentelemetry::layer()
            .with_tracer(self.provider.tracer("token-registry"))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_filter(filter_fn(|metadata| metadata.target() == TARGET))
            .boxed()
    }

    /// Sends what is left. Blocks for a moment.
    pub(super) fn finish(&self) {
        if let Err(error) = self.provider.shutdown_with_timeout(FLUSH) {
            tracing::warn!(%error, "the last traces may be lost");
        }
    }
}

/// The span of a call, in its caller's trace.
pub fn call(headers: &HeaderMap, method: Option<&Method>) -> Span {
    if !ON.load(Ordering::Relaxed) {
        return Span::none();
    }
    let (service, name) = method.map_or(("unknown", "unknown"), |method| (&method.service, &method.name));
    let span = tracing::debug_span!(
        target: TARGET,
        "call",
        otel.name = format!("{service}/{name}"),
        otel.kind = "server",
        otel.status_code = Empty,
        rpc.system = "grpc",
        rpc.service = service,
        rpc.method = name,
        rpc.grpc.status_code = Empty,
        rpc.outcome = Empty,
    );
    // Fails only where the span isn't exported.
    let _ = span.set_parent(TraceContextPropagator::new().extract(&Headers(headers)));
    span
}

/// A call's end: its status, or the word for its answer.
pub fn answered(span: &Span, refused: Option<&Status>, outcome: &str) {
    if span.is_none() {
        return;
    }
    let code = refused.map_or(Code::Ok, Status::code);
    span.record("rpc.grpc.status_code", code as i32);
    span.record("rpc.outcome", outcome);
    // A refusal that is the caller's own is no error of the server.
    if matches!(
        code,
        Code::Unknown
            | Code::DeadlineExceeded
            | Code::Unimplemented
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss
    ) {
        span.record("otel.status_code", "ERROR");
    }
}

/// The span of a round trip to the database, of statements named by their first. Only in a call: sets are of many.
pub fn round_trip(statement: &'static str, statements: usize) -> Span {
    if !ON.load(Ordering::Relaxed) || Span::current().is_none() {
        return Span::none();
    }
    tracing::debug_span!(
        target: TARGET,
        "round trip",
        otel.name = statement,
        otel.kind = "client",
        db.system.name = "postgresql",
        db.operation.batch.size = statements,
    )
}

/// The span of a request that waits in a lane for its set and the set's round trip.
pub fn gathered(lane: &'static str) -> Span {
    tracing::debug_span!(
        target: TARGET,
        "gathered",
        otel.name = lane,
        otel.kind = "client",
        db.system.name = "postgresql",
    )
}

/// Headers as the propagator reads them.
struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}
