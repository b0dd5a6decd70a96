//! The same change of many registers in one call, each with an outcome of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use omnirelay_decisions::catalogue::{RegisterChange, VersionDecrease};
use omnirelay_identity::caller::Caller;
use omnirelay_nouns::{SCHEMA_VERSION, at_cursor, check_reason, timestamp};
use omnirelay_registry::act::DecisionReader;
use omnirelay_registry::cursor::Cursor;
use omnirelay_registry::mutate::{AnswerCompletion, MutationDecision, MutationOutcome, request_hash};
use omnirelay_store::{LogEntry, Record, RecordId};
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::store::v1::RegisterValue;
use omnirelay_wire::rpc::register_service;
use prost::Message;
use tonic::Response;

use super::bulk::{BulkCall, BulkResult, PieceAnswer, failure};
use super::change::{RegisterEdit, refused};
use super::{REGISTER, Registers, check_id, not_found, parts, pb, register_record};
use pb::RegisterOutcome;

/// The most registers of one call: each has its outcome in the answer.
const BATCH_MAX: usize = 1000;

/// How many bytes longer a change makes a register at most: a name, a description and labels.
const TEXTS_BYTES_MAX: usize = 40 * 1024;
/// What an answer says of a register besides what is kept of it, in bytes.
const SHOWN_BYTES: usize = 512;

/// Answer to a batch call.
type BatchAnswer = Result<Response<pb::BatchRegistersResponse>, Fault>;

impl Registers {
    /// Changes what is given of many registers, and leaves the rest.
    pub(super) async fn update_all(
        &self,
        caller: &Caller,
        request: pb::BatchUpdateRegistersRequest,
    ) -> BatchAnswer {
        let given = RegisterChange {
            name: request.name.as_deref(),
            description: request.description.as_deref(),
            advertise: request.advertise,
            latest_version: request.latest_version,
            latest_docket_version: request.latest_docket_version,
            set_labels: Some(&request.set_labels),
            remove_labels: &request.remove_labels,
        };
        // What can be made of no register is told once.
        given.applied_to(&RegisterValue::default(), VersionDecrease::LeftOut).map_err(refused)?;
        let bulk = BulkCall {
            caller,
            action: register_service::BATCH_UPDATE.audit_action,
            node_id: self.node(&request.node_id)?,
            ids: request.register_id.iter().map(String::as_str).collect(),
            reason: &request.reason,
            dry_run: request.dry_run,
            hash: request_hash(&request),
        };
        let ids: usize = request.register_id.iter().map(|id| id.len() + 2).sum();
        let added = request.encoded_len().saturating_sub(ids);
        let change = |held: &RegisterValue| {
            given.applied_to(held, VersionDecrease::Refused).map(RegisterEdit::Put).map_err(refused)
        };
        self.batch(&bulk, added, change).await
    }

    /// Removes many registers.
    pub(super) async fn delete_all(
        &self,
        caller: &Caller,
        request: pb::BatchDeleteRegistersRequest,
    ) -> BatchAnswer {
        let bulk = BulkCall {
            caller,
            action: register_service::BATCH_DELETE.audit_action,
            node_id: self.node(&request.node_id)?,
            ids: request.register_id.iter().map(String::as_str).collect(),
            reason: &request.reason,
            dry_run: request.dry_run,
            hash: request_hash(&request),
        };
        self.batch(&bulk, 0, |_| Ok(RegisterEdit::Delete)).await
    }

    /// Carries out what `change` makes of each register, which becomes at most `added` bytes longer.
    async fn batch(
        &self,
        bulk: &BulkCall<'_>,
        added: usize,
        change: impl Fn(&RegisterValue) -> Result<RegisterEdit, Fault>,
    ) -> BatchAnswer {
        check_reason(bulk.reason)?;
        check_ids(&bulk.ids)?;
        self.registry.ready_for("").await?;
        let held = |id: &&str| self.registry.view().get(&register_record(bulk.node_id, id));
        let value_bytes = |id| held(id).map_or(0, |found| found.record.value.len());
        // The store keeps the answer of a piece, which shows all of each register, and takes a seventh for it of what it
        // takes for a commit.
        let sizes: Vec<usize> = bulk
            .ids
            .iter()
            .map(|id| 7 * (value_bytes(id) + added.min(TEXTS_BYTES_MAX) + SHOWN_BYTES))
            .collect();
        let decide = |piece: &Range<usize>, reader: &DecisionReader<'_>| {
            self.decide_batch(bulk, piece, reader, &change)
        };
        let BulkResult { mut answer, cursor, advertised } = self.carry_out_all(bulk, &sizes, decide).await?;
        SCHEMA_VERSION.clone_into(&mut answer.schema_version);
        answer.dry_run = bulk.dry_run;
        answer.advertised = advertised;
        answer.cursor.clone_from(&cursor);
        for change in answer.results.iter_mut().filter_map(|outcome| outcome.change.as_mut()) {
            change.advertised |= advertised;
        }
        Ok(at_cursor(answer, &cursor))
    }

    fn decide_batch(
        &self,
        bulk: &BulkCall<'_>,
        piece: &Range<usize>,
        reader: &DecisionReader<'_>,
        change: &impl Fn(&RegisterValue) -> Result<RegisterEdit, Fault>,
    ) -> Result<MutationDecision<pb::BatchRegistersResponse>, Fault> {
        let (mut writes, mut changes) = (Vec::new(), Vec::new());
        let mut answer = pb::BatchRegistersResponse { advertised: true, ..Default::default() };
        for register_id in &bulk.ids[piece.clone()] {
            let id = register_record(bulk.node_id, register_id);
            // Nothing is written on a dry run, of which all is one piece, so nothing is insisted on.
            let found = if bulk.dry_run { self.registry.view().get(&id) } else { reader.get(&id) };
            let Some(found) = found else {
                let fault = not_found(bulk.node_id, register_id);
                // It may be about to be restored, which is told of the whole piece.
                if self.registry.awaits(&id) {
                    reader.knows(&id);
                    return Err(fault);
                }
                answer.fail(vec![failure(register_id, &fault)]);
                continue;
            };
            match change(&found.value::<RegisterValue>().unwrap_or_default()) {
                Ok(change) => {
                    let decided = self.decision(&id, Some(&found), change);
                    let changed = !decided.writes.is_empty();
                    changes.extend(decided.changes.iter().map(|line| format!("{register_id}: {line}")));
                    answer.advertised &= decided.answer.advertised;
                    answer.add(register_id, pb::RegisterChange { changed, ..decided.answer });
                    writes.extend(decided.writes);
                }
                Err(fault) => answer.fail(vec![failure(register_id, &fault)]),
            }
        }
        Ok(MutationDecision { writes, changes, answer })
    }
}

fn check_ids(ids: &[&str]) -> Result<(), Fault> {
    if ids.is_empty() || ids.len() > BATCH_MAX {
        let message = format!("field `registerId` has {} values, expected 1 to {BATCH_MAX}", ids.len());
        return Err(Fault::invalid(message).hint("send them in several calls"));
    }
    ids.iter().try_for_each(|id| check_id(id))?;
    let mut known = BTreeSet::new();
    match ids.iter().find(|id| !known.insert(**id)) {
        Some(twice) => Err(Fault::invalid(format!("field `registerId` has `{twice}` twice"))),
        None => Ok(()),
    }
}

/// Collector of the outcomes of single registers.
trait OutcomeCollector {
    fn add(&mut self, register_id: &str, change: pb::RegisterChange);
}

impl OutcomeCollector for pb::BatchRegistersResponse {
    fn add(&mut self, register_id: &str, change: pb::RegisterChange) {
        let count = if change.changed { &mut self.changed } else { &mut self.unchanged };
        *count += 1;
        let register_id = register_id.to_owned();
        self.results.push(RegisterOutcome { register_id, change: Some(change), failure: None });
    }
}

impl PieceAnswer for pb::BatchRegistersResponse {
    type Form = BatchCompletion;

    fn cursor(&self) -> &str {
        &self.cursor
    }

    fn is_shown(&self) -> bool {
        self.advertised
    }

    fn take(&mut self, piece: Self) {
        self.changed += piece.changed;
        self.unchanged += piece.unchanged;
        self.failed += piece.failed;
        self.results.extend(piece.results);
    }

    fn fail(&mut self, failures: Vec<pb::ItemFailure>) {
        self.failed += failures.len() as u32;
        self.results.extend(failures.into_iter().map(|failure| RegisterOutcome {
            register_id: failure.register_id.clone(),
            change: None,
            failure: Some(failure),
        }));
    }
}

/// Completion of the answer of a batch.
pub(super) struct BatchCompletion;

impl AnswerCompletion for BatchCompletion {
    type Answer = pb::BatchRegistersResponse;

    fn set_cursor(answer: &mut pb::BatchRegistersResponse, cursor: Cursor) {
        answer.cursor = cursor.to_string();
        for change in answer.results.iter_mut().filter_map(|outcome| outcome.change.as_mut()) {
            change.cursor.clone_from(&answer.cursor);
        }
    }

    fn settle(
        answer: &mut pb::BatchRegistersResponse,
        outcome: &MutationOutcome,
        entry: Option<&LogEntry>,
        _: &RecordId,
    ) {
        Self::set_cursor(answer, outcome.cursor);
        answer.dry_run = outcome.dry_run;
        let written: BTreeMap<&str, &Record> = entry
            .into_iter()
            .flat_map(|entry| &entry.changes)
            .filter(|change| change.after.id.kind == REGISTER && !change.after.deleted)
            .filter_map(|change| Some((parts(&change.after.id)?.1, &change.after)))
            .collect();
        for RegisterOutcome { register_id, change, .. } in &mut answer.results {
            let Some(change) = change else { continue };
            change.dry_run = outcome.dry_run;
            let record = written.get(register_id.as_str());
            if let (Some(shown), Some(record)) = (&mut change.register, record) {
                shown.version = record.version.0;
                shown.created_at = Some(timestamp(record.created_at));
                shown.updated_at = Some(timestamp(record.updated_at));
            }
        }
    }
}
