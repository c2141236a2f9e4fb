//! Around every call: a request id, one log line with method, outcome and duration, and the transport's own refusals
//! put into the contract's words.

use std::fmt::Write as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{HeaderName, HeaderValue, Request, Response};
use tokio::time::Instant;
use tonic::body::Body;
use tonic::{Code, Status};
use tower::{Layer, Service};
use tracing::Instrument as _;
use tracing::field::Empty;

use super::methods::{self, Method};
use super::status;
use super::turned_away::TurnedAway;
use crate::telemetry::{Metrics, traces};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The word for an answer, put into its extensions by the method.
#[derive(Debug, Clone, Copy)]
pub struct Outcome(pub &'static str);

/// The layer.
#[derive(Debug, Clone)]
pub struct Observe {
    metrics: Arc<Metrics>,
    turned_away: Arc<TurnedAway>,
}

impl Observe {
    /// Counts calls in these metrics.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics, turned_away: Arc::default() }
    }
}

impl<S> Layer<S> for Observe {
    type Service = Observed<S>;

    fn layer(&self, inner: S) -> Observed<S> {
        Observed { inner, observe: self.clone() }
    }
}

/// A service under observation.
#[derive(Debug, Clone)]
pub struct Observed<S> {
    inner: S,
    observe: Observe,
}

impl<S> Service<Request<Body>> for Observed<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let begun = Instant::now();
        let id = request_id(&request);
        let path = request.uri().path();
        let method = methods::find(path);
        let name = path.trim_start_matches('/');
        let span = tracing::info_span!(
            "call",
            request_id = id.to_str().unwrap_or_default(),
            method = name,
            caller = Empty
        );
        let traced = span.in_scope(|| traces::call(request.headers(), method));
        let answering = span.in_scope(|| self.inner.call(request));
        let answering = answering.instrument(traced.clone()).instrument(span.clone());
        let Observe { metrics, turned_away } = self.observe.clone();
        Box::pin(async move {
            // Dropped when the caller leaves, and counted so.
            let in_flight = metrics.calls.start(method, begun);
            let mut response = answering.await?;
            let refused = Status::from_header_map(response.headers()).filter(|s| s.code() != Code::Ok);
            let refused = refused.map(|refused| match status::of_transport(&refused) {
                None => refused,
                Some(ours) => {
                    response = ours.clone().into_http();
                    ours
                }
            });
            response.headers_mut().insert(REQUEST_ID, id);
            in_flight.end(refused.as_ref().map_or(Code::Ok, Status::code));
            let outcome = response.extensions().get::<Outcome>().map(|outcome| outcome.0);
            let reason = refused.as_ref().and_then(status::reason);
            traces::answered(&traced, refused.as_ref(), reason.as_deref().or(outcome).unwrap_or("OK"));
            if reason.as_deref() == Some(status::OVERLOADED) {
                turned_away.one();
            }
            span.in_scope(|| log(method, refused.as_ref(), outcome, begun));
            Ok(response)
        })
    }
}

/// The caller's request id if it is one to log, else a new one.
fn request_id(request: &Request<Body>) -> HeaderValue {
    let given = request
        .headers()
        .get(REQUEST_ID)
        .filter(|id| id.len() <= 128 && !id.is_empty() && id.as_bytes().iter().all(u8::is_ascii_graphic));
    given.cloned().unwrap_or_else(|| {
        let mut id = String::with_capacity(32);
        let _ = write!(id, "{:032x}", rand::random::<u128>());
        HeaderValue::try_from(id).unwrap_or(HeaderValue::from_static("-"))
    })
}

/// One line a call.
fn log(method: Option<&Method>, refused: Option<&Status>, outcome: Option<&'static str>, begun: Instant) {
    let duration_us = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
    let Some(refused) = refused else {
        let outcome = outcome.unwrap_or("OK");
        if method.is_some_and(Method::is_question) {
            tracing::debug!(outcome, duration_us, "answered");
        } else {
            tracing::info!(outcome, duration_us, "answered");
        }
        return;
    };
    let code = refused.code();
    let reason = status::reason(refused).unwrap_or_default();
    match code {
        Code::Internal | Code::Unknown | Code::DataLoss => {
            tracing::error!(outcome = reason, ?code, duration_us, "failed");
        }
        Code::Unavailable if reason == status::OVERLOADED => {
            tracing::debug!(outcome = reason, ?code, duration_us, "refused");
        }
        Code::Unavailable | Code::DeadlineExceeded => {
            tracing::warn!(outcome = reason, ?code, duration_us, "failed");
        }
        _ => tracing::info!(outcome = reason, ?code, duration_us, "refused"),
    }
}
