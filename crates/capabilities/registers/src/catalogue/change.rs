//! Changes that operators may make to a register.

use std::sync::Arc;

use bytes::Bytes;
use omnirelay_decisions::catalogue::{
    RegisterChange, RegisterError, VersionDecrease, concerns_pool, differences,
};
use omnirelay_identity::caller::Caller;
use omnirelay_nouns::{SCHEMA_VERSION, at_cursor, check_reason, expected, tagged};
use omnirelay_peer_records as peers;
use omnirelay_registry::act::{DecisionReader, put};
use omnirelay_registry::mutate::ChangeForm;
use omnirelay_registry::mutate::{Mutation, MutationDecision, request_hash};
use omnirelay_registry::view::ViewRecord;
use omnirelay_store::{Record, RecordId, Revision, Version, Write};
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::store::v1::RegisterValue;
use omnirelay_wire::reasons;
use omnirelay_wire::rpc::register_service;
use tonic::Response;

use super::{
    REGISTER, REGISTERS_MAX, Registers, check_id, not_found, of_node, parts, pb, register_record, show,
    too_many,
};

impl Registers {
    /// Enters a register that the node has not.
    pub(super) async fn create_one(
        &self,
        caller: &Caller,
        request: pb::CreateRegisterRequest,
    ) -> Result<Response<pb::RegisterChange>, Fault> {
        let hash = request_hash(&request);
        let given = RegisterChange {
            name: Some(&request.name),
            description: Some(&request.description),
            advertise: Some(request.advertise),
            latest_version: Some(request.latest_version),
            latest_docket_version: Some(request.latest_docket_version),
            set_labels: Some(&request.labels),
            remove_labels: &[],
        };
        let value = given.applied_to(&RegisterValue::default(), VersionDecrease::Refused).map_err(refused)?;
        let asked = ChangeRequest {
            caller,
            action: register_service::CREATE.audit_action,
            node_id: self.node(&request.node_id)?,
            register_id: &request.register_id,
            reason: &request.reason,
            expected_version: None,
            dry_run: request.dry_run,
            hash,
        };
        let decide = |reader: &DecisionReader<'_>, found: Option<&Arc<ViewRecord>>| {
            if asked.node_id != self.registry.node_id() {
                peers::check_known_to(reader, asked.node_id)?;
            }
            if found.is_some() {
                return Err(asked.exists());
            }
            let records = self.registry.view().list(&REGISTER).records;
            if of_node(&records, asked.node_id).len() >= REGISTERS_MAX {
                return Err(too_many(asked.node_id));
            }
            Ok(RegisterEdit::Put(value.clone()))
        };
        self.change(&asked, decide).await
    }

    /// Changes what is given, and leaves the rest.
    pub(super) async fn update_one(
        &self,
        caller: &Caller,
        request: pb::UpdateRegisterRequest,
    ) -> Result<Response<pb::RegisterChange>, Fault> {
        let hash = request_hash(&request);
        let given = RegisterChange {
            name: request.name.as_deref(),
            description: request.description.as_deref(),
            advertise: request.advertise,
            latest_version: request.latest_version,
            latest_docket_version: request.latest_docket_version,
            set_labels: Some(&request.set_labels),
            remove_labels: &request.remove_labels,
        };
        let asked = ChangeRequest {
            caller,
            action: register_service::UPDATE.audit_action,
            node_id: self.node(&request.node_id)?,
            register_id: &request.register_id,
            reason: &request.reason,
            expected_version: request.expected_version,
            dry_run: request.dry_run,
            hash,
        };
        let decide = |_: &DecisionReader<'_>, found: Option<&Arc<ViewRecord>>| {
            let held = found.ok_or_else(|| not_found(asked.node_id, asked.register_id))?;
            let held = held.value::<RegisterValue>().unwrap_or_default();
            given.applied_to(&held, VersionDecrease::Refused).map(RegisterEdit::Put).map_err(refused)
        };
        self.change(&asked, decide).await
    }

    /// Removes a register.
    pub(super) async fn delete_one(
        &self,
        caller: &Caller,
        request: pb::DeleteRegisterRequest,
    ) -> Result<Response<pb::RegisterChange>, Fault> {
        let hash = request_hash(&request);
        let asked = ChangeRequest {
            caller,
            action: register_service::DELETE.audit_action,
            node_id: self.node(&request.node_id)?,
            register_id: &request.register_id,
            reason: &request.reason,
            expected_version: request.expected_version,
            dry_run: request.dry_run,
            hash,
        };
        let decide = |_: &DecisionReader<'_>, found: Option<&Arc<ViewRecord>>| {
            found.map(|_| RegisterEdit::Delete).ok_or_else(|| not_found(asked.node_id, asked.register_id))
        };
        self.change(&asked, decide).await
    }

    /// Carries out what `decide` makes of the register as it is, and waits a moment for the pool.
    async fn change(
        &self,
        asked: &ChangeRequest<'_>,
        decide: impl Fn(&DecisionReader<'_>, Option<&Arc<ViewRecord>>) -> Result<RegisterEdit, Fault>,
    ) -> Result<Response<pb::RegisterChange>, Fault> {
        check_id(asked.register_id)?;
        check_reason(asked.reason)?;
        let id = register_record(asked.node_id, asked.register_id);
        let mutation = Mutation {
            caller: asked.caller,
            action: asked.action,
            object: id.clone(),
            also: &[],
            reason: asked.reason,
            expected: expected(asked.caller, asked.expected_version)?,
            dry_run: asked.dry_run,
            request_hash: asked.hash,
        };
        let mutated = self.registry.mutate::<ChangeForm<_>>(mutation, |reader: &DecisionReader<'_>| {
            let found = reader.get(&id);
            let change = decide(reader, found.as_ref())?;
            Ok(self.decision(&id, found.as_deref(), change))
        });
        let mut answer = mutated.await?;
        let own = asked.node_id == self.registry.node_id();
        if own && answer.changed && !answer.dry_run && !answer.advertised {
            answer.advertised = self.wait_for_pool(&answer.cursor).await;
        }
        Ok(headed(answer, asked.dry_run))
    }

    /// Decision on a register as it was found.
    pub(super) fn decision(
        &self,
        id: &RecordId,
        found: Option<&ViewRecord>,
        change: RegisterEdit,
    ) -> MutationDecision<pb::RegisterChange> {
        let held = found.and_then(ViewRecord::value::<RegisterValue>);
        let before = held.as_deref();
        let (after, write) = match change {
            RegisterEdit::Put(after) => {
                let write = put(id.clone(), &after);
                (Some(after), write)
            }
            RegisterEdit::Delete => (None, Write::Delete { id: id.clone() }),
        };
        let changes = match &after {
            Some(after) => differences(before, after),
            None => vec!["deleted".to_owned()],
        };
        let writes = if changes.is_empty() { Vec::new() } else { vec![write] };
        let register = match &after {
            Some(after) => show(&self.next(id, found, !writes.is_empty()), after),
            None => found.and_then(|found| show(&found.record, before?)),
        };
        let advertised = if writes.is_empty() {
            // What the pool has of the register as it was all the time.
            let revision = found.map_or(Revision(0), |found| found.record.revision);
            let own = parts(id).is_some_and(|(node_id, _)| node_id == self.registry.node_id());
            // That of another node is for the other daemon to know, and was not changed.
            !own || !concerns_pool(before, before) || self.pushed.now() >= revision
        } else {
            !concerns_pool(before, after.as_ref())
        };
        let answer = pb::RegisterChange {
            schema_version: SCHEMA_VERSION.to_owned(),
            register,
            changes: changes.clone(),
            advertised,
            ..pb::RegisterChange::default()
        };
        MutationDecision { writes, changes, answer }
    }

    /// The record after a change; a commit's own answer gets the exact version and times.
    fn next(&self, id: &RecordId, found: Option<&ViewRecord>, changes: bool) -> Record {
        let now = self.registry.view().now();
        let none = || Record {
            id: id.clone(),
            value: Bytes::new(),
            version: Version(0),
            revision: Revision(0),
            group: None,
            created_at: now,
            updated_at: now,
            writer: Arc::default(),
            deleted: false,
        };
        let mut record = found.map_or_else(none, |found| found.record.clone());
        if changes {
            record.version.0 += 1;
            record.updated_at = now;
            record.writer = self.registry.writer();
        }
        record
    }
}

/// Edit of the record of a register.
pub(super) enum RegisterEdit {
    Put(RegisterValue),
    Delete,
}

/// Request of a change: the parts that all changes of one register have in common.
struct ChangeRequest<'a> {
    caller: &'a Caller,
    action: &'static str,
    node_id: &'a str,
    register_id: &'a str,
    reason: &'a str,
    expected_version: Option<u64>,
    dry_run: bool,
    hash: u64,
}

impl ChangeRequest<'_> {
    fn exists(&self) -> Fault {
        let Self { node_id, register_id, .. } = self;
        let message = format!("`{node_id}` hosts a register `{register_id}` already");
        Fault::new(reasons::REGISTER_EXISTS, message)
            .hint(format!("omnirelay registers update {register_id} --node {node_id}"))
    }
}

/// The fault of a register that cannot be so.
pub(super) fn refused(error: RegisterError) -> Fault {
    let message = format!("field `{}`: {error}", error.field());
    match error {
        RegisterError::GoesBack { held, given, .. } => Fault::new(reasons::VERSION_GOES_BACK, message)
            .hint("leave it out, or delete the register and create it anew")
            .detail("presentVersion", held)
            .detail("givenVersion", given),
        RegisterError::Id(_)
        | RegisterError::Name(_)
        | RegisterError::Description(_)
        | RegisterError::Labels(_) => Fault::invalid(message),
    }
}

/// The answer with its cursor in the headers, and the version of a register that is there.
fn headed(answer: pb::RegisterChange, dry_run: bool) -> Response<pb::RegisterChange> {
    let cursor = answer.cursor.clone();
    let there = !dry_run && answer.changes.iter().all(|line| line != "deleted");
    match answer.register.as_ref().filter(|_| there).map(|register| register.version) {
        Some(version) => tagged(answer, &format!("\"{version}\""), &cursor),
        None => at_cursor(answer, &cursor),
    }
}
