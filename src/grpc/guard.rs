//! Lets only those calls through that may be made.

use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::Either;
use http::{Request, Response};
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};

use super::{methods, status};
use crate::access::{Access, Admits, Caller, Denied};
use crate::connections::Peer;
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
    S: Service<Request<Body>, Response = Response<Body>>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Either<S::Future, Ready<Result<Response<Body>, S::Error>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let Some(access) = &self.access else { return Either::Left(self.inner.call(request)) };
        match judge(access, &request) {
            Ok(Some(caller)) => {
                tracing::Span::current().record("caller", caller.name.as_str());
                request.extensions_mut().insert(caller);
            }
            Ok(None) => {}
            Err(refused) => return Either::Right(ready(Ok(refused.into_http()))),
        }
        Either::Left(self.inner.call(request))
    }
}

fn judge(access: &Access, request: &Request<Body>) -> Result<Option<Arc<Caller>>, Status> {
    let method = methods::find(request.uri().path());
    let peer = request.extensions().get::<Peer>();
    let names = peer.iter().flat_map(|peer| peer.names.iter().map(String::as_str));
    let admits = method.map_or(Admits::EveryCaller, |method| method.admits);
    access.judge(admits, request.headers(), names).map_err(|denied| {
        if let (Denied::Role(caller), Some(method)) = (&denied, method) {
            audit_denied(&method.name, &caller.name);
        }
        status::denied(&denied)
    })
}
