//! gRPC: one file a service. A method reads its message into the domain's types, makes one call, and writes the answer.

mod acts;
mod answer;
mod auth_token;
mod bounds;
pub mod codec;
mod external_authorization;
mod generic_token;
mod guard;
mod health;
mod maintenance;
mod message;
pub mod methods;
mod observe;
mod source;
mod status;
mod turned_away;
mod user;
mod whitelist;

use std::sync::Arc;
use std::time::Duration;

use acts::Acts;
use tonic::Status;

use crate::config::Config;
use crate::registry::Fields;
use crate::store::Store;
use crate::telemetry::Metrics;

pub use bounds::Bounds;
pub use guard::Guard;
pub use health::{Health, LIVENESS};
pub use observe::Observe;

/// Name of the error domain, and of the package.
pub const DOMAIN: &str = "tokenregistry.v1";

/// Longest request message, in bytes: far more than identifiers and a device description need.
const MESSAGE_MAX: usize = 64 * 1024;
/// Longest request message of the whitelist, in bytes: a batch of 500 questions.
const BATCH_MESSAGE_MAX: usize = 1024 * 1024 + 64 * 1024;

/// What every service needs: the store, and how long a call may take whose caller doesn't say.
#[derive(Clone)]
pub struct Registry {
    store: Arc<Store>,
    metrics: Arc<Metrics>,
    default_deadline: Duration,
    /// For calls over all of a user's rows.
    bulk_deadline: Duration,
}

impl Registry {
    /// The services' common ground.
    #[must_use]
    pub fn new(store: Arc<Store>, metrics: Arc<Metrics>, config: &Config) -> Self {
        Self {
            store,
            metrics,
            default_deadline: config.default_deadline,
            bulk_deadline: config.default_deadline.max(config.bulk_timeout),
        }
    }

    /// What the caller of a request with these extensions does that is recorded.
    fn acts(&self, extensions: &tonic::Extensions) -> Acts {
        Acts::of(&self.metrics, extensions)
    }

    /// All services of the registry.
    #[must_use]
    pub fn routes(&self) -> tonic::service::Routes {
        use crate::proto::auth_token_service_server::AuthTokenServiceServer;
        use crate::proto::generic_token_service_server::GenericTokenServiceServer;
        use crate::proto::maintenance_service_server::MaintenanceServiceServer;
        use crate::proto::user_service_server::UserServiceServer;
        use crate::proto::whitelist_service_server::WhitelistServiceServer;
        use envoy_types::pb::envoy::service::auth::v3::authorization_server::AuthorizationServer;
        tonic::service::Routes::new(
            WhitelistServiceServer::new(self.clone()).max_decoding_message_size(BATCH_MESSAGE_MAX),
        )
        .add_service(GenericTokenServiceServer::new(self.clone()).max_decoding_message_size(MESSAGE_MAX))
        .add_service(AuthTokenServiceServer::new(self.clone()).max_decoding_message_size(MESSAGE_MAX))
        .add_service(MaintenanceServiceServer::new(self.clone()).max_decoding_message_size(MESSAGE_MAX))
        .add_service(AuthorizationServer::new(self.clone()).max_decoding_message_size(MESSAGE_MAX))
        .add_service(UserServiceServer::new(self.clone()).max_decoding_message_size(MESSAGE_MAX))
    }
}

/// Full names of the registry's services.
pub const SERVICES: [&str; 5] = [
    "tokenregistry.v1.WhitelistService",
    "tokenregistry.v1.GenericTokenService",
    "tokenregistry.v1.AuthTokenService",
    "tokenregistry.v1.MaintenanceService",
    "tokenregistry.v1.UserService",
];

/// Reads a request, or refuses it with everything that is wrong with it.
fn read<T>(reading: impl FnOnce(&mut Fields) -> T) -> Result<T, Status> {
    Fields::read(reading).map_err(|violations| status::invalid(&violations))
}

/// Reads a page token; empty is the first page.
fn page_token_in<T>(fields: &mut Fields, token: &str, open: impl FnOnce(&str) -> Option<T>) -> Option<T> {
    if token.is_empty() {
        return None;
    }
    let opened = if token.len() > 4096 { None } else { open(token) };
    fields.take("page_token", opened.ok_or("is not a page token of this query"))
}
