//! TLS to the servers.

use std::sync::Arc;

use omnirelay_wire::tls::{ClientTls, PemError, authorities, certificates, private_key};
use tokio_rustls::TlsConnector;

use super::error::StoreFailure;
use super::options::TlsFiles;

/// Reads the files and makes what begins TLS.
pub(super) async fn connector(files: &TlsFiles) -> Result<TlsConnector, StoreFailure> {
    let roots = Some(authorities(files.ca.as_deref()).await.map_err(of_pem)?);
    let identity = match (&files.cert, &files.key) {
        (Some(cert), Some(key)) => {
            let chain = certificates(cert).await.map_err(of_pem)?;
            let private = private_key(key).await.map_err(|error| {
                StoreFailure::because("cannot use the private key that is configured", error)
            })?;
            Some((chain, private))
        }
        (_, _) => None,
    };
    let mut config = ClientTls { roots, identity, ..ClientTls::default() }.config().map_err(|error| {
        StoreFailure::because(
            match &files.cert {
                Some(cert) => format!("cannot use the certificate `{}` with its key", cert.display()),
                None => "cannot begin TLS".to_owned(),
            },
            error,
        )
    })?;
    // No HTTP is spoken there.
    config.alpn_protocols.clear();
    Ok(TlsConnector::from(Arc::new(config)))
}

fn of_pem(error: PemError) -> StoreFailure {
    StoreFailure::because("cannot use the certificates that are configured", error)
}
