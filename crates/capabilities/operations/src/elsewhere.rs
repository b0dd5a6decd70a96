//! Operations of other nodes: each knows its own, and is asked at its mesh port.

use std::time::Duration;

use futures_util::stream::unfold;
use omnirelay_host::places::TakenPlace;
use omnirelay_node::transport::NodeTransport;
use omnirelay_node::transport::channel::MeshChannel;
use omnirelay_nouns::feed::NounEventStream;
use omnirelay_peer_records as peers;
use omnirelay_registry::Registry;
use omnirelay_transport::peer::CallPath;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use pb::operation_service_client::OperationServiceClient;

/// How long one node may take.
const WITHIN: Duration = Duration::from_secs(2);

/// How many of them are asked at a time.
pub(super) const AT_A_TIME: usize = 16;

/// Client by which a node is asked of its operations.
pub(super) fn client(channel: &MeshChannel) -> OperationServiceClient<MeshChannel> {
    OperationServiceClient::new(channel.clone())
}

/// Channels to the other nodes that have a mesh port, by the ids of the nodes.
pub(super) fn channels(registry: &Registry, transport: &NodeTransport) -> Vec<(String, MeshChannel)> {
    let channel = |node: &str| transport.channel(node, CallPath::REPEATABLE).ok();
    let others = peers::others(registry).into_iter();
    others.filter_map(|node| channel(&node).map(|channel| (node, channel.within(WITHIN)))).collect()
}

/// Stream of what a node tells of one of its operations, as it tells it.
pub(super) async fn watched(
    id: &str,
    channel: MeshChannel,
    place: TakenPlace,
) -> Result<NounEventStream<pb::OperationEvent>, Fault> {
    let asked = pb::WatchOperationRequest { operation_id: id.to_owned(), local: true };
    let told = client(&channel.streaming()).watch(asked).await.map_err(|status| Fault::from(&status))?;
    let events = unfold((told.into_inner(), place), async |(mut told, place)| {
        let event = told.message().await.transpose()?;
        Some((event, (told, place)))
    });
    Ok(Box::pin(events))
}
