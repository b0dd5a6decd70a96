//! Mounts observability.

use std::sync::Arc;

use omnirelay_host::log::RecentLines;
use omnirelay_host::stalls::LoopStalls;
use omnirelay_node::{NodeBuilder, NodeError, PortName};
use omnirelay_wire::pb::omnirelay::mesh::control::v1::observability_service_server::ObservabilityServiceServer;
use omnirelay_wire::pb::omnirelay::mesh::control::v1::support_service_server::SupportServiceServer;
use tonic::codec::CompressionEncoding::Gzip;

use crate::diagnostics::SupportCalls;
use crate::otlp::mount_export;
use crate::process_metrics::ProcessMetrics;
use crate::service::ObservabilityCalls;

/// Mounts observability, of a process with this event loop and this log.
///
/// # Errors
/// [`NodeError`] when a metric cannot be made.
pub fn mount(
    node: &mut NodeBuilder,
    stalls: Arc<LoopStalls>,
    log: Arc<RecentLines>,
) -> Result<(), NodeError> {
    let process = ProcessMetrics::of_this_process(node.metrics.all())?;
    node.metrics.before_scrape(move || process.read(&stalls));
    mount_export(node)?;
    let service = ObservabilityServiceServer::new(ObservabilityCalls {
        registry: node.registry.clone(),
        cluster: node.settings.live(|config| config.node.cluster.clone()),
    });
    node.serve(PortName::Control, service.send_compressed(Gzip).accept_compressed(Gzip));
    let support = SupportCalls {
        registry: node.registry.clone(),
        readiness: node.readiness.clone(),
        settings: node.settings.clone(),
        metrics: node.metrics.clone(),
        log,
    };
    let service = SupportServiceServer::new(support);
    node.serve(PortName::Control, service.send_compressed(Gzip).accept_compressed(Gzip));
    Ok(())
}
