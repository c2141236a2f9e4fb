//! What one peer's calls can take from the others: a request must come in time, requests that are not whole yet may hold
//! so much memory and no more, and so may answers that nobody takes; and a panic is an answer.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, CatchUnwind, Either, Map};
use http::{Request, Response};
use http_body::{Frame, SizeHint};
use prost::bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::AbortHandle;
use tokio::time::{Sleep, sleep};
use tonic::body::Body;
use tonic::{Code, Status};
use tower::{Layer, Service};

use super::status;
use crate::connections::{HangUp, Peer};
use crate::registry::{Failure, Violation};

/// Bytes that requests may hold which aren't whole yet, all together.
const HELD_MAX: usize = 64 << 20;
/// Bytes of a request that don't count: whoever sends no more is not kept out by others who do.
const FREE: usize = 4096;
/// Long answers that may be made, or wait for their callers, at once: a page of 500 sessions is some hundred kilobytes.
const LONG_ANSWERS: usize = 32;
/// So much of a long answer at a time is given to HTTP/2, which would keep all that it is given.
const PIECE: usize = 16 << 10;

/// The layer.
#[derive(Debug, Clone)]
pub struct Bounds {
    patience: Duration,
    held: Arc<AtomicUsize>,
    long_answers: Arc<Semaphore>,
}

impl Bounds {
    /// With so much patience: for a request to be whole, and for an answer to be taken.
    #[must_use]
    pub fn new(patience: Duration) -> Self {
        Self { patience, held: Arc::default(), long_answers: Arc::new(Semaphore::new(LONG_ANSWERS)) }
    }
}

impl<S> Layer<S> for Bounds {
    type Service = Bounded<S>;

    fn layer(&self, inner: S) -> Bounded<S> {
        Bounded { inner, bounds: self.clone() }
    }
}

/// A service within bounds.
#[derive(Debug, Clone)]
pub struct Bounded<S> {
    inner: S,
    bounds: Bounds,
}

impl<S> Service<Request<Body>> for Bounded<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Error: Send + 'static,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Either<Caught<S::Future, S::Error>, BoxFuture<'static, Answered<S::Error>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // A stream of requests is as long as its caller likes.
        if request.uri().path().ends_with("/ServerReflectionInfo") {
            return Either::Left(caught(self.inner.call(request)));
        }
        let is_long = request.uri().path().contains("/List");
        let peer = request.extensions().get::<Peer>().cloned();
        let (head, body) = request.into_parts();
        let body = Receiving {
            body,
            patience: self.bounds.patience,
            limit: None,
            received: 0,
            held: 0,
            all_held: Arc::clone(&self.bounds.held),
        };
        let request = Request::from_parts(head, Body::new(body));
        if !is_long {
            return Either::Left(caught(self.inner.call(request)));
        }
        let Ok(place) = Arc::clone(&self.bounds.long_answers).try_acquire_owned() else {
            let refused = status::of(Failure::Overloaded).into_http();
            return Either::Right(Box::pin(async move { Ok(refused) }));
        };
        let patience = self.bounds.patience;
        let answering = caught(self.inner.call(request));
        Either::Right(Box::pin(async move {
            let answer = answering.await?;
            Ok(answer
                .map(|body| Body::new(Answer::new(body, place, peer.map(|peer| peer.hang_up), patience))))
        }))
    }
}

/// How a service answers.
type Answered<E> = Result<Response<Body>, E>;
/// See [`caught`].
type Caught<F, E> =
    Map<CatchUnwind<AssertUnwindSafe<F>>, fn(std::thread::Result<Answered<E>>) -> Answered<E>>;

/// A call whose panic is an answer: without one its caller would wait for it, or take it for a broken connection. Where
/// it panicked, the panic hook has logged.
fn caught<F: Future<Output = Answered<E>>, E>(answering: F) -> Caught<F, E> {
    AssertUnwindSafe(answering)
        .catch_unwind()
        .map(|outcome| outcome.unwrap_or_else(|_| Ok(status::fault().into_http())))
}

/// A request on its way in.
struct Receiving {
    body: Body,
    patience: Duration,
    /// Made when there is something to wait for.
    limit: Option<Pin<Box<Sleep>>>,
    received: usize,
    /// What of it counts.
    held: usize,
    all_held: Arc<AtomicUsize>,
}

impl Receiving {
    /// Counts what has come.
    fn hold(&mut self, bytes: usize) -> Result<(), Status> {
        self.received += bytes;
        let more = self.received.saturating_sub(FREE) - self.held;
        self.held += more;
        if more > 0 && self.all_held.fetch_add(more, Ordering::Relaxed) + more > HELD_MAX {
            return Err(status::of(Failure::Overloaded));
        }
        Ok(())
    }
}

impl Drop for Receiving {
    fn drop(&mut self) {
        self.all_held.fetch_sub(self.held, Ordering::Relaxed);
    }
}

impl http_body::Body for Receiving {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                if let Err(status) = self.hold(bytes) {
                    return Poll::Ready(Some(Err(status)));
                }
            }
            // The peer went, or its HTTP/2 is wrong. To tonic that is unknown, and to whoever reads logs a fault of ours.
            Poll::Ready(Some(Err(error))) if error.code() == Code::Unknown => {
                return Poll::Ready(Some(Err(Status::cancelled("the caller broke its request off"))));
            }
            Poll::Ready(_) => {}
            Poll::Pending => {
                let patience = self.patience;
                let limit = self.limit.get_or_insert_with(|| Box::pin(sleep(patience)));
                if limit.as_mut().poll(cx).is_ready() {
                    let late = Violation::new("", format!("did not come within {patience:?}"));
                    return Poll::Ready(Some(Err(status::invalid(&[late]))));
                }
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// An answer on its way out, which may be long.
struct Answer {
    body: Body,
    /// What of a piece that was too large is still to be given.
    rest: Bytes,
    /// Ends the connection when nobody takes the answer: HTTP/2 doesn't ask for more of it then, so nothing less would do.
    hanging_up: Option<AbortHandle>,
    /// Given back with the answer.
    _place: OwnedSemaphorePermit,
}

impl Answer {
    fn new(body: Body, place: OwnedSemaphorePermit, peer: Option<Arc<HangUp>>, patience: Duration) -> Self {
        let hanging_up = peer.map(|peer| {
            let late = async move {
                sleep(patience).await;
                tracing::info!("an answer isn't taken: the connection is closed");
                peer.now();
            };
            tokio::spawn(late).abort_handle()
        });
        Self { body, rest: Bytes::new(), hanging_up, _place: place }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if let Some(hanging_up) = &self.hanging_up {
            hanging_up.abort();
        }
    }
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.rest.is_empty() {
            let polled = Pin::new(&mut self.body).poll_frame(cx);
            let Poll::Ready(Some(Ok(frame))) = polled else { return polled };
            match frame.into_data() {
                Ok(data) => self.rest = data,
                Err(frame) => return Poll::Ready(Some(Ok(frame))),
            }
        }
        let piece = self.rest.len().min(PIECE);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(piece)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }
}
