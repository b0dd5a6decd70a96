//! Ways to the source of a domain, and the clients that are made of them.

use std::time::Duration;

use omnirelay_cluster_records::endpoints_of;
use omnirelay_node::transport::SiblingWays;
use omnirelay_node::transport::channel::MeshChannel;
use omnirelay_registry::view::View;
use omnirelay_wire::pb::omnirelay::mesh::control::v1::replication_service_client::ReplicationServiceClient;

/// How long a call may take, a connection included.
const WITHIN: Duration = Duration::from_secs(4);
/// The longest answer in bytes: of a batch of one commit, and of records that are listed.
const ANSWER_BYTES_MAX: usize = 10 << 20;

/// Client of the nodes of another cluster.
pub(super) type SourceClient = ReplicationServiceClient<MeshChannel>;

/// Ways to nodes of other clusters.
pub(crate) trait SourceWays: Send + Sync {
    /// Channel to whichever node of a cluster is at an address.
    ///
    /// # Errors
    /// Why the address is none.
    fn channel(&self, cluster: &str, endpoint: &str) -> Result<MeshChannel, String>;

    /// Forgets the ways to addresses that a view does not know.
    fn keep_known(&self, view: &View);
}

impl SourceWays for SiblingWays {
    fn channel(&self, cluster: &str, endpoint: &str) -> Result<MeshChannel, String> {
        Ok(self.to(cluster, endpoint)?.channel)
    }

    fn keep_known(&self, view: &View) {
        self.retain(|cluster, address| {
            endpoints_of(view, cluster).iter().any(|endpoint| endpoint == address)
        });
    }
}

/// Client of whichever node of a cluster is at an address; `streams`: its answers may go on for as long as they like.
///
/// # Errors
/// Why the address is none.
pub(super) fn client(
    ways: &dyn SourceWays,
    (cluster, endpoint): (&str, &str),
    streams: bool,
) -> Result<SourceClient, String> {
    let channel = ways.channel(cluster, endpoint)?.within(WITHIN);
    let channel = if streams { channel.streaming() } else { channel };
    Ok(ReplicationServiceClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX))
}

/// Addresses of a cluster, in an order of chance.
pub(super) fn endpoints(view: &View, cluster: &str) -> Vec<String> {
    let mut endpoints = endpoints_of(view, cluster);
    fastrand::shuffle(&mut endpoints);
    endpoints
}
