//! The request for a mutation: what all have in common, whatever they change.

use std::sync::Arc;

use omnirelay_identity::caller::Caller;
use omnirelay_registry::Registry;
use omnirelay_registry::act::DecisionReader;
use omnirelay_registry::mutate::{ChangeForm, Mutation, MutationDecision};
use omnirelay_registry::view::ViewRecord;
use omnirelay_store::{RecordId, RecordKind};
use omnirelay_wire::change::ChangeAnswer;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::rpc::RpcMethod;

use crate::{check_reason, expected};

/// A request for a mutation: what it says besides the change itself.
pub struct MutationRequest<'a> {
    pub caller: &'a Caller,
    pub rpc: RpcMethod,
    /// Of the object, as its noun names it.
    pub id: String,
    pub reason: String,
    pub expected_version: Option<u64>,
    pub dry_run: bool,
    /// Of the whole request.
    pub hash: u64,
}

impl MutationRequest<'_> {
    /// Has what was found of a record decided on, and what comes of it committed.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for the reason and the version; those of `decide` and of [`Registry::mutate`].
    pub async fn of_record<A: ChangeAnswer>(
        &self,
        registry: &Registry,
        record: RecordId,
        decide: impl Fn(Option<&Arc<ViewRecord>>) -> Result<MutationDecision<A>, Fault>,
    ) -> Result<A, Fault> {
        let found = record.clone();
        self.of_records(registry, record, &[], |reader| decide(reader.get(&found).as_ref())).await
    }

    /// The same of a record and of others that change with it, which are of the kinds `also`.
    ///
    /// # Errors
    /// As of [`Self::of_record`].
    pub async fn of_records<A: ChangeAnswer>(
        &self,
        registry: &Registry,
        record: RecordId,
        also: &'static [RecordKind],
        decide: impl Fn(&DecisionReader<'_>) -> Result<MutationDecision<A>, Fault>,
    ) -> Result<A, Fault> {
        check_reason(&self.reason)?;
        let mutation = Mutation {
            caller: self.caller,
            action: self.rpc.audit_action,
            object: record,
            also,
            reason: &self.reason,
            expected: expected(self.caller, self.expected_version)?,
            dry_run: self.dry_run,
            request_hash: self.hash,
        };
        registry
            .mutate::<ChangeForm<A>>(mutation, |reader: &DecisionReader<'_>| {
                let mut decision = decide(reader)?;
                decision.answer.set_changes(&decision.changes);
                Ok(decision)
            })
            .await
    }
}
