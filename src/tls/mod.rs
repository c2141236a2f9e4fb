//! TLS of callers' connections, mostly the server's side: our certificate and key, and the authorities of callers' certificates; all of them
//! are read again when they change, for the connections that come then.

mod revocation;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, VerifierBuilderError, WebPkiClientVerifier};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use crate::config::Config;
use crate::watched::Watched;

/// Makes connections encrypted.
#[derive(Debug)]
pub struct Tls {
    files: Files,
    /// Taken for as long as it takes to copy a pointer.
    current: RwLock<Current>,
    /// Held by [`Tls::follow`].
    watched: Mutex<Watched>,
}

/// What new connections begin with.
#[derive(Debug, Clone)]
struct Current {
    config: Arc<ServerConfig>,
    /// When the first certificate of our chain expires, in seconds since 1970.
    expires: i64,
    revocation_lists: revocation::Ends,
}

/// Where it all is.
#[derive(Debug)]
struct Files {
    certificate: PathBuf,
    key: PathBuf,
    client_ca: Option<PathBuf>,
    /// The lists of certificates that those authorities took back.
    client_crl: Option<PathBuf>,
    /// Whether a caller may come without a certificate: it has a key then, or is refused.
    certificate_is_optional: bool,
}

/// What is wrong with the files.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file can't be read, or has nothing of the kind in it.
    #[error("{0}: {1}")]
    File(PathBuf, pem::Error),
    /// There is no certificate in the file, or one that can't be read.
    #[error("{0}: {1}")]
    Certificate(PathBuf, &'static str),
    /// Certificate and key can't be used, mostly because they don't belong together.
    #[error("certificate {0} and key {1} can't be used: {2}")]
    Pair(PathBuf, PathBuf, rustls::Error),
    /// An authority can't be used.
    #[error("the authorities in {0} can't be used: {1}")]
    Authority(PathBuf, rustls::Error),
    /// The authorities can't be used.
    #[error("the authorities in {0} can't be used: {1}")]
    Authorities(PathBuf, VerifierBuilderError),
    /// The authorities' revocation lists can't be used.
    #[error("the revocation lists in {0} can't be used: {1}")]
    Revocations(PathBuf, VerifierBuilderError),
    /// Our settings of TLS contradict themselves: a fault of ours.
    #[error("TLS can't be set up: {0}")]
    Settings(rustls::Error),
}

impl Tls {
    /// Reads the configured files; none if there is no certificate.
    ///
    /// # Errors
    /// They can't be used.
    pub fn read(config: &Config) -> Result<Option<Self>, TlsError> {
        let (Some(certificate), Some(key)) = (config.tls_certificate.clone(), config.tls_key.clone()) else {
            return Ok(None);
        };
        let files = Files {
            certificate,
            key,
            client_ca: config.tls_client_ca.clone(),
            client_crl: config.tls_client_crl.clone(),
            certificate_is_optional: config.callers.is_some(),
        };
        let watched = Watched::new(
            [&files.certificate, &files.key].into_iter().chain(&files.client_ca).chain(&files.client_crl),
        );
        let current = files.read()?;
        tracing::info!(expires = %date(current.expires), "calls are encrypted");
        Ok(Some(Self { files, current: RwLock::new(current), watched: Mutex::new(watched) }))
    }

    /// Shakes hands with a peer. Answers also the names in its certificate, if it has shown one: those of type URI, such
    /// as SPIFFE ids, and DNS.
    ///
    /// # Errors
    /// The peer doesn't speak TLS, or its certificate isn't good.
    pub async fn accept(&self, stream: TcpStream) -> io::Result<(TlsStream<TcpStream>, Vec<String>)> {
        let stream = TlsAcceptor::from(self.current().config).accept(stream).await?;
        let certificates = stream.get_ref().1.peer_certificates();
        let names = certificates.and_then(<[_]>::first).map(names).unwrap_or_default();
        Ok((stream, names))
    }

    /// Reads the files again whenever they change, for as long as it is polled. Connections that are there keep what they
    /// began with. Files that can't be used change nothing, and the log says so; so it does of a revocation list that is
    /// over.
    pub async fn follow(&self) {
        let mut watched = self.watched.lock().await;
        loop {
            let lists = self.current().revocation_lists;
            tokio::select! {
                () = watched.changed() => self.read_again(),
                never = lists.tell() => match never {},
            }
        }
    }

    fn read_again(&self) {
        match self.files.read() {
            Ok(current) => {
                tracing::info!(expires = %date(current.expires), "certificates were read again");
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = current;
            }
            // Between the replacement of a certificate and of its key, this is what is to be expected.
            Err(error) => tracing::warn!(%error, "certificates stay as they were"),
        }
    }

    fn current(&self) -> Current {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Tells when asked for metrics until when our certificate is good, and the revocation lists.
#[derive(Debug)]
pub struct Expiry(pub Arc<Tls>);

impl Collector for Expiry {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Current { expires, revocation_lists, .. } = self.0.current();
        for (name, help, seconds) in [
            (
                "token_registry_certificate_expires_timestamp_seconds",
                "When the certificate that callers see expires, or one of its chain, in seconds since 1970",
                Some(expires),
            ),
            (
                "token_registry_revocation_list_expires_timestamp_seconds",
                "When the first of the revocation lists of callers' certificates is over, in seconds since 1970",
                revocation_lists.first(),
            ),
        ] {
            if let Some(seconds) = seconds {
                let gauge = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
                ConstGauge::new(seconds).encode(gauge)?;
            }
        }
        Ok(())
    }
}

impl Files {
    fn read(&self) -> Result<Current, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Settings)?;
        let mut revocation_lists = revocation::Ends::default();
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let mut authorities = RootCertStore::empty();
                for certificate in certificates(path)? {
                    authorities.add(certificate).map_err(|error| TlsError::Authority(path.clone(), error))?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(authorities), provider);
                let verifier =
                    if self.certificate_is_optional { verifier.allow_unauthenticated() } else { verifier };
                let (lists, ends) =
                    self.client_crl.as_deref().map(revocation::read).transpose()?.unwrap_or_default();
                revocation_lists = ends;
                // A list that is over is left in force: see `docs/operating.md`.
                let verifier =
                    verifier.with_crls(lists).build().map_err(|error| match (error, &self.client_crl) {
                        (error @ VerifierBuilderError::InvalidCrl(_), Some(lists)) => {
                            TlsError::Revocations(lists.clone(), error)
                        }
                        (error, _) => TlsError::Authorities(path.clone(), error),
                    })?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let chain = certificates(&self.certificate)?;
        let expires = chain.iter().map(expires).min().flatten().ok_or_else(|| {
            TlsError::Certificate(self.certificate.clone(), "a certificate in it can't be read")
        })?;
        let key = PrivateKeyDer::from_pem_file(&self.key)
            .map_err(|error| TlsError::File(self.key.clone(), error))?;
        let mut config = builder
            .with_single_cert(chain, key)
            .map_err(|error| TlsError::Pair(self.certificate.clone(), self.key.clone(), error))?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        // A session that is taken up again isn't verified again, so a caller whose certificate has expired could go on
        // connecting. Connections of gRPC live long: a whole handshake each is no loss.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Current { config: Arc::new(config), expires, revocation_lists })
    }
}

/// How a caller of ours encrypts: whose certificates it believes (the system's authorities, or those of a file), and which
/// one it shows.
///
/// # Errors
/// The files can't be used.
pub(crate) fn of_client(ca: Option<&Path>, shown: Option<(&Path, &Path)>) -> Result<ClientConfig, TlsError> {
    let mut authorities = RootCertStore::empty();
    match ca {
        // Systems carry some that no library reads: others are left.
        None => _ = authorities.add_parsable_certificates(rustls_native_certs::load_native_certs().certs),
        Some(path) => {
            for certificate in certificates(path)? {
                let of = |error| TlsError::Authority(path.to_owned(), error);
                authorities.add(certificate).map_err(of)?;
            }
        }
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Settings)?
        .with_root_certificates(authorities);
    let Some((certificate, key)) = shown else { return Ok(builder.with_no_client_auth()) };
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| TlsError::File(key.to_owned(), error))?;
    builder
        .with_client_auth_cert(certificates(certificate)?, private)
        .map_err(|error| TlsError::Pair(certificate.to_owned(), key.to_owned(), error))
}

/// All certificates of a file.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let of = |error| TlsError::File(path.to_owned(), error);
    let certificates: Vec<_> =
        CertificateDer::pem_file_iter(path).map_err(of)?.collect::<Result<_, _>>().map_err(of)?;
    if certificates.is_empty() {
        return Err(TlsError::Certificate(path.to_owned(), "there is no certificate in it"));
    }
    Ok(certificates)
}

/// When a certificate expires, in seconds since 1970.
fn expires(certificate: &CertificateDer<'_>) -> Option<i64> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    Some(certificate.validity().not_after.timestamp())
}

/// Such seconds as people read them.
fn date(seconds: i64) -> impl fmt::Display {
    let since = Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
    humantime::format_rfc3339_seconds(UNIX_EPOCH + since)
}

/// The names in a certificate that its holder may be known by.
fn names(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else { return Vec::new() };
    let Ok(Some(alternatives)) = certificate.subject_alternative_name() else { return Vec::new() };
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::URI(name) | GeneralName::DNSName(name) => Some((*name).to_owned()),
        _ => None,
    };
    alternatives.value.general_names.iter().filter_map(name).collect()
}
