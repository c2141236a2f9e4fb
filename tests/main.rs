//! The tests: each file a capability, all through a real server on a real PostgreSQL.

mod support;

mod codes;
mod one_time_tokens;
mod rotation;
