//! Registers of a file in one call: checked as a whole, and then carried out piece by piece.

use std::ops::Range;

use omnirelay_decisions::catalogue::{
    RegisterChange, RegisterError, VersionDecrease, check_imported, concerns_pool, counting,
};
use omnirelay_identity::caller::Caller;
use omnirelay_nouns::{SCHEMA_VERSION, at_cursor, check_reason};
use omnirelay_registry::act::{DecisionReader, put};
use omnirelay_registry::cursor::Cursor;
use omnirelay_registry::mutate::{AnswerCompletion, MutationDecision, MutationOutcome, request_hash};
use omnirelay_store::{LogEntry, RecordId};
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::store::v1::RegisterValue;
use omnirelay_wire::rpc::register_service;
use prost::Message;
use tonic::Response;

use super::bulk::{BulkCall, BulkResult, PieceAnswer};
use super::{REGISTER, REGISTERS_MAX, Registers, of_node, pb, register_record, too_many};

/// An import that was found to be in order.
struct Import<'a> {
    node_id: &'a str,
    registers: &'a [pb::ImportedRegister],
    /// The places of the items that count.
    items: Vec<usize>,
    dry_run: bool,
}

impl Registers {
    /// Creates and updates many registers.
    pub(super) async fn import_all(
        &self,
        caller: &Caller,
        request: pb::ImportRegistersRequest,
    ) -> Result<Response<pb::ImportRegistersResponse>, Fault> {
        let hash = request_hash(&request);
        check_reason(&request.reason)?;
        let node_id = self.node(&request.node_id)?;
        check_items(&request.registers)?;
        self.registry.ready_for("").await?;
        self.check_host(node_id).await?;
        let items = counting(&request.registers);
        let import = Import { node_id, registers: &request.registers, items, dry_run: request.dry_run };
        let sizes = self.plan(&import)?;
        let bulk = BulkCall {
            caller,
            action: register_service::IMPORT.audit_action,
            node_id,
            ids: import.items.iter().map(|&at| import.registers[at].register_id.as_str()).collect(),
            reason: &request.reason,
            dry_run: request.dry_run,
            hash,
        };
        let decide =
            |piece: &Range<usize>, reader: &DecisionReader<'_>| self.decide_import(&import, piece, reader);
        let BulkResult { mut answer, cursor, advertised } = self.carry_out_all(&bulk, &sizes, decide).await?;
        SCHEMA_VERSION.clone_into(&mut answer.schema_version);
        answer.dry_run = import.dry_run;
        answer.processed = import.registers.len() as u32;
        // Those that a later one of the same id overrides.
        answer.unchanged += (import.registers.len() - import.items.len()) as u32;
        answer.cursor.clone_from(&cursor);
        answer.advertised = advertised;
        Ok(at_cursor(answer, &cursor))
    }

    /// How large each item is, with what it replaces.
    ///
    /// # Errors
    /// `TOO_MANY_REGISTERS`; `INVALID_ARGUMENT` when what is there and what comes do not fit together.
    fn plan(&self, import: &Import<'_>) -> Result<Vec<usize>, Fault> {
        let view = self.registry.view();
        let (mut sizes, mut added) = (Vec::with_capacity(import.items.len()), 0);
        for &at in &import.items {
            let item = &import.registers[at];
            let found = view.get(&register_record(import.node_id, &item.register_id));
            let held = found.as_ref().and_then(|found| found.value::<RegisterValue>()).unwrap_or_default();
            let after = import.after(at, &held)?;
            added += usize::from(found.is_none());
            sizes.push(after.encoded_len() + found.map_or(0, |found| found.record.value.len()));
        }
        let present = of_node(&view.list(&REGISTER).records, import.node_id).len();
        if added > 0 && present + added > REGISTERS_MAX { Err(too_many(import.node_id)) } else { Ok(sizes) }
    }

    fn decide_import(
        &self,
        import: &Import<'_>,
        piece: &Range<usize>,
        reader: &DecisionReader<'_>,
    ) -> Result<MutationDecision<pb::ImportRegistersResponse>, Fault> {
        let mut writes = Vec::new();
        let mut answer = pb::ImportRegistersResponse { advertised: true, ..Default::default() };
        for &at in &import.items[piece.clone()] {
            let id = register_record(import.node_id, &import.registers[at].register_id);
            // Nothing is written on a dry run, of which all is one piece, so nothing is insisted on.
            let found = if import.dry_run { self.registry.view().get(&id) } else { reader.get(&id) };
            let held = found.and_then(|found| found.value::<RegisterValue>());
            let item = &import.registers[at];
            let after = import.after(at, held.as_deref().unwrap_or(&RegisterValue::default()))?;
            if held.as_deref().is_some_and(|held| is_outdated(item, held)) {
                answer.outdated_ids.push(item.register_id.clone());
            }
            let (count, ids) = match held.as_deref() {
                Some(held) if *held == after => {
                    answer.unchanged += 1;
                    continue;
                }
                Some(_) => (&mut answer.updated, &mut answer.updated_ids),
                None => (&mut answer.added, &mut answer.added_ids),
            };
            *count += 1;
            if import.dry_run {
                ids.push(item.register_id.clone());
            }
            answer.advertised &= !concerns_pool(held.as_deref(), Some(&after));
            writes.push(put(id, &after));
        }
        let line = || format!("registers: {} added, {} updated", answer.added, answer.updated);
        let changes = if writes.is_empty() { Vec::new() } else { vec![line()] };
        Ok(MutationDecision { writes, changes, answer })
    }
}

impl Import<'_> {
    /// What the item at a place makes of a register.
    fn after(&self, at: usize, held: &RegisterValue) -> Result<RegisterValue, Fault> {
        let given = RegisterChange::of_import(&self.registers[at]);
        given.applied_to(held, VersionDecrease::LeftOut).map_err(|error| refused(at, &error))
    }
}

/// Whether the register has come further than an item says.
fn is_outdated(item: &pb::ImportedRegister, held: &RegisterValue) -> bool {
    let lower = |given: Option<u64>, held: u64| given.is_some_and(|given| given < held);
    lower(item.latest_version, held.latest_version)
        || lower(item.latest_docket_version, held.latest_docket_version)
}

/// Checks each item by itself.
fn check_items(items: &[pb::ImportedRegister]) -> Result<(), Fault> {
    if items.len() > REGISTERS_MAX {
        let message = format!("field `registers` has {} items, the limit is {REGISTERS_MAX}", items.len());
        return Err(Fault::invalid(message));
    }
    let wrong = items.iter().enumerate().find_map(|(at, item)| Some((at, check_imported(item).err()?)));
    wrong.map_or(Ok(()), |(at, error)| Err(refused(at, &error)))
}

fn refused(at: usize, error: &RegisterError) -> Fault {
    Fault::invalid(format!("field `registers[{at}].{}`: {error}; nothing was changed", error.field()))
}

impl PieceAnswer for pb::ImportRegistersResponse {
    type Form = ImportCompletion;

    fn cursor(&self) -> &str {
        &self.cursor
    }

    fn is_shown(&self) -> bool {
        self.advertised
    }

    fn take(&mut self, piece: Self) {
        self.added += piece.added;
        self.updated += piece.updated;
        self.unchanged += piece.unchanged;
        self.added_ids.extend(piece.added_ids);
        self.updated_ids.extend(piece.updated_ids);
        self.outdated_ids.extend(piece.outdated_ids);
    }

    fn fail(&mut self, failures: Vec<pb::ItemFailure>) {
        self.results.extend(failures);
        self.failed = self.results.len() as u32;
    }
}

/// Completion of the answer of an import.
pub(super) struct ImportCompletion;

impl AnswerCompletion for ImportCompletion {
    type Answer = pb::ImportRegistersResponse;

    fn set_cursor(answer: &mut pb::ImportRegistersResponse, cursor: Cursor) {
        answer.cursor = cursor.to_string();
    }

    fn settle(
        answer: &mut pb::ImportRegistersResponse,
        outcome: &MutationOutcome,
        _: Option<&LogEntry>,
        _: &RecordId,
    ) {
        Self::set_cursor(answer, outcome.cursor);
        answer.dry_run = outcome.dry_run;
    }
}
