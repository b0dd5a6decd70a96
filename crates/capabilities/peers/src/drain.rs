//! Drain of a peer: how far it has come with handing over what it leads and owns.

use omnirelay_nouns::{at_cursor, envelope, head_cursor};
use omnirelay_peer_records::{check_node_id, leads, not_found, peer_id};
use omnirelay_registry::Registry;
use omnirelay_wire::envelope::EnvelopedAnswer as _;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::store::v1::PeerValue;
use tonic::Response;

use super::{HeldByPeers, pb};

/// Says what a peer still leads and owns, and what keeps it there.
pub(crate) async fn get(
    registry: &Registry,
    held: &HeldByPeers,
    request: pb::GetDrainRequest,
) -> Result<Response<pb::GetDrainResponse>, Fault> {
    check_node_id(&request.node_id)?;
    registry.ready_for(&request.min_revision).await?;
    let view = registry.view();
    let record = registry.find(&peer_id(&request.node_id)).await?;
    let record = record.ok_or_else(|| not_found(&request.node_id))?;
    let cursor = head_cursor(view);
    let value = record.value::<PeerValue>().unwrap_or_default();
    let remaining = (held.scopes)(view, &request.node_id, leads(view, &request.node_id));
    let shards = (held.shards)(view, &request.node_id);
    let envelope = envelope(registry);
    let response = pb::GetDrainResponse {
        cursor: cursor.clone(),
        node_id: request.node_id,
        draining: value.draining,
        drained: remaining.is_empty() && shards.is_empty(),
        remaining,
        shards,
        ..Default::default()
    }
    .within(envelope);
    Ok(at_cursor(response, &cursor))
}
