//! TLS to the servers.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

use super::error::Failure;
use super::options::TlsFiles;

/// Reads the files and makes what begins TLS.
pub(super) async fn connector(files: &TlsFiles) -> Result<TlsConnector, Failure> {
    // The provider is given here and not installed for the whole process.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Failure::because("cannot begin TLS", error))?
        .with_root_certificates(authorities(files.ca.as_deref()).await?);
    let config = match (&files.cert, &files.key) {
        (Some(cert), Some(key)) => {
            let chain = certificates(cert).await?;
            let private = PrivateKeyDer::from_pem_slice(&read(key).await?)
                .map_err(|error| Failure::because(format!("`{}` is no private key", key.display()), error))?;
            builder.with_client_auth_cert(chain, private).map_err(|error| {
                let what = format!("cannot use the certificate `{}` with its key", cert.display());
                Failure::because(what, error)
            })?
        }
        (_, _) => builder.with_no_client_auth(),
    };
    Ok(TlsConnector::from(Arc::new(config)))
}

/// The authorities of a file, or the public ones.
pub(in crate::daemon) async fn authorities(ca: Option<&Path>) -> Result<RootCertStore, Failure> {
    let mut roots = RootCertStore::empty();
    let Some(path) = ca else {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        return Ok(roots);
    };
    for certificate in certificates(path).await? {
        roots.add(certificate).map_err(|error| {
            Failure::because(format!("`{}` holds no authority's certificate", path.display()), error)
        })?;
    }
    Ok(roots)
}

async fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(path).await?).collect();
    let found =
        found.map_err(|error| Failure::because(format!("`{}` is no certificate", path.display()), error))?;
    if found.is_empty() {
        return Err(Failure::new(format!("`{}` holds no certificate", path.display())));
    }
    Ok(found)
}

async fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    tokio::fs::read(path)
        .await
        .map_err(|error| Failure::because(format!("cannot read `{}`", path.display()), error))
}
