//! The service of capacity: how much of each limit is used.

use std::sync::Arc;

use omnirelay_nouns::{at_cursor, envelope, head_cursor, serve};
use omnirelay_wire::envelope::EnvelopedAnswer as _;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use pb::capacity_service_server::CapacityService;
use tonic::Response;

use crate::monitor::CapacityMonitor;

/// Serves `CapacityService`.
pub(crate) struct Capacity(pub Arc<CapacityMonitor>);

impl Capacity {
    async fn limits(&self) -> Result<Response<pb::GetCapacityResponse>, Fault> {
        let (monitor, registry) = (&self.0, &self.0.of.registry);
        registry.ready_for("").await?;
        let cursor = head_cursor(registry.view());
        let answer = pb::GetCapacityResponse {
            cursor: cursor.clone(),
            limits: monitor.shown(),
            watched_ms: monitor.watched_ms(),
            ..Default::default()
        };
        Ok(at_cursor(answer.within(envelope(registry)), &cursor))
    }
}

serve! {
    CapacityService for Capacity {
        get(GetCapacityRequest) -> GetCapacityResponse: |capacity, _, _| capacity.limits();
    }
}
