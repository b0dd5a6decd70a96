//! Mounts the transport policy: has what the node listens at judged by it, begins its record, and serves it.

use std::sync::Arc;

use omnirelay_decisions::transport_policy::summary;
use omnirelay_identity::trust::MeshTrust;
use omnirelay_node::readiness::item;
use omnirelay_node::{CapabilityKinds, NodeBuilder, NodeError, PortName, StopPhase};
use omnirelay_nouns::document::{Document, DocumentSeed};
use omnirelay_nouns::seed::SeedDriver;
use omnirelay_registry::epoch_loss::{RestorationRule, RestoredBy};
use omnirelay_registry::view::View;
use omnirelay_restoration_records::is_restored;
use omnirelay_settings::Config;
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use omnirelay_wire::pb::omnirelay::mesh::control::v1::config_service_server::ConfigServiceServer;
use omnirelay_wire::pb::omnirelay::mesh::control::v1::transport_finding::Level;
use tonic::codec::CompressionEncoding::Gzip;

use crate::metrics::TransportPolicyMetrics;
use crate::schema::{TRANSPORT_POLICY, TransportPolicySchema};
use crate::{MeshConfig, OwnTransport};

pub const KINDS: CapabilityKinds = CapabilityKinds {
    mirrored: &[TRANSPORT_POLICY],
    signed: &[TRANSPORT_POLICY],
    restored: &[RestorationRule::of(TRANSPORT_POLICY, RestoredBy::Furthest)],
    ..CapabilityKinds::NONE
};

/// The items of readiness: what is refused, and what somebody should look at.
const VIOLATIONS: &str = "transport-policy";
const WARNINGS: &str = "transport-policy-warnings";

/// Mounts the policy, beside which the `join_policy` that holds is shown.
pub fn mount(
    node: &mut NodeBuilder,
    join_policy: fn(&View) -> pb::EffectiveJoinPolicy,
) -> Result<(), NodeError> {
    let schema = TransportPolicySchema {
        configured: node.settings.live(|config| config.transport.policy.clone()),
        endpoints: node.settings.live(Config::transport_endpoints),
    };
    let policy = Document { registry: node.registry.clone(), schema };
    node.run(StopPhase::End, seeding(&policy, node.trust.clone()).run());
    node.topics.add(Document::<TransportPolicySchema>::topic());
    let own = Arc::new(OwnTransport { policy, join_policy });
    let asked = own.clone();
    // Not required: a policy that somebody sets elsewhere is not to take nodes out of service.
    node.readiness.add(move || {
        let report = asked.judge();
        [(VIOLATIONS, Level::Violation), (WARNINGS, Level::Warning)]
            .map(|(name, level)| item(name, false, summary(&report, level)))
            .to_vec()
    });
    let (judged, metrics) = (own.clone(), TransportPolicyMetrics::new(node.metrics.all())?);
    node.metrics.before_scrape(move || metrics.read(&judged.judge()));
    let service = ConfigServiceServer::new(MeshConfig(own));
    node.serve(PortName::Control, service.send_compressed(Gzip).accept_compressed(Gzip));
    Ok(())
}

/// Begins the record with the policy that the configuration names.
pub(crate) fn seeding(
    policy: &Document<TransportPolicySchema>,
    trust: Arc<MeshTrust>,
) -> SeedDriver<DocumentSeed<TransportPolicySchema>> {
    SeedDriver {
        registry: policy.registry.clone(),
        trust,
        is_restored,
        action: "transport-policy.seed",
        named: policy.schema.configured.map(|named| named.map(DocumentSeed).into_iter().collect()),
    }
}
