//! Lets only those calls through that may be made, and those know whose they are.

use std::future::ready;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::Either;
use http::{Request, Response};
use tokio::task::futures::TaskLocalFuture;
use tonic::body::Body;
use tower::{Layer, Service};

use super::{methods, source, status};
use crate::access::{Access, Admits, Caller, Denied, Turn};
use crate::connections::Peer;
use crate::store::Source;
use crate::telemetry::audit_denied;

/// The layer. Without an [`Access`] it lets everything through.
#[derive(Debug, Clone)]
pub struct Guard {
    access: Option<Arc<Access>>,
}

impl Guard {
    /// Asks this.
    #[must_use]
    pub fn new(access: Option<Arc<Access>>) -> Self {
        Self { access }
    }
}

impl<S> Layer<S> for Guard {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded { inner, access: self.access.clone() }
    }
}

/// A guarded service.
#[derive(Debug, Clone)]
pub struct Guarded<S> {
    inner: S,
    access: Option<Arc<Access>>,
}

impl<S> Service<Request<Body>> for Guarded<S>
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Either<TaskLocalFuture<Source, S::Future>, Waiting<S>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let Some(access) = &self.access else {
            return Either::Left(carry_out(&mut self.inner, request));
        };
        match admit(access, &mut request, None) {
            Ok(()) => Either::Left(carry_out(&mut self.inner, request)),
            Err(Denied::Unverified | Denied::UnknownKey) => {
                let access = Arc::clone(access);
                let next = self.inner.clone();
                // The one that is ready.
                let mut inner = std::mem::replace(&mut self.inner, next);
                Either::Right(Box::pin(async move {
                    match verify(&access, &mut request).await {
                        Ok(()) => carry_out(&mut inner, request).await,
                        Err(denied) => Ok(status::denied(&denied).into_http()),
                    }
                }))
            }
            Err(denied) => Either::Right(Box::pin(ready(Ok(status::denied(&denied).into_http())))),
        }
    }
}

/// The end of a call that isn't carried out at once, or not at all.
type Waiting<S> =
    Pin<Box<dyn Future<Output = Result<Response<Body>, <S as Service<Request<Body>>>::Error>> + Send>>;

/// Passes a request on, which knows whose it is.
fn carry_out<S: Service<Request<Body>>>(
    inner: &mut S,
    request: Request<Body>,
) -> TaskLocalFuture<Source, S::Future> {
    let source = source::of(&request);
    source::known(source, inner.call(request))
}

/// Lets a request in by a JWT that wasn't verified before.
async fn verify(access: &Arc<Access>, request: &mut Request<Body>) -> Result<(), Denied> {
    let judged = admit_in_turn(access, request).await;
    if !matches!(judged, Err(Denied::UnknownKey)) {
        return judged;
    }
    // In a task of its own: it is for others too, and goes on if this caller leaves.
    let again = Arc::clone(access);
    let _ = tokio::spawn(async move { again.look_again().await }).await;
    admit_in_turn(access, request).await
}

async fn admit_in_turn(access: &Access, request: &mut Request<Body>) -> Result<(), Denied> {
    let place = request.extensions().get::<Peer>().map(|peer| peer.place.clone()).unwrap_or_default();
    let turn = access.turn(&place).await;
    admit(access, request, Some(&turn))
}

/// Lets a request in, with its caller.
fn admit(access: &Access, request: &mut Request<Body>, turn: Option<&Turn<'_>>) -> Result<(), Denied> {
    if let Some(caller) = judge(access, request, turn)? {
        tracing::Span::current().record("caller", caller.name.as_str());
        request.extensions_mut().insert(caller);
    }
    Ok(())
}

fn judge(
    access: &Access,
    request: &Request<Body>,
    turn: Option<&Turn<'_>>,
) -> Result<Option<Arc<Caller>>, Denied> {
    let method = methods::find(request.uri().path());
    let peer = request.extensions().get::<Peer>();
    let names = peer.iter().flat_map(|peer| peer.names.iter().map(String::as_str));
    let admits = method.map_or(Admits::EveryCaller, |method| method.admits);
    access.judge(admits, request.headers(), names, turn).inspect_err(|denied| {
        if let (Denied::Role(caller), Some(method)) = (denied, method) {
            audit_denied(&method.name, &caller.name);
        }
    })
}
