//! Calls to a running registry.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueHint;
use hyper_rustls::HttpsConnectorBuilder;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt as _;

use super::failure::{Failure, with_causes};
use crate::proto::auth_token_service_client::AuthTokenServiceClient;
use crate::proto::generic_token_service_client::GenericTokenServiceClient;
use crate::proto::maintenance_service_client::MaintenanceServiceClient;
use crate::proto::user_service_client::UserServiceClient;
use crate::proto::whitelist_service_client::WhitelistServiceClient;
use crate::tls;

/// The environment variable with the key or JWT; there is no flag for it, since other users of the machine can read command
/// lines.
const ENV_TOKEN: &str = "TOKEN_REGISTRY_TOKEN";

/// Which registry to call, and how.
#[derive(clap::Args)]
#[command(next_help_heading = "Registry")]
pub(super) struct Connection {
    /// Where the registry listens: HOST:PORT, or https://HOST:PORT where it encrypts
    #[arg(long, env = "TOKEN_REGISTRY_ADDRESS", value_name = "ADDRESS", default_value = "127.0.0.1:50051")]
    address: String,
    /// How long each call may take
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// File with the key or JWT to call with; or set the environment variable `TOKEN_REGISTRY_TOKEN` to it
    #[arg(long, env = "TOKEN_REGISTRY_TOKEN_FILE", value_name = "FILE", value_hint = ValueHint::FilePath)]
    token_file: Option<PathBuf>,
    /// To where the key or JWT may be sent without encryption; everywhere is for a registry behind something that encrypts
    #[arg(long, value_name = "WHERE", default_value = "loopback", value_parser = ["loopback", "everywhere"])]
    plaintext: String,
    /// Authorities that the registry's certificate may come from, as PEM; the system's when not given
    #[arg(long, env = "TOKEN_REGISTRY_CA", value_name = "FILE", value_hint = ValueHint::FilePath)]
    ca: Option<PathBuf>,
    /// Certificate to call with, and those between it and its authority, as PEM
    #[arg(long, env = "TOKEN_REGISTRY_CLIENT_CERTIFICATE", value_name = "FILE", value_hint = ValueHint::FilePath)]
    #[arg(requires = "client_key")]
    client_certificate: Option<PathBuf>,
    /// The certificate's key, as PEM
    #[arg(long, env = "TOKEN_REGISTRY_CLIENT_KEY", value_name = "FILE", value_hint = ValueHint::FilePath)]
    #[arg(requires = "client_certificate")]
    client_key: Option<PathBuf>,
}

impl Connection {
    /// Connects.
    pub(super) async fn open(&self) -> Result<Client, Failure> {
        let Self { address, timeout, .. } = self;
        let bearer = self.bearer()?;
        let asks_for_tls = self.ca.is_some() || self.client_certificate.is_some();
        let url = match address.split_once("://") {
            None => format!("{}://{address}", if asks_for_tls { "https" } else { "http" }),
            Some(("http", _)) if asks_for_tls => {
                let message = format!("{address}: --ca and --client-certificate are for https://");
                return Err(Failure::Usage(message));
            }
            Some(("http" | "https", _)) => address.clone(),
            Some(_) => {
                let message =
                    format!("{address}: only http:// and https:// are understood, or HOST:PORT alone");
                return Err(Failure::Usage(message));
            }
        };
        let endpoint = Endpoint::from_shared(url.clone())
            .map_err(|error| Failure::Usage(format!("{address} is no address: {}", with_causes(&error))))?
            .connect_timeout(*timeout);
        if bearer.is_some()
            && url.starts_with("http://")
            && self.plaintext == "loopback"
            && !is_loopback(&endpoint)
        {
            let message = format!(
                "{address}: the key or JWT would be sent over the network without encryption; use https://HOST:PORT, or, \
                 where something between encrypts, --plaintext everywhere"
            );
            return Err(Failure::Usage(message));
        }
        let connected = if url.starts_with("https://") {
            let identity = self.client_certificate.as_deref().zip(self.client_key.as_deref());
            let config = tls::of_client(self.ca.as_deref(), identity)
                .map_err(|error| Failure::Usage(with_causes(&error)))?;
            let connector =
                HttpsConnectorBuilder::new().with_tls_config(config).https_only().enable_http2().build();
            endpoint.connect_with_connector(connector).await
        } else {
            endpoint.connect().await
        };
        let channel = connected.map_err(|error| {
            Failure::Unavailable(format!("can't reach a registry at {address}: {}", with_causes(&error)))
        })?;
        Ok(Client { channel, timeout: *timeout, bearer })
    }

    /// What `authorization` says in every call.
    fn bearer(&self) -> Result<Option<MetadataValue<Ascii>>, Failure> {
        let token = match &self.token_file {
            Some(path) => Some(std::fs::read_to_string(path).map_err(|error| {
                Failure::Usage(format!("{}: the token can't be read: {error}", path.display()))
            })?),
            None => std::env::var(ENV_TOKEN).ok(),
        };
        let Some(token) = token.as_deref().map(str::trim).filter(|token| !token.is_empty()) else {
            return Ok(None);
        };
        let mut bearer = MetadataValue::try_from(format!("Bearer {token}")).map_err(|_| {
            Failure::Usage("the token has characters that no header takes (its value is hidden)".to_owned())
        })?;
        bearer.set_sensitive(true);
        Ok(Some(bearer))
    }
}

/// Whether an address is on this machine.
fn is_loopback(endpoint: &Endpoint) -> bool {
    let host = endpoint.uri().host().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|host| host.is_loopback())
}

/// A connection to a registry.
pub(super) struct Client {
    channel: Channel,
    timeout: Duration,
    bearer: Option<MetadataValue<Ascii>>,
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

    pub(super) fn health(&self) -> HealthClient<Channel> {
        HealthClient::new(self.channel.clone())
    }

    /// A request with its deadline and who calls.
    pub(super) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(self.timeout);
        if let Some(bearer) = &self.bearer {
            request.metadata_mut().insert("authorization", bearer.clone());
        }
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
