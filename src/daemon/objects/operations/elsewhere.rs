//! Operations of other nodes: each knows its own, and is asked at its mesh port.

use std::time::Duration;

use futures_util::future::{BoxFuture, join_all};
use futures_util::stream::unfold;
use omnirelay_transport::peer::Way;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use pb::operation_service_client::OperationServiceClient;
use tokio::sync::OwnedSemaphorePermit;
use tonic::Status;

use crate::daemon::objects::feed::Events;
use crate::daemon::objects::peers;
use crate::daemon::registry::Registry;
use crate::daemon::transport::Transport;
use crate::daemon::transport::channel::MeshChannel;

/// How long one node may take.
const WITHIN: Duration = Duration::from_secs(2);

type Client = OperationServiceClient<MeshChannel>;

/// What other nodes that live and have a mesh port are asked by.
pub(super) fn channels(registry: &Registry, transport: &Transport) -> Vec<(String, MeshChannel)> {
    let way = Way { repeatable: true, bulk: false };
    let others = peers::others(registry).into_iter();
    others
        .filter_map(|node| Some((node.clone(), transport.channel(&node, way).ok()?.within(WITHIN))))
        .collect()
}

/// What each of them answers, in their order.
pub(super) async fn asked<T>(
    others: Vec<(String, MeshChannel)>,
    ask: impl Fn(Client) -> BoxFuture<'static, Result<T, Status>>,
) -> Vec<(String, Result<T, Status>)> {
    let (nodes, asking): (Vec<_>, Vec<_>) =
        others.into_iter().map(|(node, channel)| (node, ask(Client::new(channel)))).unzip();
    nodes.into_iter().zip(join_all(asking).await).collect()
}

/// What a node tells of one of its operations, as it tells it.
pub(super) async fn watched(
    id: &str,
    channel: MeshChannel,
    place: OwnedSemaphorePermit,
) -> Result<Events<pb::OperationEvent>, Fault> {
    let asked = pb::WatchOperationRequest { operation_id: id.to_owned(), local: true };
    let told = Client::new(channel).watch(asked).await.map_err(|status| Fault::from(&status))?;
    let events = unfold((told.into_inner(), place), async |(mut told, place)| {
        let event = told.message().await.transpose()?;
        Some((event, (told, place)))
    });
    Ok(Box::pin(events))
}
