//! The tests: each file a capability, all through a real server on a real PostgreSQL.

mod support;

mod bad_bytes;
mod bad_input;
mod deadlines;
mod errors;
mod rotation;
mod schema;
mod server;
