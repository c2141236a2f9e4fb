//! Whose a call is: of the caller where callers are known, else of whoever is at that address. Lines of requests are
//! divided by it.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, LazyLock};

use http::Request;
use tokio::task::futures::TaskLocalFuture;
use tokio::task_local;
use tonic::body::Body;

use crate::access::Caller;
use crate::connections::Peer;
use crate::store::Source;

task_local! {
    static SOURCE: Source;
}

/// So that nobody can choose an address that stands for the same as another one.
static HASHING: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// Whose a request is.
pub fn of(request: &Request<Body>) -> Source {
    let extensions = request.extensions();
    if let Some(caller) = extensions.get::<Arc<Caller>>() {
        return Source(HASHING.hash_one(&caller.name));
    }
    let address = extensions.get::<Peer>().and_then(|peer| peer.address);
    Source(HASHING.hash_one(address.map(|address| address.ip())))
}

/// Lets a call know whose it is.
pub fn known<F: Future>(source: Source, call: F) -> TaskLocalFuture<Source, F> {
    SOURCE.scope(source, call)
}

/// Whose call this is.
pub fn current() -> Source {
    SOURCE.try_with(|source| *source).unwrap_or_default()
}
