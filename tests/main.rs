//! The tests: each file a capability, all through a real server on a real PostgreSQL.

mod support;

mod bad_bytes;
mod bad_input;
mod command_line;
mod deadlines;
mod errors;
mod faults;
mod rotation;
mod schema;
mod secrets;
mod server;
