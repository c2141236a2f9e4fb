//! Encryption of the link to the database: whose certificates are believed.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::error::StoreError;
use crate::config::Roots;

/// Encrypts, and believes only a server whose certificate has its name and comes from these authorities.
pub(crate) fn connector(roots: &Roots) -> Result<MakeRustlsConnect, StoreError> {
    let roots = match roots {
        Roots::System => of_the_system(),
        Roots::File(path) => of_file(path),
    }
    .map_err(|reason| StoreError::Settings(format!("sslmode=verify-full in the database URL: {reason}")))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| StoreError::Settings(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

fn of_the_system() -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    // Systems carry some that no library reads: what counts is that others are left.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err("the system has no root certificates; name a file with sslrootcert".to_owned());
    }
    Ok(roots)
}

fn of_file(path: &str) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let certificates =
        CertificateDer::pem_file_iter(path).map_err(|error| format!("sslrootcert {path}: {error}"))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| format!("sslrootcert {path}: {error}"))?;
        roots.add(certificate).map_err(|error| format!("sslrootcert {path}: {error}"))?;
    }
    if roots.is_empty() {
        return Err(format!("sslrootcert {path} has no certificate"));
    }
    Ok(roots)
}
