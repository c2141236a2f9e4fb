//! The tests: each file a capability, all through a real server on a real PostgreSQL.

mod contract;
mod support;

mod audit;
mod auth_tokens;
mod bad_bytes;
mod bad_input;
mod callers;
mod checker;
mod client_info;
mod clients;
mod codes;
mod command_line;
mod configuration;
mod database_tls;
mod deadlines;
mod documents;
#[cfg(feature = "embedded")]
mod embedded;
mod errors;
mod faults;
mod gathering;
mod hostile;
mod import;
mod listing;
mod maintenance;
mod mesh;
mod metrics;
mod one_time_tokens;
mod operator;
mod plans;
mod privileges;
mod programs;
mod questions;
mod races;
mod revocation;
mod rotation;
mod rotation_order;
mod rotation_windows;
mod schema;
mod secrets;
mod server;
mod sessions;
mod statements;
mod traces;
mod users;
