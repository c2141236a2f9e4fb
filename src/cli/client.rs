//! Calls to a running registry.

use std::time::Duration;

use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;

use super::failure::{Failure, with_causes};
use crate::proto::auth_token_service_client::AuthTokenServiceClient;
use crate::proto::generic_token_service_client::GenericTokenServiceClient;
use crate::proto::maintenance_service_client::MaintenanceServiceClient;
use crate::proto::user_service_client::UserServiceClient;
use crate::proto::whitelist_service_client::WhitelistServiceClient;

/// Which registry to call, and how.
#[derive(clap::Args)]
#[command(next_help_heading = "Registry")]
pub(super) struct Connection {
    /// Where the registry listens
    #[arg(long, env = "TOKEN_REGISTRY_ADDRESS", value_name = "HOST:PORT", default_value = "127.0.0.1:50051")]
    address: String,
    /// How long each call may take
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = humantime::parse_duration)]
    timeout: Duration,
}

impl Connection {
    /// Connects.
    pub(super) async fn open(&self) -> Result<Client, Failure> {
        let Self { address, timeout } = self;
        let url = if address.contains("://") { address.clone() } else { format!("http://{address}") };
        if !url.starts_with("http://") {
            return Err(Failure::Usage(format!("{address}: only http:// is understood, or HOST:PORT alone")));
        }
        let endpoint = Endpoint::from_shared(url)
            .map_err(|error| Failure::Usage(format!("{address} is no address: {}", with_causes(&error))))?;
        let channel = endpoint.connect_timeout(*timeout).connect().await.map_err(|error| {
            Failure::Unavailable(format!("can't reach a registry at {address}: {}", with_causes(&error)))
        })?;
        Ok(Client { channel, timeout: *timeout })
    }
}

/// A connection to a registry.
pub(super) struct Client {
    channel: Channel,
    timeout: Duration,
}

impl Client {
    pub(super) fn whitelist(&self) -> WhitelistServiceClient<Channel> {
        WhitelistServiceClient::new(self.channel.clone())
    }

    pub(super) fn generic_tokens(&self) -> GenericTokenServiceClient<Channel> {
        GenericTokenServiceClient::new(self.channel.clone())
    }

    pub(super) fn auth_tokens(&self) -> AuthTokenServiceClient<Channel> {
        AuthTokenServiceClient::new(self.channel.clone())
    }

    pub(super) fn maintenance(&self) -> MaintenanceServiceClient<Channel> {
        MaintenanceServiceClient::new(self.channel.clone())
    }

    pub(super) fn users(&self) -> UserServiceClient<Channel> {
        UserServiceClient::new(self.channel.clone())
    }

    /// A request with its deadline.
    pub(super) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(self.timeout);
        request
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        let reason = status.get_details_error_info().map(|info| info.reason).unwrap_or_default();
        let message = match reason.as_str() {
            // The server's own words are for a program that logs somebody in.
            "SESSION_NOT_FOUND" => "the user has no such session".to_owned(),
            "OUTCOME_UNKNOWN" => {
                "no answer in time: it may have been carried out; look, or run it again".to_owned()
            }
            "" => format!("{}: {}", status.code().description(), status.message()),
            _ => status.message().to_owned(),
        };
        match status.code() {
            Code::InvalidArgument => Self::Usage(message),
            Code::Unauthenticated | Code::PermissionDenied => Self::NotPermitted(message),
            Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled => Self::Unavailable(message),
            _ => Self::Running(message),
        }
    }
}
