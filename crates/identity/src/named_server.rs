//! HTTP to a server that the configuration names, and to no other.

use std::path::Path;

use omnirelay_wire::tls::{ClientTls, PemError, authorities, nobody};
use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder, Url};

/// Reason why TLS cannot be spoken with a server.
#[derive(Debug, thiserror::Error)]
pub enum NamedServerTlsError {
    #[error("cannot read the file of the authorities")]
    Authorities(#[from] PemError),
    #[error("cannot speak TLS with those authorities")]
    Tls(#[from] rustls::Error),
}

/// A client for `url`, whose authorities are in the file `ca`, else those that everybody knows. It follows nobody elsewhere.
///
/// # Errors
/// [`NamedServerTlsError`].
pub async fn client_of(url: &Url, ca: Option<&Path>) -> Result<ClientBuilder, NamedServerTlsError> {
    let tls = match url.scheme() {
        "https" => ClientTls { roots: Some(authorities(ca).await?), ..ClientTls::default() }.config()?,
        _ => nobody(),
    };
    let client = Client::builder().tls_backend_preconfigured(tls).redirect(Policy::none()).no_proxy();
    Ok(client.user_agent(concat!("omnirelayd/", env!("CARGO_PKG_VERSION"))))
}
