//! Mounts capacity: has commits and calls judged by the limits, watches how much is used, and serves it.

use std::sync::Arc;

use omnirelay_gossip::Gossip;
use omnirelay_node::{NodeBuilder, NodeError, PortName, StopPhase};
use omnirelay_wire::pb::omnirelay::mesh::control::v1::capacity_service_server::CapacityServiceServer;
use tonic::codec::CompressionEncoding::Gzip;

use crate::calls::CallLimits;
use crate::commits::CommitLimits;
use crate::growth::CountedRecords;
use crate::metrics::CapacityMetrics;
use crate::monitor::{CapacityMonitor, MonitoredUse};
use crate::service::Capacity;
use crate::shown_use::ShownUse;
use crate::use_counts::UseCounts;

/// Mounts capacity, of the records that are `counted`.
///
/// # Errors
/// [`NodeError`] when a metric cannot be made.
pub fn mount(
    node: &mut NodeBuilder,
    gossip: Option<Arc<Gossip>>,
    counted: CountedRecords,
) -> Result<(), NodeError> {
    let limits = node.settings.live(|config| config.limits);
    let (counts, shown) = (Arc::new(UseCounts::default()), Arc::new(ShownUse::new(counted)));
    let commits = CommitLimits::new(limits.clone(), counts.clone(), shown.clone());
    node.registry.write_gate().judge_by(Arc::new(commits));
    node.judge_calls(Arc::new(CallLimits::new(limits.clone(), counts.clone())));
    let registry = node.registry.clone();
    let of = MonitoredUse { registry, limits, counts, shown, gossip };
    let monitor = Arc::new(CapacityMonitor::new(of, node.notices.clone()));
    let (looks, needed, measured) = (monitor.clone(), monitor.clone(), monitor.clone());
    node.run(StopPhase::End, async move { looks.run().await });
    // Not required: a node at its limits does what it did.
    node.readiness.add(move || needed.needs());
    let metrics = CapacityMetrics::new(node.metrics.all())?;
    node.metrics.before_scrape(move || metrics.read(&measured.shown()));
    let service = CapacityServiceServer::new(Capacity(monitor));
    node.serve(PortName::Control, service.send_compressed(Gzip).accept_compressed(Gzip));
    Ok(())
}
