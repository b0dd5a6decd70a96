//! TLS with one other node: it has to be that node, and sees who this one is.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use omnirelay_host::wall_clock;
use omnirelay_identity::client::{ClientCertificate, LiveTlsClient, ServerTrust};
use omnirelay_identity::node_identity::NodeIdentity;
use omnirelay_identity::trust::{HolderStanding, MeshTrust, TrustSnapshot, unix_now};
use omnirelay_pki::certificate::Certificate;
use omnirelay_pki::trust::ChainUsage;
use omnirelay_transport::BoxError;
use omnirelay_transport::carrier::{ClientTls, ConnectionEnd, TlsStart};
use rustls::pki_types::CertificateDer;

/// How long before a certificate ends, in seconds, a connection that was made with it takes no more calls.
const RETIRED_BEFORE: i64 = 60;

/// Role in which a node is called by this one.
pub(super) struct NodeTlsRole {
    client: Arc<LiveTlsClient>,
    trust: Arc<MeshTrust>,
}

impl NodeTlsRole {
    /// With the node that has this id.
    pub(super) fn new(node: &str, trust: Arc<MeshTrust>) -> Self {
        Self::with(ServerTrust::Node(node.to_owned()), trust)
    }

    /// With whichever node of the mesh.
    pub(super) fn any(trust: Arc<MeshTrust>) -> Self {
        Self::with(ServerTrust::AnyNode, trust)
    }

    /// With this node of a federated cluster, by the roots of that; `None`: with any of its nodes.
    pub(super) fn of_cluster(cluster: &str, node: Option<&str>, trust: Arc<MeshTrust>) -> Self {
        let (cluster, node) = (cluster.to_owned(), node.map(str::to_owned));
        Self::with(ServerTrust::ClusterNode { cluster, node }, trust)
    }

    /// With this node of another cluster of the trust domain; `None`: with any of its nodes, which have to be called so besides.
    pub(super) fn of_sibling(cluster: &str, node: Option<&str>, trust: Arc<MeshTrust>) -> Self {
        let (cluster, node) = (cluster.to_owned(), node.map(str::to_owned));
        Self::with(ServerTrust::Sibling { cluster, node }, trust)
    }

    fn with(whom: ServerTrust, trust: Arc<MeshTrust>) -> Self {
        Self { client: LiveTlsClient::new(whom, ClientCertificate::Node, trust.clone()), trust }
    }
}

impl ClientTls for NodeTlsRole {
    fn begin(&self) -> Result<TlsStart, BoxError> {
        // Before the handshake: whatever changes from then on counts.
        let (trust, judged_by) = (self.trust.clone(), self.trust.current());
        let own = judged_by.own.clone().ok_or("this node was not enrolled")?;
        self.client.check_federated()?;
        let config = self.client.config()?;
        let ends = Box::new(move |chain: Vec<CertificateDer<'static>>| {
            Box::pin(ends(trust, judged_by, own, chain)) as BoxFuture<'static, ConnectionEnd>
        });
        Ok(TlsStart { config, ends })
    }
}

/// Returns once a connection has to end that began while the node was `own`, to whoever has shown this chain.
async fn ends(
    trust: Arc<MeshTrust>,
    judged_by: Arc<TrustSnapshot>,
    own: Arc<NodeIdentity>,
    chain: Vec<CertificateDer<'static>>,
) -> ConnectionEnd {
    let Some(shown) = chain.first().and_then(|leaf| Certificate::read(leaf).ok()) else {
        return ConnectionEnd::Cut("nobody has shown who they are");
    };
    let standing = judged_by.standing(&shown, &chain, (unix_now(), ChainUsage::Server)).unwrap_or_default();
    // What is pinned is of this mesh.
    let unpinned = async {
        match standing {
            HolderStanding::Member => trust.unpinned(&chain, ChainUsage::Server).await,
            HolderStanding::Federated | HolderStanding::Sibling(_) | HolderStanding::SiblingNode(_) => {
                std::future::pending().await
            }
        }
    };
    tokio::select! {
        why = trust.ended(judged_by, &shown, (&chain, &standing), ChainUsage::Server) => ConnectionEnd::Cut(why),
        why = unpinned => ConnectionEnd::Cut(why),
        why = trust.own_ended(&own.leaf) => ConnectionEnd::Cut(why),
        () = renewed(&trust, &own.leaf) => ConnectionEnd::Retire("this node has another certificate"),
        () = ends_soon(shown.not_after.min(own.leaf.not_after)) => {
            ConnectionEnd::Retire("a certificate that it was made with ends soon")
        }
    }
}

/// Returns once the node shows another certificate than this one.
async fn renewed(trust: &MeshTrust, shown: &Certificate) {
    let mut changes = trust.changes();
    let is_other =
        changes.wait_for(|now| now.own.as_ref().is_some_and(|own| own.leaf.serial != shown.serial));
    if is_other.await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Returns shortly before the second of the Unix time `end`, by this host's clock, which may jump.
async fn ends_soon(end: i64) {
    wall_clock::sleep_until(end.saturating_sub(RETIRED_BEFORE)).await;
}
