//! Renewal by another daemon: of a node that cannot issue, proven by the certificate before.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use omnirelay_wire::fault::Fault;
use omnirelay_wire::tls;
use rustls::ClientConfig;
use tonic::transport::{Channel, Endpoint, Uri};

use super::pb;
use crate::daemon::identity::client::{Believes, OwnClient, Servers, Shows};
use crate::daemon::identity::trust::Trust;
use pb::certificate_service_client::CertificateServiceClient;

/// How long one daemon may take.
const WITHIN: Duration = Duration::from_secs(5);

/// Why no daemon has renewed a certificate.
#[derive(Debug, thiserror::Error)]
pub enum RenewalError {
    #[error("no other daemon is known that could be asked")]
    Nobody,
    #[error("the identity of this node cannot be shown")]
    Identity(#[from] rustls::Error),
    #[error("{address}: {what}")]
    Daemon { address: String, what: String },
}

/// Has the certificate of this node renewed by one of these daemons, for the key of a request; answers its chain.
///
/// # Errors
/// What the last daemon said that was asked.
pub async fn renew(trust: &Arc<Trust>, csr: &str, controls: Vec<String>) -> Result<String, RenewalError> {
    let client = OwnClient::new(Believes::Mesh(Servers::Nodes), Shows::Node, trust.clone());
    let config = Arc::new(client.config()?);
    let mut last = RenewalError::Nobody;
    for address in controls {
        match ask(&address, config.clone(), csr).await {
            Ok(chain) => return Ok(chain),
            Err(what) => last = RenewalError::Daemon { address, what },
        }
    }
    Err(last)
}

async fn ask(address: &str, config: Arc<ClientConfig>, csr: &str) -> Result<String, String> {
    let told = |error: tonic::transport::Error| omnirelay_core::text::chain(&error);
    let endpoint = Endpoint::from_shared(format!("https://{address}")).map_err(told)?.timeout(WITHIN);
    let connector = tower::service_fn(move |place: Uri| {
        let connecting = tokio::time::timeout(WITHIN, tls::connect_with(place, config.clone()));
        async { connecting.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) }
    });
    let channel: Channel = endpoint.connect_with_connector_lazy(connector);
    let asked = pb::RenewCertificateRequest { csr: csr.to_owned() };
    let answered = CertificateServiceClient::new(channel).renew(asked).await;
    answered.map(|answer| answer.into_inner().chain_pem).map_err(|status| Fault::from(&status).message)
}
