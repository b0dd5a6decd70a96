//! Mounts the state diff.

use std::sync::Arc;

use omnirelay_node::node_asker::NodeAsker;
use omnirelay_node::transport::NodeTransport;
use omnirelay_node::{NodeBuilder, NodeError, PortName, StopPhase};
use omnirelay_wire::pb::omnirelay::mesh::control::v1::state_diff_service_server::StateDiffServiceServer;
use tonic::codec::CompressionEncoding::Gzip;

use crate::metrics::StateDiffMetrics;
use crate::service::{StateDiff, StateDiffCalls};
use crate::{ComparedNodes, watchdog};

/// Mounts comparisons with the store, and with `nodes` that are called by `transport`.
///
/// # Errors
/// [`NodeError`] when a metric cannot be made.
pub fn mount(
    node: &mut NodeBuilder,
    transport: Arc<NodeTransport>,
    nodes: Arc<dyn ComparedNodes>,
) -> Result<(), NodeError> {
    let asker = NodeAsker { transport, trust: node.trust.clone() };
    let metrics = StateDiffMetrics::new(node.metrics.all())?;
    let diff = Arc::new(StateDiff::new(node.registry.clone(), nodes, asker, metrics));
    node.run(StopPhase::End, watchdog::run(diff.clone()));
    let service = StateDiffServiceServer::new(StateDiffCalls(diff));
    node.serve(PortName::Control, service.send_compressed(Gzip).accept_compressed(Gzip));
    Ok(())
}
