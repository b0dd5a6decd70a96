//! The transport policy: what endpoints may speak, as a record by which every daemon judges what it listens at.

mod change;
pub mod metrics;
mod mount;
pub mod seed;

use std::sync::Arc;

use omnirelay_core::time::Millis;
use omnirelay_decisions::transport_policy::{effective, evaluate, summary, unreadable, violations};
use omnirelay_host::live::Live;
use omnirelay_nouns::serve;
use omnirelay_nouns::{SCHEMA_VERSION, at_cursor, envelope, head_cursor, timestamp};
use omnirelay_registry::Registry;
use omnirelay_registry::act::put;
use omnirelay_registry::view::{View, ViewRecord};
use omnirelay_store::{RecordId, RecordKind, Write};
use omnirelay_wire::envelope::EnvelopedAnswer as _;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use omnirelay_wire::pb::omnirelay::store::v1::TransportPolicyValue;
use omnirelay_wire::reasons;
use tonic::Response;

pub use mount::{KINDS, mount};
use pb::config_service_server::ConfigService;
use pb::effective_transport_policy::Source;
use pb::transport_finding::Level;

/// The record of the transport policy; there is one.
pub const TRANSPORT_POLICY: RecordKind = RecordKind::of("transport-policy");
/// How many versions the record holds.
const VERSIONS_MAX: usize = 16;
/// The key of a record of which there is one.
const ONLY: &str = "mesh";

/// Transport of a node: the policy by which it judges, and the endpoints that it listens at.
pub struct OwnTransport {
    pub registry: Arc<Registry>,
    /// What `transport.policy` says: what holds until the registry has one.
    pub configured: Live<Option<pb::TransportPolicy>>,
    pub endpoints: Live<Vec<pb::TransportEndpoint>>,
    /// The join policy that holds, which is shown beside.
    pub join_policy: fn(&View) -> pb::EffectiveJoinPolicy,
}

/// Serves `ConfigService` from a registry.
pub struct MeshConfig(pub Arc<OwnTransport>);

serve! {
    ConfigService for MeshConfig {
        get_config(GetConfigRequest) -> GetConfigResponse: |config, _, asked| config.0.show(asked);
        validate_config(ValidateConfigRequest) -> ValidateConfigResponse: |config, _, asked| config.0.validate(asked);
        set_transport_policy(SetTransportPolicyRequest) -> TransportPolicyChange:
            |config, caller, asked| config.0.set(caller, asked);
        list_transport_policy_versions(ListTransportPolicyVersionsRequest) -> ListTransportPolicyVersionsResponse:
            |config, _, asked| config.0.versions(asked);
        rollback_transport_policy(RollbackTransportPolicyRequest) -> TransportPolicyChange:
            |config, caller, asked| config.0.roll_back(caller, asked);
    }
}

impl OwnTransport {
    /// The policy that holds, as it was set, and where it is from.
    pub fn holding(&self) -> (pb::TransportPolicy, Source) {
        let record = self.registry.view().get(&policy_id());
        match (record.as_deref().and_then(latest), self.configured.get()) {
            (Some(policy), _) => (policy, Source::Registry),
            (None, Some(configured)) => (configured, Source::Configuration),
            (None, None) => (pb::TransportPolicy::default(), Source::Default),
        }
    }

    /// Judges what this node listens at by the policy that holds.
    pub fn judge(&self) -> pb::TransportReport {
        let judged = evaluate(&self.holding().0, &self.endpoints.get(), self.now());
        judged.unwrap_or_else(|what| unreadable(&what))
    }

    fn now(&self) -> Millis {
        self.registry.view().now()
    }

    async fn show(&self, asked: pb::GetConfigRequest) -> Result<Response<pb::GetConfigResponse>, Fault> {
        self.registry.ready_for(&asked.min_revision).await?;
        let record = self.registry.look(|view| view.get(&policy_id())).await;
        let cursor = head_cursor(self.registry.view());
        let (policy, source) = self.holding();
        let transport = pb::EffectiveTransportPolicy {
            source: source as i32,
            policy: Some(effective(&policy)),
            ..record.as_deref().map(shown).unwrap_or_default()
        };
        let config = pb::GetConfigResponse {
            cursor: cursor.clone(),
            transport: Some(transport),
            join: Some((self.join_policy)(self.registry.view())),
            endpoints: self.endpoints.get(),
            report: Some(self.judge()),
            ..Default::default()
        };
        Ok(at_cursor(config.within(envelope(&self.registry)), &cursor))
    }

    async fn validate(&self, asked: pb::ValidateConfigRequest) -> Result<pb::ValidateConfigResponse, Fault> {
        if asked.policy.is_none() {
            self.registry.ready_for("").await?;
        }
        let policy = asked.policy.unwrap_or_else(|| self.holding().0);
        let endpoints = if asked.endpoints.is_empty() { self.endpoints.get() } else { asked.endpoints };
        let report = evaluate(&policy, &endpoints, self.now()).map_err(invalid)?;
        Ok(pb::ValidateConfigResponse { schema_version: SCHEMA_VERSION.to_owned(), report: Some(report) })
    }

    async fn versions(
        &self,
        asked: pb::ListTransportPolicyVersionsRequest,
    ) -> Result<Response<pb::ListTransportPolicyVersionsResponse>, Fault> {
        self.registry.ready_for(&asked.min_revision).await?;
        let record = self.registry.look(|view| view.get(&policy_id())).await;
        let cursor = head_cursor(self.registry.view());
        let value = record.as_deref().map(kept).unwrap_or_default();
        let listed = pb::ListTransportPolicyVersionsResponse {
            cursor: cursor.clone(),
            versions: value.versions.into_iter().rev().collect(),
            ..Default::default()
        };
        Ok(at_cursor(listed.within(envelope(&self.registry)), &cursor))
    }

    /// Judges a policy that is about to hold.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` where it means nothing, `TRANSPORT_POLICY_VIOLATED` with what breaks it.
    fn accept(&self, policy: &pb::TransportPolicy) -> Result<pb::TransportReport, Fault> {
        let report = evaluate(policy, &self.endpoints.get(), self.now()).map_err(invalid)?;
        let Some(told) = summary(&report, Level::Violation) else { return Ok(report) };
        let message = format!("the transport policy would be broken: {told}");
        Err(Fault::new(reasons::TRANSPORT_POLICY_VIOLATED, message)
            .detail("violations", violations(&report).count())
            .hint("omnirelay mesh config validate --remote -f FILE    # says the same, and changes nothing"))
    }
}

fn policy_id() -> RecordId {
    RecordId::new(TRANSPORT_POLICY, ONLY)
}

/// The value of a record: all versions, the oldest first.
fn kept(record: &ViewRecord) -> TransportPolicyValue {
    record.value::<TransportPolicyValue>().as_deref().cloned().unwrap_or_default()
}

/// The version that holds.
fn latest(record: &ViewRecord) -> Option<pb::TransportPolicy> {
    record.value::<TransportPolicyValue>()?.versions.last()?.policy.clone()
}

/// The write by which a version becomes the newest; the oldest go.
fn newest(mut value: TransportPolicyValue, next: pb::TransportPolicyVersion) -> Write {
    value.versions.push(next);
    let surplus = value.versions.len().saturating_sub(VERSIONS_MAX);
    value.versions.drain(..surplus);
    put(policy_id(), &value)
}

fn shown(record: &ViewRecord) -> pb::EffectiveTransportPolicy {
    pb::EffectiveTransportPolicy {
        source: Source::Registry as i32,
        policy: latest(record).map(|policy| effective(&policy)),
        version: record.record.version.0,
        last_writer_id: record.record.writer.to_string(),
        created_at: Some(timestamp(record.record.created_at)),
        updated_at: Some(timestamp(record.record.updated_at)),
    }
}

fn invalid(what: String) -> Fault {
    Fault::invalid(format!("the transport policy: {what}"))
}

#[cfg(test)]
#[path = "transport_policy_test.rs"]
mod tests;
