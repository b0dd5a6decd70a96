//! The transport policy: what endpoints may speak, as a record by which every daemon judges what it listens at.

pub mod metrics;
mod mount;
pub mod schema;

use std::sync::Arc;

use omnirelay_core::time::Millis;
use omnirelay_decisions::transport_policy::{effective, evaluate, unreadable};
use omnirelay_identity::caller::Caller;
use omnirelay_nouns::document::{Document, DocumentChange, DocumentSource, DocumentState};
use omnirelay_nouns::request::MutationRequest;
use omnirelay_nouns::serve;
use omnirelay_nouns::{SCHEMA_VERSION, at_cursor, envelope};
use omnirelay_registry::mutate::request_hash;
use omnirelay_registry::view::View;
use omnirelay_wire::envelope::EnvelopedAnswer as _;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use omnirelay_wire::rpc::config_service::{ROLLBACK_TRANSPORT_POLICY, SET_TRANSPORT_POLICY};
use tonic::Response;

pub use mount::{KINDS, mount};
use pb::config_service_server::ConfigService;
use pb::effective_transport_policy::Source;
use schema::{ONLY, TransportPolicySchema, invalid};

/// Transport of a node: the policy by which it judges, and the endpoints that it listens at.
pub struct OwnTransport {
    pub policy: Document<TransportPolicySchema>,
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
    /// Judges what this node listens at by the policy that holds.
    pub fn judge(&self) -> pb::TransportReport {
        self.judge_by(&self.policy.state().section)
    }

    fn judge_by(&self, policy: &pb::TransportPolicy) -> pb::TransportReport {
        let judged = evaluate(policy, &self.endpoints(), self.now());
        judged.unwrap_or_else(|what| unreadable(&what))
    }

    fn endpoints(&self) -> Vec<pb::TransportEndpoint> {
        self.policy.schema.endpoints.get()
    }

    fn now(&self) -> Millis {
        self.policy.registry.view().now()
    }

    async fn show(&self, asked: pb::GetConfigRequest) -> Result<Response<pb::GetConfigResponse>, Fault> {
        let read = self.policy.read(&asked.min_revision).await?;
        let report = self.judge_by(&read.state.section);
        let config = pb::GetConfigResponse {
            cursor: read.cursor.clone(),
            transport: Some(shown(read.state)),
            join: Some((self.join_policy)(self.policy.registry.view())),
            endpoints: self.endpoints(),
            report: Some(report),
            ..Default::default()
        };
        Ok(at_cursor(config.within(envelope(&self.policy.registry)), &read.cursor))
    }

    async fn validate(&self, asked: pb::ValidateConfigRequest) -> Result<pb::ValidateConfigResponse, Fault> {
        if asked.policy.is_none() {
            self.policy.registry.ready_for("").await?;
        }
        let policy = asked.policy.unwrap_or_else(|| self.policy.state().section);
        let endpoints = if asked.endpoints.is_empty() { self.endpoints() } else { asked.endpoints };
        let report = evaluate(&policy, &endpoints, self.now()).map_err(invalid)?;
        Ok(pb::ValidateConfigResponse { schema_version: SCHEMA_VERSION.to_owned(), report: Some(report) })
    }

    async fn versions(
        &self,
        asked: pb::ListTransportPolicyVersionsRequest,
    ) -> Result<Response<pb::ListTransportPolicyVersionsResponse>, Fault> {
        let read = self.policy.read(&asked.min_revision).await?;
        let kept = read.value.as_deref().map(|value| value.versions.clone()).unwrap_or_default();
        let differences = read.differences().into_iter();
        let listed = pb::ListTransportPolicyVersionsResponse {
            cursor: read.cursor.clone(),
            versions: kept.into_iter().rev().collect(),
            differences: differences
                .map(|(version, changes)| pb::TransportPolicyDifference { version, changes })
                .collect(),
            ..Default::default()
        };
        Ok(at_cursor(listed.within(envelope(&self.policy.registry)), &read.cursor))
    }

    async fn set(
        &self,
        caller: &Caller,
        asked: pb::SetTransportPolicyRequest,
    ) -> Result<pb::TransportPolicyChange, Fault> {
        let hash = request_hash(&asked);
        let pb::SetTransportPolicyRequest { policy, reason, expected_version, dry_run } = asked;
        let policy = policy.ok_or_else(|| Fault::invalid("field `policy` is missing"))?;
        let (rpc, id) = (SET_TRANSPORT_POLICY, ONLY.to_owned());
        let asked = MutationRequest { caller, rpc, id, reason, expected_version, dry_run, hash };
        self.policy.set(&asked, &policy, changed).await
    }

    /// Each call goes back from what holds then.
    async fn roll_back(
        &self,
        caller: &Caller,
        asked: pb::RollbackTransportPolicyRequest,
    ) -> Result<pb::TransportPolicyChange, Fault> {
        let hash = request_hash(&asked);
        let pb::RollbackTransportPolicyRequest { to_version, reason, expected_version, dry_run } = asked;
        let (rpc, id) = (ROLLBACK_TRANSPORT_POLICY, ONLY.to_owned());
        let asked = MutationRequest { caller, rpc, id, reason, expected_version, dry_run, hash };
        self.policy.roll_back(&asked, to_version, changed).await
    }
}

fn shown(state: DocumentState<pb::TransportPolicy>) -> pb::EffectiveTransportPolicy {
    let source = match state.source {
        DocumentSource::BuiltIn => Source::Default,
        DocumentSource::Configuration => Source::Configuration,
        DocumentSource::Registry => Source::Registry,
    };
    pb::EffectiveTransportPolicy {
        source: source as i32,
        policy: Some(effective(&state.section)),
        version: state.version,
        last_writer_id: state.last_writer_id,
        created_at: state.created_at,
        updated_at: state.updated_at,
    }
}

fn changed(change: DocumentChange<TransportPolicySchema>) -> pb::TransportPolicyChange {
    pb::TransportPolicyChange {
        schema_version: SCHEMA_VERSION.to_owned(),
        policy: Some(shown(change.state)),
        report: Some(change.verdict),
        rolled_back_to: change.rolled_back_to,
        ..Default::default()
    }
}

#[cfg(test)]
#[path = "transport_policy_test.rs"]
mod tests;
