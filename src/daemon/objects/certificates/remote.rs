//! Renewal by another daemon: of a node that cannot issue, proven by the certificate before.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use omnirelay_core::spiffe::Holder;
use omnirelay_pki::trust::{Bundle, Usage};
use omnirelay_wire::fault::Fault;
use omnirelay_wire::tls::{self, ClientTls};
use rustls::{ClientConfig, RootCertStore};
use tonic::transport::{Channel, Endpoint, Uri};

use super::pb;
use crate::daemon::identity::own::OwnIdentity;
use crate::daemon::identity::trust::{Trusted, unix_now};
use pb::certificate_service_client::CertificateServiceClient;
use pb::enrollment_service_client::EnrollmentServiceClient;

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

/// What another daemon is asked for.
pub enum Ask {
    /// To renew the certificate that is shown, for the key of this request in PEM.
    Renew(String),
    /// To issue a node another one whose own has ended.
    Rejoin(pb::RejoinRequest),
}

/// Has one of these daemons issue a certificate; answers its chain.
///
/// # Errors
/// What the last daemon said that was asked.
pub async fn issued(
    own: &OwnIdentity,
    trusted: &Arc<Trusted>,
    ask: &Ask,
    controls: Vec<String>,
) -> Result<String, RenewalError> {
    let shown = match ask {
        Ask::Renew(_) => Some(own),
        // Nobody takes a certificate that has ended.
        Ask::Rejoin(_) => None,
    };
    let config = Arc::new(client(shown, trusted)?);
    let mut last = RenewalError::Nobody;
    for address in controls {
        match asked(&address, config.clone(), trusted.clone(), ask).await {
            Ok(chain) => return Ok(chain),
            Err(what) => last = RenewalError::Daemon { address, what },
        }
    }
    Err(last)
}

async fn asked(
    address: &str,
    config: Arc<ClientConfig>,
    trusted: Arc<Trusted>,
    ask: &Ask,
) -> Result<String, String> {
    let channel = channel(address, config, trusted)?;
    let answered = match ask {
        Ask::Renew(csr) => {
            let asked = pb::RenewCertificateRequest { csr: csr.clone() };
            CertificateServiceClient::new(channel).renew(asked).await
        }
        Ask::Rejoin(asked) => EnrollmentServiceClient::new(channel).rejoin(asked.clone()).await,
    };
    answered.map(|answer| answer.into_inner().chain_pem).map_err(|status| Fault::from(&status).message)
}

/// Shows who this node is, where it is to, and believes the authority of the mesh.
fn client(own: Option<&OwnIdentity>, trusted: &Trusted) -> Result<ClientConfig, rustls::Error> {
    let mut roots = RootCertStore::empty();
    for root in trusted.bundle.iter().flat_map(Bundle::roots) {
        roots.add(root.clone())?;
    }
    let identity = match own {
        Some(own) => {
            let no_key = || rustls::Error::General("the key is none".to_owned());
            Some((own.chain.clone(), own.private_key().ok_or_else(no_key)?))
        }
        None => None,
    };
    ClientTls { roots: Some(roots), identity, ..ClientTls::default() }.config()
}

/// The way to a daemon that is a node of the mesh.
fn channel(address: &str, config: Arc<ClientConfig>, trusted: Arc<Trusted>) -> Result<Channel, String> {
    let told = |error: tonic::transport::Error| omnirelay_core::text::chain(&error);
    let endpoint = Endpoint::from_shared(format!("https://{address}")).map_err(told)?.timeout(WITHIN);
    let connector = tower::service_fn(move |place: Uri| {
        let (config, trusted) = (config.clone(), trusted.clone());
        async move {
            let connecting = tokio::time::timeout(WITHIN, tls::connect_with(place, config));
            let stream = connecting.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
            let shown = stream.inner().get_ref().1.peer_certificates().unwrap_or_default();
            // Besides the name that was called: a node, and none that is out.
            let shown = trusted.judge(shown, unix_now(), Usage::Server).map_err(io::Error::other)?;
            match shown.id.holder() {
                Holder::Node { .. } => Ok(stream),
                Holder::Operator(_) | Holder::Service(_) => Err(io::Error::other("it is no node")),
            }
        }
    });
    Ok(endpoint.connect_with_connector_lazy(connector))
}
