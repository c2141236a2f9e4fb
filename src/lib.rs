//! token-registry: the refresh-token whitelist, the one-time tokens and the API keys of an authentication system,
//! over gRPC, in PostgreSQL.
//!
//! | module | what it is for |
//! |---|---|
//! | [`config`] | one struct; flags, environment, file |
//! | [`cli`] | the commands of the binary |
//! | [`connections`] | how many there may be, and how long a peer may take |
//! | [`server`] | runs the registry on a listener until it is told to stop |
//! | [`access`] | who may call: callers, their keys and certificates, roles |
//! | [`grpc`] | one file a service: message in, domain call, message out |
//! | [`registry`] | the domain: types, states and rules, without gRPC or SQL |
//! | [`store`] | PostgreSQL: the pool, the schema, every statement |
//! | [`import`] | rows of another system, brought over while it runs |
//! | [`client_info`] | user agents and addresses |
//! | `embedded` | the zero-install development database (feature `embedded`) |
//! | [`telemetry`] | logs, the audit log, metrics and traces |
//! | [`tls`] | encrypted connections, and certificates that are replaced |
//! | `watched` | files that are read again when they change |
//! | `planted` | bugs planted on purpose, for the torture to find (feature `planted-bugs`) |
//! | [`proto`] | the messages, generated from `proto/` |

pub mod access;
pub mod cli;
pub mod client_info;
pub mod config;
pub mod connections;
#[cfg(feature = "embedded")]
pub mod embedded;
pub mod grpc;
pub mod import;
#[cfg(feature = "planted-bugs")]
pub mod planted;
pub mod proto;
pub mod registry;
pub mod server;
pub mod store;
pub mod telemetry;
pub mod tls;
mod watched;
