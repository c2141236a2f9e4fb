//! Authorities and certificates made for a test, and connections that use them.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use h2::client::SendRequest;
use prost::bytes::Bytes;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, IsCa, KeyIdMethod,
    KeyPair, RevokedCertParams, SanType, SerialNumber,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// An authority that certificates are made by.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, as PEM.
#[derive(Clone)]
pub struct Identity {
    pub certificate: String,
    pub key: String,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Its own certificate, as PEM.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate with this name: a URI, or else a DNS name.
    pub fn issue(&self, name: &str) -> Identity {
        self.issue_with(name, |_| {})
    }

    /// One that expires then.
    pub fn issue_until(&self, name: &str, until: SystemTime) -> Identity {
        self.issue_with(name, |params| params.not_after = until.into())
    }

    fn issue_with(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Identity {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        let text = name.try_into().unwrap();
        params.subject_alt_names =
            vec![if name.contains("://") { SanType::URI(text) } else { SanType::DnsName(text) }];
        change(&mut params);
        Identity { certificate: params.signed_by(&key, &self.0).unwrap().pem(), key: key.serialize_pem() }
    }

    /// Its revocation list with these certificates, as PEM: of an hour before `until`, when the next one is due.
    pub fn revocation_list(&self, revoked_certs: &[&Identity], until: SystemTime) -> String {
        let since = until - Duration::from_hours(1);
        let revoked = |identity: &&Identity| RevokedCertParams {
            serial_number: identity.serial_number(),
            revocation_time: since.into(),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: since.into(),
            next_update: until.into(),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked_certs.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.0).unwrap().pem().unwrap()
    }

    /// What a server needs that shows a certificate with this name.
    pub fn server(&self, name: &str) -> ServerConfig {
        let Identity { certificate, key } = self.issue(name);
        let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap()
    }

    /// A connection that shows this certificate to a server whose certificate is for `localhost` and of this authority.
    /// Answers also what the server showed. In TLS 1.3 a server that doesn't want ours says so with its first answer.
    pub async fn connect(
        &self,
        address: SocketAddr,
        shown: Option<&Identity>,
    ) -> io::Result<(SendRequest<Bytes>, CertificateDer<'static>)> {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match shown {
            None => config.with_no_client_auth(),
            Some(Identity { certificate, key }) => {
                let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
                config.with_client_auth_cert(vec![certificate], key).unwrap()
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        let stream = TcpStream::connect(address).await?;
        let name = ServerName::try_from("localhost").unwrap();
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
        let of_server = stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned();
        let (sender, connection) =
            h2::client::handshake(stream).await.map_err(|error| io::Error::other(error.to_string()))?;
        tokio::spawn(connection);
        Ok((sender, of_server))
    }
}

impl Identity {
    pub fn der(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap()
    }

    fn serial_number(&self) -> SerialNumber {
        let der = self.der();
        let (_, certificate) = X509Certificate::from_der(&der).unwrap();
        SerialNumber::from_slice(certificate.raw_serial())
    }
}

/// A folder with `tls.crt`, `tls.key` and `ca.crt`, laid out as Kubernetes does for a secret: links to links, so that all of
/// them change at once.
pub struct Files {
    directory: TempDir,
    versions: AtomicUsize,
}

impl Files {
    pub fn new(identity: &Identity, authority: &Authority) -> Self {
        let files = Self { directory: tempfile::tempdir().unwrap(), versions: AtomicUsize::new(0) };
        files.replace(identity, authority);
        for name in ["tls.crt", "tls.key", "ca.crt"] {
            std::os::unix::fs::symlink(Path::new("..data").join(name), files.path(name)).unwrap();
        }
        files
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// As [`Self::path`], as a setting wants it.
    pub fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// Puts others into their place.
    pub fn replace(&self, identity: &Identity, authority: &Authority) {
        let version = format!("..version-{}", self.versions.fetch_add(1, Ordering::Relaxed));
        let folder = self.path(&version);
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("tls.crt"), &identity.certificate).unwrap();
        std::fs::write(folder.join("tls.key"), &identity.key).unwrap();
        std::fs::write(folder.join("ca.crt"), authority.pem()).unwrap();
        std::os::unix::fs::symlink(&version, self.path("..next")).unwrap();
        std::fs::rename(self.path("..next"), self.path("..data")).unwrap();
    }
}
