//! Asking nodes of other clusters, at their control ports: by the roots of a federated one, or as nodes of the trust domain.

use std::fmt;
use std::time::Duration;

use super::clusters::ClusterRelation;
use omnirelay_decisions::range_digest::{PARTS, RangeDigests};
use omnirelay_node::transport::channel::MeshChannel;
use omnirelay_node::transport::{NeighbourPeer, NodeTransport};
use omnirelay_transport::carrier::ConnectionProtocol;
use omnirelay_wire::fault::unanswered;
use omnirelay_wire::pb::omnirelay::registers::v1 as pb;
use pb::advertisement_exchange_service_client::AdvertisementExchangeServiceClient;

/// How long it may take to compare, a connection included, and to fetch.
const COMPARE_WITHIN: Duration = Duration::from_secs(4);
const FETCH_WITHIN: Duration = Duration::from_secs(10);
/// The longest answer in bytes: a part goes into one, the 256th of 100,000 registers with long descriptions in all letters.
const ANSWER_BYTES_MAX: usize = 8 << 20;

/// A way to a node of another cluster.
#[derive(Clone)]
pub(super) struct ClusterNeighbour(NeighbourPeer);

impl fmt::Debug for ClusterNeighbour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Neighbour").finish_non_exhaustive()
    }
}

impl ClusterNeighbour {
    /// The way to whatever node of the cluster is there, or to this one alone.
    ///
    /// # Errors
    /// Why the address is none.
    pub(super) fn at(
        control: &str,
        (cluster, relation): (&str, ClusterRelation),
        node: Option<&str>,
        transport: &NodeTransport,
    ) -> Result<Self, String> {
        let peer = match relation {
            ClusterRelation::Federated => transport.federated_peer(control, cluster, node),
            ClusterRelation::Sibling => transport.sibling_peer(control, cluster, node),
        };
        peer.map(Self)
    }

    /// Protocol by which the node is called now; `None`: no connection is open.
    pub(super) fn protocol(&self) -> Option<ConnectionProtocol> {
        self.0.used().protocol
    }

    fn client(&self, within: Duration) -> AdvertisementExchangeServiceClient<MeshChannel> {
        let client = AdvertisementExchangeServiceClient::new(self.0.channel.clone().within(within));
        client.max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    /// Asks whether it offers what has this digest, and which nodes there are.
    ///
    /// # Errors
    /// Why there is no answer, in words.
    pub(super) async fn compare(
        &self,
        digest: u64,
        list_nodes: bool,
    ) -> Result<pb::CompareAdvertisedResponse, String> {
        let mut client = self.client(COMPARE_WITHIN);
        let asked = pb::CompareAdvertisedRequest { digest, list_nodes };
        let answer = client.compare(asked).await.map_err(|status| unanswered(&status))?.into_inner();
        self.0.offers_http3(answer.http3);
        Ok(answer)
    }

    /// Fetches what differs of what is held, from one part on.
    ///
    /// # Errors
    /// As for [`Self::compare`]; that the answer leads nowhere.
    pub(super) async fn fetch(
        &self,
        held: &RangeDigests,
        from: u32,
    ) -> Result<pb::FetchAdvertisedResponse, String> {
        let mut client = self.client(FETCH_WITHIN);
        let asked = pb::FetchAdvertisedRequest { parts: held.parts().to_vec(), from };
        let answer = client.fetch(asked).await.map_err(|status| unanswered(&status))?.into_inner();
        let leads = answer.next > from && answer.next as usize <= PARTS;
        if leads { Ok(answer) } else { Err(format!("its answer ends at part {}", answer.next)) }
    }
}
