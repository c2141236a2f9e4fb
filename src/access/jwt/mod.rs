//! Callers that are known by JWTs: signed by a key that the issuer publishes, meant for us, and not over.

mod fetch;
mod key_set;
mod keys;
mod on_ring;

pub use fetch::FetchError;
pub use key_set::{KeySetError, Unproven};
pub(super) use keys::Keys;
pub use keys::KeysError;
