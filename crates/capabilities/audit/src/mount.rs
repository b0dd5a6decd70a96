//! Mounts the audit trail: seals what this node records, follows the seals of all, enters refusals, and serves the
//! trail.

use std::sync::Arc;
use std::time::Duration;

use omnirelay_node::{CapabilityKinds, NodeBuilder, NodeError, PortName, StopPhase};
use omnirelay_registry::Registry;
use omnirelay_registry::audit_record::AUDIT;
use omnirelay_surface::{FailedHandshake, FinishedCall, RequestObserver};
use omnirelay_wire::pb::omnirelay::security::v1::audit_service_server::AuditServiceServer;
use tonic::codec::CompressionEncoding::Gzip;
use tracing::warn;

use crate::files::{AuditFiles, AuditKey};
use crate::heads::{ChainHeads, VouchedKeys, follow_seals};
use crate::metrics::AuditMetrics;
use crate::patrol::patrol;
use crate::refusals::{UnwrittenRefusals, enter_refusals};
use crate::sealer::Sealer;
use crate::trail_records::newest_revision_of;
use crate::watching::topic;
use crate::{AUDIT_SEAL, Audit};

pub const KINDS: CapabilityKinds =
    CapabilityKinds { followed: &[AUDIT, AUDIT_SEAL], ..CapabilityKinds::NONE };

/// What could not be done, where its files cannot be used.
pub const NOT_KEPT: &str = "cannot keep the audit trail";

/// How long a node that stops waits for its last audit records to be sealed.
const LAST_SEAL_WAIT: Duration = Duration::from_secs(2);

/// Mounts the trail that is kept in `files` and sealed with `key`; `vouched` says which keys the authority vouches for.
pub fn mount(
    node: &mut NodeBuilder,
    files: AuditFiles,
    key: Arc<AuditKey>,
    vouched: VouchedKeys,
) -> Result<(), NodeError> {
    let registry = node.registry.clone();
    let heads = Arc::new(ChainHeads::new(files.heads().map_err(NodeError::of(NOT_KEPT))?).believing(vouched));
    let refusals = Arc::new(UnwrittenRefusals::open(&files).map_err(NodeError::of(NOT_KEPT))?);
    let keep = node.settings.live(|config| config.audit.age.0);
    node.run(StopPhase::End, Sealer::new(registry.clone(), key, files.clone(), heads.clone(), keep).run());
    node.run(StopPhase::End, enter_refusals(registry.clone(), refusals.clone(), files.clone()));
    node.run(StopPhase::End, follow_seals(registry.clone(), heads.clone(), files));
    node.run(StopPhase::End, patrol(registry.clone(), heads.clone()));
    node.at(StopPhase::Seal, seal_last(registry.clone(), heads.clone()));
    let (metrics, counted) = (AuditMetrics::new(node.metrics.all())?, registry.clone());
    node.metrics.before_scrape(move || metrics.read(&counted));
    node.observe(Arc::new(RefusalObserver(refusals)));
    node.topics.add(topic(heads.clone()));
    let audit = Audit::new(registry, heads, node.watches_max());
    let audit = AuditServiceServer::new(audit).send_compressed(Gzip).accept_compressed(Gzip);
    node.serve(PortName::Control, audit);
    Ok(())
}

/// Gives what was done last the time to be sealed: a node that never comes back seals nothing.
async fn seal_last(registry: Arc<Registry>, heads: Arc<ChainHeads>) {
    if registry.view().silence().is_some() {
        return;
    }
    let sealed = async {
        let newest = newest_revision_of(registry.store(), registry.node_id()).await;
        let newest = newest.unwrap_or(0);
        heads.wait_through(registry.node_id(), newest, LAST_SEAL_WAIT).await
    };
    if tokio::time::timeout(LAST_SEAL_WAIT, sealed).await != Ok(true) {
        warn!("the last audit records are not sealed; they are at the next start");
    }
}

/// Observer that notes refused calls and handshakes for the trail.
struct RefusalObserver(Arc<UnwrittenRefusals>);

impl RequestObserver for RefusalObserver {
    fn finished(&self, call: &FinishedCall<'_>) {
        self.0.note(call);
    }

    fn unshaken(&self, handshake: &FailedHandshake<'_>) {
        self.0.note_handshake(handshake);
    }
}
