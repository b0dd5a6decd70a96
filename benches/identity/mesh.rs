//! A mesh that has an authority, and those who prove who they are to it.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use omnirelay_pki::certificate::TlsNames;
use omnirelay_pki::key::PrivateKey;
use omnirelay_pki::request::{CertificateRequest, to_pem};
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as control;
use omnirelay_wire::pb::omnirelay::security::v1 as pb;
use omnirelay_wire::tls::{ClientTls, connect_with};
use pb::certificate_service_client::CertificateServiceClient;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use tonic::codegen::http::Uri;
use tonic::transport::{Channel, Endpoint};

use crate::process::secured::Secured;

/// How often callers may call: as often as they can, so that it is not this that is measured.
const UNLIMITED: [&str; 8] = [
    "--set",
    "control.rateLimit.callsPerSecond=1000000",
    "--set",
    "control.rateLimit.burst=10000000",
    "--set",
    "control.rateLimit.unprovenPerSecond=1000000",
    "--set",
    "control.rateLimit.unprovenBurst=10000000",
];

/// Starts a daemon and makes the authority; `arguments` are the daemon's own.
pub(crate) fn start(node_id: &str, listen: &str, arguments: &[&str]) -> Result<Secured> {
    const OWN: [&str; 4] = ["--set", "control.tls.source=mesh", "--set", "mesh.leadership.enabled=false"];
    Secured::start(node_id, listen, &[&OWN[..], &UNLIMITED, arguments].concat())
}

/// Has the administrator run a command.
pub(crate) fn by_admin(mesh: &Secured, line: &str) -> Result<String> {
    let done = mesh.by("admin", line)?;
    ensure!(done.code == Some(0), "{line}: {}", done.complaint);
    Ok(done.output)
}

/// What somebody shows, and whom they believe.
#[derive(Debug)]
pub(crate) struct Identity {
    key_pem: String,
    chain: Vec<CertificateDer<'static>>,
    bundle: Vec<CertificateDer<'static>>,
}

impl Identity {
    /// What a folder holds that `--out` has written.
    pub(crate) fn of(folder: &Path) -> Result<Self> {
        let read = |name: &str| {
            std::fs::read_to_string(folder.join(name)).with_context(|| format!("{folder:?}/{name}"))
        };
        Self::from_pem(read("key.pem")?, &read("chain.pem")?, &read("bundle.pem")?)
    }

    pub(crate) fn from_pem(key_pem: String, chain: &str, bundle: &str) -> Result<Self> {
        Ok(Self { key_pem, chain: certificates(chain)?, bundle: certificates(bundle)? })
    }

    /// Whom they believe, and nothing that they show.
    pub(crate) fn nobody(&self) -> Result<Arc<ClientConfig>> {
        self.config_of(None)
    }

    pub(crate) fn config(&self) -> Result<Arc<ClientConfig>> {
        let key = PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes())?;
        self.config_of(Some((self.chain.clone(), key)))
    }

    fn config_of(
        &self,
        identity: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
    ) -> Result<Arc<ClientConfig>> {
        let mut config =
            ClientTls { roots: Some(self.roots()?), identity, ..ClientTls::default() }.config()?;
        // Each handshake is a whole one.
        config.resumption = rustls::client::Resumption::disabled();
        Ok(Arc::new(config))
    }

    pub(crate) fn roots(&self) -> Result<RootCertStore> {
        let mut roots = RootCertStore::empty();
        for root in &self.bundle {
            roots.add(root.clone())?;
        }
        Ok(roots)
    }
}

fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    Ok(found?)
}

/// A connection, open.
pub(crate) async fn channel(address: &str, config: &Arc<ClientConfig>) -> Result<Channel> {
    let config = Arc::clone(config);
    let connector = tower::service_fn(move |place: Uri| connect_with(place, config.clone()));
    let endpoint = Endpoint::from_shared(format!("https://{address}"))?;
    Ok(endpoint.connect_with_connector(connector).await?)
}

/// Several of them.
pub(crate) async fn channels(
    count: usize,
    address: &str,
    config: &Arc<ClientConfig>,
) -> Result<Vec<Channel>> {
    let mut channels = Vec::new();
    for _ in 0..count {
        channels.push(channel(address, config).await?);
    }
    Ok(channels)
}

/// A reading of one record.
pub(crate) async fn read(channel: Channel, node_id: &str) -> Result<()> {
    let request = control::GetPeerRequest { node_id: node_id.to_owned(), ..Default::default() };
    control::peer_control_service_client::PeerControlServiceClient::new(channel).get(request).await?;
    Ok(())
}

/// A key, and the request for a certificate of it.
pub(crate) fn request() -> Result<(PrivateKey, String)> {
    let key = PrivateKey::make()?;
    let request = CertificateRequest::make(&key, None, &TlsNames::default())?;
    Ok((key, to_pem(&request)))
}

/// Has a certificate issued to an operator.
pub(crate) async fn issue(channel: Channel, operator: String, csr: String) -> Result<pb::IssuedCertificate> {
    let request = pb::IssueCertificateRequest { operator, csr, ..Default::default() };
    Ok(CertificateServiceClient::new(channel).issue(request).await?.into_inner())
}
