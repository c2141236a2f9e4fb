//! The tests: each file a capability, all through a real server on a real PostgreSQL.

mod support;

mod listing;
mod questions;
mod revocation;
mod rotation;
mod rotation_order;
mod rotation_windows;
mod sessions;
