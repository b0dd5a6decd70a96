//! Schema of the transport policy, as a document of the mesh.

use omnirelay_core::time::Millis;
use omnirelay_decisions::document::{DocumentVersion, VersionNotKept, keep_newest};
use omnirelay_decisions::transport_policy::{differences, evaluate, summary, violations};
use omnirelay_host::live::Live;
use omnirelay_nouns::document::{DocumentSchema, DocumentState};
use omnirelay_store::{RecordId, RecordKind};
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use omnirelay_wire::pb::omnirelay::store::v1::TransportPolicyValue;
use omnirelay_wire::reasons;
use pb::transport_finding::Level;

use super::shown;

/// The record of the transport policy; there is one.
pub const TRANSPORT_POLICY: RecordKind = RecordKind::of("transport-policy");
/// How many versions the record holds.
const VERSIONS_MAX: usize = 16;
/// The key of a record of which there is one.
pub(crate) const ONLY: &str = "mesh";

/// Transport policy as a document: a node judges it by what it listens at.
pub struct TransportPolicySchema {
    /// What `transport.policy` says: what holds until the registry has one.
    pub configured: Live<Option<pb::TransportPolicy>>,
    pub endpoints: Live<Vec<pb::TransportEndpoint>>,
}

impl DocumentSchema for TransportPolicySchema {
    type Section = pb::TransportPolicy;
    type Value = TransportPolicyValue;
    type Verdict = pb::TransportReport;

    const NAME: &'static str = "the transport policy";
    const TOPIC: &'static str = "transport-policy";

    fn id() -> RecordId {
        RecordId::new(TRANSPORT_POLICY, ONLY)
    }

    fn built_in() -> pb::TransportPolicy {
        pb::TransportPolicy::default()
    }

    fn configured(&self) -> Option<pb::TransportPolicy> {
        self.configured.get()
    }

    fn holding(value: &TransportPolicyValue) -> Option<&pb::TransportPolicy> {
        value.versions.last()?.policy.as_ref()
    }

    fn kept(value: &TransportPolicyValue) -> Vec<(u64, &pb::TransportPolicy)> {
        value.versions.iter().filter_map(|kept| Some((kept.version, kept.policy.as_ref()?))).collect()
    }

    fn value(
        before: Option<&TransportPolicyValue>,
        newest: DocumentVersion<pb::TransportPolicy>,
    ) -> TransportPolicyValue {
        let mut value = before.cloned().unwrap_or_default();
        let newest = pb::TransportPolicyVersion {
            version: newest.number,
            policy: Some(newest.section),
            set_by: newest.set_by,
            set_at: Some(newest.set_at),
            reason: newest.reason,
            rolled_back_to: newest.rolled_back_to,
            unknown_fields: Default::default(),
        };
        keep_newest(&mut value.versions, newest, VERSIONS_MAX);
        value
    }

    /// Refuses with `INVALID_ARGUMENT` what means nothing, and with `TRANSPORT_POLICY_VIOLATED` what would be broken.
    fn check(&self, policy: &pb::TransportPolicy, now: Millis) -> Result<pb::TransportReport, Fault> {
        let report = evaluate(policy, &self.endpoints.get(), now).map_err(invalid)?;
        let Some(told) = summary(&report, Level::Violation) else { return Ok(report) };
        let message = format!("the transport policy would be broken: {told}");
        Err(Fault::new(reasons::TRANSPORT_POLICY_VIOLATED, message)
            .detail("violations", violations(&report).count())
            .hint("omnirelay mesh config validate --remote -f FILE    # says the same, and changes nothing"))
    }

    fn is_same(one: &pb::TransportPolicy, other: &pb::TransportPolicy) -> bool {
        one.known() == other.known()
    }

    fn differences(before: &pb::TransportPolicy, after: &pb::TransportPolicy) -> Vec<String> {
        differences(&before.known(), &after.known())
    }

    fn event(state: DocumentState<pb::TransportPolicy>) -> pb::EventData {
        pb::EventData { transport_policy: Some(shown(state)), ..Default::default() }
    }

    fn not_kept(missing: &VersionNotKept) -> Fault {
        Fault::new(reasons::TRANSPORT_POLICY_VERSION_NOT_FOUND, missing.to_string())
            .hint("omnirelay mesh config history")
    }
}

/// Fault of a policy, or of endpoints, that mean nothing.
pub(crate) fn invalid(what: String) -> Fault {
    Fault::invalid(format!("the transport policy: {what}"))
}
