//! Mounts the check of the mesh.

use std::sync::Arc;

use omnirelay_doctor::certificate::papers::CertificatePaths;
use omnirelay_identity::provided::{IdentityFileFormat, ProviderSource};
use omnirelay_node::node_asker::NodeAsker;
use omnirelay_node::transport::NodeTransport;
use omnirelay_node::{NodeBuilder, PortName};
use omnirelay_wire::pb::omnirelay::mesh::control::v1::check_service_server::CheckServiceServer;
use parking_lot::Mutex;
use tonic::codec::CompressionEncoding::Gzip;

use crate::asking::MeshAsker;
use crate::host::HostChecker;
use crate::{CheckedMesh, MeshCheckService, MeshChecker};

/// Mounts what judges the mesh by what is `known` of it, and by what its nodes say that are called by `transport`.
pub fn mount(node: &mut NodeBuilder, transport: Arc<NodeTransport>, known: Arc<dyn CheckedMesh>) {
    let checker = MeshChecker {
        registry: node.registry.clone(),
        known,
        asker: MeshAsker(NodeAsker { transport, trust: node.trust.clone() }),
    };
    let check = CheckServiceServer::new(MeshCheckService::new(checker, host(node)))
        .send_compressed(Gzip)
        .accept_compressed(Gzip);
    node.serve(PortName::Control, check);
}

/// What is judged of this host.
fn host(node: &NodeBuilder) -> HostChecker {
    let mut ports = vec![("control.listen", node.addresses.control)];
    if let Some(relay) = &node.addresses.relay {
        ports.extend([("relay.listen", relay.grpc), ("relay.httpListen", relay.http)]);
    }
    HostChecker {
        settings: node.settings.clone(),
        source: node.source.clone(),
        data_dir: node.disk.path().to_path_buf(),
        certificate: certificate_files(node),
        ports,
        names: Mutex::default(),
    }
}

/// Where those are that are configured by now, or else those that the node keeps.
fn certificate_files(
    node: &NodeBuilder,
) -> Box<dyn Fn() -> Result<CertificatePaths, &'static str> + Send + Sync> {
    let (kept, provision) = (node.identity_files.folder().to_owned(), node.provision.clone());
    let trust = node.trust.clone();
    Box::new(move || {
        let (places, provided) = (CertificatePaths::in_folder(&kept), provision.current());
        match provided.source {
            ProviderSource::Files(IdentityFileFormat::Pem { cert, key }) => {
                let folder = cert.parent().unwrap_or(&kept).to_owned();
                let bundle = provided.bundle.unwrap_or(places.bundle);
                Ok(CertificatePaths { folder, key, chain: cert, bundle })
            }
            ProviderSource::Files(IdentityFileFormat::Pkcs12 { .. }) => {
                Err("it is in PKCS#12, of which mesh check says what is wrong: identity-certificate")
            }
            // What has become of the files of one that it shows is not that it has none.
            ProviderSource::Mesh if trust.current().own.is_none() && !places.chain.exists() => {
                Err("this node has no certificate")
            }
            ProviderSource::Mesh => Ok(places),
        }
    })
}
