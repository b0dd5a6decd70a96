//! Changes of the transport policy: how it is changed, and brought back.

use std::sync::Arc;

use omnirelay_decisions::transport_policy::{differences, effective};
use omnirelay_identity::caller::Caller;
use omnirelay_nouns::request::MutationRequest;
use omnirelay_nouns::{SCHEMA_VERSION, timestamp};
use omnirelay_registry::mutate::{MutationDecision, request_hash};
use omnirelay_registry::view::ViewRecord;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use omnirelay_wire::reasons;
use omnirelay_wire::rpc::config_service::{ROLLBACK_TRANSPORT_POLICY, SET_TRANSPORT_POLICY};

use super::{ONLY, OwnTransport, kept, newest, policy_id, shown};
use pb::effective_transport_policy::Source;

/// Policy that is to hold from now on.
struct WantedPolicy {
    policy: pb::TransportPolicy,
    /// The version that it is brought back from; 0: none.
    rolled_back_to: u64,
}

impl OwnTransport {
    /// Repeating it changes nothing.
    pub(super) async fn set(
        &self,
        caller: &Caller,
        asked: pb::SetTransportPolicyRequest,
    ) -> Result<pb::TransportPolicyChange, Fault> {
        let hash = request_hash(&asked);
        let pb::SetTransportPolicyRequest { policy, reason, expected_version, dry_run } = asked;
        let policy = policy.ok_or_else(|| Fault::invalid("field `policy` is missing"))?;
        let (rpc, id) = (SET_TRANSPORT_POLICY, ONLY.to_owned());
        let asked = MutationRequest { caller, rpc, id, reason, expected_version, dry_run, hash };
        let wanted =
            |_: &[pb::TransportPolicyVersion]| Ok(WantedPolicy { policy: policy.clone(), rolled_back_to: 0 });
        self.change(&asked, wanted).await
    }

    /// Each call goes back from what holds then.
    pub(super) async fn roll_back(
        &self,
        caller: &Caller,
        asked: pb::RollbackTransportPolicyRequest,
    ) -> Result<pb::TransportPolicyChange, Fault> {
        let hash = request_hash(&asked);
        let pb::RollbackTransportPolicyRequest { to_version, reason, expected_version, dry_run } = asked;
        let (rpc, id) = (ROLLBACK_TRANSPORT_POLICY, ONLY.to_owned());
        let asked = MutationRequest { caller, rpc, id, reason, expected_version, dry_run, hash };
        self.change(&asked, |versions| brought_back(versions, to_version)).await
    }

    async fn change(
        &self,
        asked: &MutationRequest<'_>,
        wanted: impl Fn(&[pb::TransportPolicyVersion]) -> Result<WantedPolicy, Fault>,
    ) -> Result<pb::TransportPolicyChange, Fault> {
        let registry = &self.registry;
        asked
            .of_record(registry, policy_id(), |found| {
                let value = found.map(|found| kept(found)).unwrap_or_default();
                let versions = &value.versions;
                let WantedPolicy { policy, rolled_back_to } = wanted(versions)?;
                let report = self.accept(&policy)?;
                let holds = versions.last().and_then(|version| version.policy.as_ref());
                let is_so = holds.is_some_and(|holds| holds.known() == policy.known());
                let before = found.is_none().then(|| self.holding().0);
                let before = holds.or(before.as_ref()).cloned().unwrap_or_default();
                let mut changes = differences(&before.known(), &policy.known());
                let shown = self.after(found, &policy, is_so);
                if !is_so && changes.is_empty() {
                    // It says what holds in other words.
                    changes.push(format!("version: {} -> {}", shown.version - 1, shown.version));
                }
                let next = pb::TransportPolicyVersion {
                    version: shown.version,
                    policy: Some(policy),
                    set_by: asked.caller.principal.to_string(),
                    set_at: Some(timestamp(registry.view().now())),
                    reason: asked.reason.clone(),
                    rolled_back_to,
                    unknown_fields: Default::default(),
                };
                let writes = if is_so { Vec::new() } else { vec![newest(value.clone(), next)] };
                let answer = pb::TransportPolicyChange {
                    schema_version: SCHEMA_VERSION.to_owned(),
                    policy: Some(shown),
                    report: Some(report),
                    rolled_back_to,
                    ..Default::default()
                };
                Ok(MutationDecision { writes, changes, answer })
            })
            .await
    }

    /// The record as it is after the change. Its versions count the changes, as nobody deletes it.
    fn after(
        &self,
        found: Option<&Arc<ViewRecord>>,
        policy: &pb::TransportPolicy,
        is_so: bool,
    ) -> pb::EffectiveTransportPolicy {
        let mut after = found.map(|found| shown(found)).unwrap_or_default();
        after.source = Source::Registry as i32;
        after.policy = Some(effective(policy));
        if !is_so {
            after.version += 1;
            self.registry.node_id().clone_into(&mut after.last_writer_id);
        }
        after
    }
}

/// A version that is kept, or the one before that which holds.
fn brought_back(versions: &[pb::TransportPolicyVersion], to: u64) -> Result<WantedPolicy, Fault> {
    let found = match to {
        0 => versions.len().checked_sub(2).and_then(|before| versions.get(before)),
        to => versions.iter().find(|version| version.version == to),
    };
    let Some(found) = found else {
        let numbers: Vec<String> = versions.iter().map(|version| version.version.to_string()).collect();
        let there = if numbers.is_empty() { "none".to_owned() } else { numbers.join(", ") };
        let what = if to == 0 {
            "no version before that which holds".to_owned()
        } else {
            format!("no version {to}")
        };
        let message = format!("there is {what} of the transport policy; kept are {there}");
        return Err(Fault::new(reasons::TRANSPORT_POLICY_VERSION_NOT_FOUND, message)
            .hint("omnirelay mesh config history"));
    };
    Ok(WantedPolicy { policy: found.policy.clone().unwrap_or_default(), rolled_back_to: found.version })
}
