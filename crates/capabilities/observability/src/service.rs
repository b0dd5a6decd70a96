//! The service of observability: the targets of Prometheus.

use std::sync::Arc;

use omnirelay_host::live::Live;
use omnirelay_nouns::{at_cursor, envelope, head_cursor, serve};
use omnirelay_registry::Registry;
use omnirelay_wire::envelope::EnvelopedAnswer as _;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use pb::observability_service_server::ObservabilityService;
use tonic::Response;

use crate::scrape_targets::scrape_targets;

/// Serves `ObservabilityService`.
pub(crate) struct ObservabilityCalls {
    pub registry: Arc<Registry>,
    /// Cluster of this daemon.
    pub cluster: Live<String>,
}

impl ObservabilityCalls {
    /// Fails while nothing has been read of the registry: Prometheus keeps the targets that it has, which an empty list would end.
    async fn targets(&self) -> Result<Response<pb::ListScrapeTargetsResponse>, Fault> {
        let registry = &self.registry;
        registry.ready_for("").await?;
        let cursor = head_cursor(registry.view());
        let answer = pb::ListScrapeTargetsResponse {
            cursor: cursor.clone(),
            targets: scrape_targets(registry.view(), &self.cluster.get()),
            ..Default::default()
        };
        Ok(at_cursor(answer.within(envelope(registry)), &cursor))
    }
}

serve! {
    ObservabilityService for ObservabilityCalls {
        list_scrape_targets(ListScrapeTargetsRequest) -> ListScrapeTargetsResponse: |service, _, _| service.targets();
    }
}
