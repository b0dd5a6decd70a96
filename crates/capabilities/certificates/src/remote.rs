//! Renewal by another daemon: of a node that cannot issue, proven by the certificate before.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use omnirelay_identity::client::{ClientCertificate, ExpectedServers, LiveTlsClient, ServerTrust};
use omnirelay_identity::trust::MeshTrust;
use omnirelay_node::transport::NodeTransport;
use omnirelay_transport::peer::CallPath;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::tls;
use rustls::ClientConfig;
use tonic::transport::{Channel, Endpoint, Uri};
use tracing::debug;

use super::{OtherDaemon, pb};
use pb::certificate_service_client::CertificateServiceClient;
use pb::enrollment_service_client::EnrollmentServiceClient;

/// How long one daemon may take.
const WITHIN: Duration = Duration::from_secs(5);

/// Reason why no daemon has renewed a certificate.
#[derive(Debug, thiserror::Error)]
pub enum RenewalError {
    #[error("no other daemon is known that could be asked")]
    Nobody,
    #[error("the identity of this node cannot be shown")]
    Identity(#[from] rustls::Error),
    #[error("{address}: {what}")]
    Daemon { address: String, what: String },
    /// It has issued one that is of no use to this node.
    #[error("{address}: {what}")]
    Unusable { address: String, what: String },
}

/// Request to another daemon.
pub enum RemoteRequest {
    /// To renew the certificate that is shown, for the key of this request in PEM.
    Renew(String),
    /// To issue a node another one whose own has ended.
    Rejoin(pb::RejoinRequest),
}

/// Has one of these daemons issue a certificate to this node; answers its chain, if `check` finds nothing wrong with it. What
/// one has issued that does not pass, another may issue better.
///
/// # Errors
/// What the last daemon said that was asked.
pub async fn issued(
    transport: Option<&NodeTransport>,
    trust: &Arc<MeshTrust>,
    ask: &RemoteRequest,
    others: Vec<OtherDaemon>,
    check: impl Fn(&str) -> Result<(), String>,
) -> Result<String, RenewalError> {
    let shows = match ask {
        RemoteRequest::Renew(_) => ClientCertificate::Node,
        // Nobody takes a certificate that has ended.
        RemoteRequest::Rejoin(_) => ClientCertificate::Nothing,
    };
    let client = LiveTlsClient::new(ServerTrust::Mesh(ExpectedServers::Nodes), shows, trust.clone());
    let config = Arc::new(client.config()?);
    let (mut last, mut unusable) = (RenewalError::Nobody, None);
    for OtherDaemon { node, control: address } in others {
        // One that has no mesh port, or that is not reached there, is asked at its control port.
        if let (Some(transport), RemoteRequest::Renew(csr)) = (transport, ask)
            && let Some(chain) = renewed(transport, &node, csr).await
        {
            match check(&chain) {
                Ok(()) => return Ok(chain),
                Err(what) => unusable = Some(RenewalError::Unusable { address, what }),
            }
            continue;
        }
        match asked(&address, config.clone(), ask).await {
            Ok(chain) => match check(&chain) {
                Ok(()) => return Ok(chain),
                Err(what) => unusable = Some(RenewalError::Unusable { address, what }),
            },
            Err(what) => last = RenewalError::Daemon { address, what },
        }
    }
    Err(unusable.unwrap_or(last))
}

/// Asks a node at its mesh port. For the same key the answer is given again, so that it may be asked twice.
async fn renewed(transport: &NodeTransport, node: &str, csr: &str) -> Option<String> {
    let channel = transport.channel(node, CallPath::REPEATABLE).ok()?.within(WITHIN);
    let asked = pb::RenewCertificateRequest { csr: csr.to_owned() };
    match CertificateServiceClient::new(channel).renew(asked).await {
        Ok(answer) => Some(answer.into_inner().chain_pem),
        Err(status) => {
            debug!(peer = node, error = status.message(), "certificate not renewed at the mesh port");
            None
        }
    }
}

async fn asked(address: &str, config: Arc<ClientConfig>, ask: &RemoteRequest) -> Result<String, String> {
    let channel = channel(address, config)?;
    let answered = match ask {
        RemoteRequest::Renew(csr) => {
            let asked = pb::RenewCertificateRequest { csr: csr.clone() };
            CertificateServiceClient::new(channel).renew(asked).await
        }
        RemoteRequest::Rejoin(asked) => EnrollmentServiceClient::new(channel).rejoin(asked.clone()).await,
    };
    answered.map(|answer| answer.into_inner().chain_pem).map_err(|status| Fault::from(&status).message)
}

/// The way to a daemon that is a node of the mesh.
fn channel(address: &str, config: Arc<ClientConfig>) -> Result<Channel, String> {
    let told = |error: tonic::transport::Error| omnirelay_core::text::chain(&error);
    let endpoint = Endpoint::from_shared(format!("https://{address}")).map_err(told)?.timeout(WITHIN);
    let connector = tower::service_fn(move |place: Uri| {
        let connecting = tokio::time::timeout(WITHIN, tls::connect_with(place, config.clone()));
        async { connecting.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) }
    });
    Ok(endpoint.connect_with_connector_lazy(connector))
}
