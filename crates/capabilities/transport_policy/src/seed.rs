//! The policy that the configuration of a daemon names: it begins the record of a mesh that has an authority and no policy.

use std::sync::Arc;
use std::time::Duration;

use omnirelay_decisions::transport_policy::differences;
use omnirelay_identity::trust::{HasAuthority, MeshTrust};
use omnirelay_nouns::timestamp;
use omnirelay_registry::act::OwnChange;
use omnirelay_registry::view::View;
use omnirelay_restoration_records::is_over;
use omnirelay_store::CommitError;
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use omnirelay_wire::pb::omnirelay::store::v1::TransportPolicyValue;
use tokio::time::Instant;
use tracing::{info, warn};

use super::{OwnTransport, TRANSPORT_POLICY, newest, policy_id};

/// How long after a failure it is tried again.
const AGAIN: Duration = Duration::from_secs(15);

/// Enters what the configuration names by then, as soon as the mesh has an authority.
pub struct PolicySeed {
    pub own: Arc<OwnTransport>,
    pub trust: Arc<MeshTrust>,
}

impl PolicySeed {
    /// Does so for ever: a store may begin anew.
    pub async fn run(self) {
        let trust = self.trust.clone();
        let sense = move |view: &View| (view.head().epoch, trust.has_authority());
        let (registry, mut configured) = (&self.own.registry, self.own.configured.clone());
        loop {
            tokio::select! {
                () = registry.react(&sense, || self.look()) => {}
                () = configured.replaced() => {}
            }
        }
    }

    pub(super) async fn look(&self) -> Option<Instant> {
        let policy = self.own.configured.get()?;
        // Where records are signed, what this file names is for issuers to enter.
        if self.trust.has_authority() != HasAuthority::Yes || !self.own.registry.may_write(&policy_id()) {
            return None;
        }
        // What the registry has lost is put back first, by whoever knows it.
        let view = self.own.registry.view();
        if !is_over(view, view.head().epoch) {
            return Some(Instant::now() + AGAIN);
        }
        match self.enter(&policy).await {
            Ok(true) => info!("transport policy of the configuration entered"),
            Ok(false) => {}
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                warn!(error, "transport policy of the configuration not entered; it is tried again");
                return Some(Instant::now() + AGAIN);
            }
        }
        None
    }

    /// Whether there was none.
    async fn enter(&self, policy: &pb::TransportPolicy) -> Result<bool, CommitError> {
        let (registry, action) = (&self.own.registry, "transport-policy.seed");
        let done = registry.change_own::<_, CommitError>(action, [TRANSPORT_POLICY], |reader| {
            if reader.get(&policy_id()).is_some() {
                return Ok(None);
            }
            let first = pb::TransportPolicyVersion {
                version: 1,
                policy: Some(policy.clone()),
                set_by: registry.node_id().to_owned(),
                set_at: Some(timestamp(registry.view().now())),
                reason: "of its configuration".to_owned(),
                rolled_back_to: 0,
                unknown_fields: Default::default(),
            };
            let changes = differences(&pb::TransportPolicy::default(), policy);
            Ok(Some(OwnChange::of(newest(TransportPolicyValue::default(), first), changes)))
        });
        Ok(done.await?.is_some())
    }
}
