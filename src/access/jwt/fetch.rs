//! A document over HTTPS: small, and in time or not at all.

use std::sync::Arc;
use std::time::Duration;

use http::{StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use prost::bytes::Bytes;
use tokio::time::timeout;

/// How long a fetch may take, from the look-up of the name to the last byte.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest document, in bytes.
const LONGEST: usize = 256 * 1024;

/// Why there is no document.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The system's root certificates can't be used.
    #[error("the system's root certificates can't be used: {0}")]
    Roots(std::io::Error),
    /// No connection, or none that is trusted.
    #[error("can't be reached: {0}")]
    Connection(String),
    /// Another answer than 200; redirections aren't followed.
    #[error("answered {0}")]
    Status(StatusCode),
    /// It is too long, or broke off.
    #[error("the answer is longer than {LONGEST} bytes, or broke off")]
    Body,
    /// It took too long.
    #[error("no answer within {PATIENCE:?}")]
    TooSlow,
}

/// Fetches one document, as often as one likes.
#[derive(Debug)]
pub(super) struct Fetch {
    url: Uri,
    client: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
}

impl Fetch {
    /// From this address, whose server must have a certificate that the system believes.
    pub(super) fn new(url: Uri) -> Result<Self, FetchError> {
        let connector = HttpsConnectorBuilder::new()
            .with_provider_and_native_roots(Arc::new(rustls::crypto::ring::default_provider()))
            .map_err(FetchError::Roots)?
            .https_only()
            .enable_http1()
            .build();
        // Fetches are far between: no connection waits for the next one.
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector);
        Ok(Self { url, client })
    }

    pub(super) async fn get(&self) -> Result<Bytes, FetchError> {
        timeout(PATIENCE, self.get_patiently()).await.map_err(|_| FetchError::TooSlow)?
    }

    async fn get_patiently(&self) -> Result<Bytes, FetchError> {
        let answer = self.client.get(self.url.clone()).await.map_err(|error| {
            let mut text = error.to_string();
            let mut cause = std::error::Error::source(&error);
            while let Some(error) = cause {
                text = format!("{text}: {error}");
                cause = error.source();
            }
            FetchError::Connection(text)
        })?;
        if answer.status() != StatusCode::OK {
            return Err(FetchError::Status(answer.status()));
        }
        let body = Limited::new(answer.into_body(), LONGEST).collect().await.map_err(|_| FetchError::Body)?;
        Ok(body.to_bytes())
    }
}
