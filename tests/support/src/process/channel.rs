//! Connections under TLS to daemons, as clients of the tests open them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use omnirelay_wire::tls::{ClientTls, authorities, certificates, connect_with};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use tonic::transport::{Channel, Endpoint};

/// Certificate that a client shows, as two PEM files.
#[derive(Clone, Debug)]
pub struct ShownCertificate {
    pub chain: PathBuf,
    pub key: PathBuf,
}

impl ShownCertificate {
    /// The one in a folder that `omnirelay cert issue --out` has written.
    pub fn in_folder(folder: &Path) -> Self {
        Self { chain: folder.join("chain.pem"), key: folder.join("key.pem") }
    }
}

/// Opens a connection to `https://HOST:PORT`, by whoever believes the authorities of a PEM file.
pub async fn channel(url: String, roots: PathBuf, shows: Option<ShownCertificate>) -> Result<Channel> {
    let roots = Some(authorities(Some(&roots)).await?);
    let identity = match shows {
        Some(shown) => Some((certificates(&shown.chain).await?, PrivateKeyDer::from_pem_file(shown.key)?)),
        None => None,
    };
    let config = Arc::new(ClientTls { roots, identity, ..ClientTls::default() }.config()?);
    let connector = tower::service_fn(move |place| connect_with(place, config.clone()));
    Ok(Endpoint::from_shared(url)?.connect_with_connector(connector).await?)
}
