//! Many registers in one call: checked as a whole, and then carried out piece by piece.

use std::ops::Range;

use bytes::Bytes;
use omnirelay_store::{LogEntry, RecordId, Write};
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::store::v1::RegisterValue;
use omnirelay_wire::reasons;
use omnirelay_wire::rpc::register_service;
use prost::Message;
use tonic::Response;

use super::{REGISTER, REGISTERS_MAX, Registers, of_node, pb, register_record, too_many};
use crate::core::catalogue::{Given, Lower, RegisterError, check_imported, concerns_pool, counting, pieces};
use crate::daemon::identity::caller::Caller;
use crate::daemon::objects::{SCHEMA_VERSION, at_cursor, check_reason, expected, head_cursor};
use crate::daemon::registry::act::Reader;
use crate::daemon::registry::cursor::Cursor;
use crate::daemon::registry::mutate::{Answer, Decision, Mutation, Settled, request_hash};

/// The most registers of one piece: the audit record takes the last place of a commit.
const PIECE_WRITES_MAX: usize = 255;
/// The most bytes of the values of one piece, those they replace included. Of the 8 MiB that a commit may
/// have, the rest is for what somebody else may have written meanwhile.
const PIECE_BYTES_MAX: usize = 6 * 1024 * 1024;

/// An import that was found to be in order.
struct Import<'a> {
    caller: &'a Caller,
    node_id: &'a str,
    registers: &'a [pb::ImportedRegister],
    /// The places of the items that count.
    items: Vec<usize>,
    reason: &'a str,
    dry_run: bool,
    hash: u64,
}

/// What has become of an import so far.
#[derive(Default)]
struct Outcome {
    answer: pb::ImportRegistersResponse,
    /// Why the first of the pieces that failed did.
    refused: Option<Fault>,
    /// Whether a piece was carried out.
    done: bool,
    /// Why no more is sent.
    out_of_reach: Option<Fault>,
    /// The last commit that concerns the pool.
    to_push: Option<String>,
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
        let import = Import {
            caller,
            node_id,
            registers: &request.registers,
            items: counting(&request.registers),
            reason: &request.reason,
            dry_run: request.dry_run,
            hash,
        };
        let sizes = self.plan(&import)?;
        let mut outcome = Outcome::default();
        for piece in import.cut(&sizes) {
            self.carry_out(&import, piece, &mut outcome).await;
        }
        let answer = self.answer(&import, outcome).await?;
        let cursor = answer.cursor.clone();
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

    /// Carries one piece out, unless the store is known to be out of reach.
    async fn carry_out(&self, import: &Import<'_>, piece: Range<usize>, outcome: &mut Outcome) {
        if let Some(fault) = outcome.out_of_reach.clone() {
            return import.fail(piece, &fault, outcome);
        }
        match self.piece(import, piece.clone()).await {
            Ok(answer) => outcome.take(answer),
            Err(fault) => {
                import.fail(piece, &fault, outcome);
                outcome.out_of_reach = if fault.is(reasons::STORE_UNAVAILABLE) {
                    Some(fault.clone())
                } else {
                    fault.is(reasons::OUTCOME_UNKNOWN).then(not_sent)
                };
                outcome.refused.get_or_insert(fault);
            }
        }
    }

    async fn piece(
        &self,
        import: &Import<'_>,
        piece: Range<usize>,
    ) -> Result<pb::ImportRegistersResponse, Fault> {
        let caller = import.caller_of(&piece);
        let mutation = Mutation {
            caller: &caller,
            action: register_service::IMPORT.audit_action,
            object: RecordId::new(REGISTER, import.node_id),
            reason: import.reason,
            expected: expected(&caller, None)?,
            dry_run: import.dry_run,
            request_hash: import.hash,
        };
        let mutated =
            self.registry.mutate(mutation, |reader: &Reader<'_>| self.decide(import, &piece, reader));
        mutated.await.map_err(|fault| import.restated(fault, &caller))
    }

    fn decide(
        &self,
        import: &Import<'_>,
        piece: &Range<usize>,
        reader: &Reader<'_>,
    ) -> Result<Decision<pb::ImportRegistersResponse>, Fault> {
        let mut writes = Vec::new();
        let mut answer = pb::ImportRegistersResponse { advertised: true, ..Default::default() };
        for &at in &import.items[piece.clone()] {
            let id = register_record(import.node_id, &import.registers[at].register_id);
            // Nothing is written on a dry run, of which all is one piece, so nothing is insisted on.
            let found = if import.dry_run { self.registry.view().get(&id) } else { reader.get(&id) };
            let held = found.and_then(|found| found.value::<RegisterValue>());
            let after = import.after(at, held.as_deref().unwrap_or(&RegisterValue::default()))?;
            match held.as_deref() {
                Some(held) if *held == after => {
                    answer.unchanged += 1;
                    continue;
                }
                Some(_) => answer.updated += 1,
                None => answer.added += 1,
            }
            answer.advertised &= !concerns_pool(held.as_deref(), Some(&after));
            writes.push(Write::Put { id, value: Bytes::from(after.encode_to_vec()), group: None });
        }
        let line = || format!("registers: {} added, {} updated", answer.added, answer.updated);
        let changes = if writes.is_empty() { Vec::new() } else { vec![line()] };
        Ok(Decision { writes, changes, answer })
    }

    /// The answer to the whole.
    ///
    /// # Errors
    /// Why nothing at all was done.
    async fn answer(
        &self,
        import: &Import<'_>,
        outcome: Outcome,
    ) -> Result<pb::ImportRegistersResponse, Fault> {
        let Outcome { mut answer, refused, done, to_push, .. } = outcome;
        if let Some(fault) = refused.filter(|_| !done) {
            return Err(fault);
        }
        SCHEMA_VERSION.clone_into(&mut answer.schema_version);
        answer.dry_run = import.dry_run;
        answer.processed = import.registers.len() as u32;
        // Those that a later one of the same id overrides.
        answer.unchanged += (import.registers.len() - import.items.len()) as u32;
        if answer.cursor.is_empty() {
            answer.cursor = head_cursor(self.registry.view());
        }
        let own = import.node_id == self.registry.node_id();
        answer.advertised = match to_push {
            None => true,
            Some(cursor) => own && !import.dry_run && self.wait_for_pool(&cursor).await,
        };
        Ok(answer)
    }
}

impl Import<'_> {
    /// The pieces, as places among the items. They follow from the request alone as long as its registers are
    /// of a usual size, so that a repetition with the same key meets the answers of the first time.
    fn cut(&self, sizes: &[usize]) -> Vec<Range<usize>> {
        match (self.dry_run, sizes.len()) {
            (_, 0) => Vec::new(),
            (true, all) => std::iter::once(0..all).collect(),
            (false, _) => pieces(sizes, PIECE_WRITES_MAX, PIECE_BYTES_MAX),
        }
    }

    /// What the item at a place makes of a register.
    fn after(&self, at: usize, held: &RegisterValue) -> Result<RegisterValue, Fault> {
        let given = Given::of_import(&self.registers[at]);
        given.applied_to(held, Lower::LeftOut).map_err(|error| refused(at, &error))
    }

    /// The caller with a key of this piece's own. No key of a caller holds a blank.
    fn caller_of(&self, piece: &Range<usize>) -> Caller {
        let key = |key: &Option<String>| Some(format!("{} {}-{}", key.as_ref()?, piece.start, piece.end));
        Caller {
            idempotency_key: key(&self.caller.idempotency_key),
            generated_key: key(&self.caller.generated_key),
            ..self.caller.clone()
        }
    }

    /// The fault of a piece, as the caller knows the keys.
    fn restated(&self, mut fault: Fault, of_piece: &Caller) -> Fault {
        let (Some(whole), Some(piece)) = (self.caller.repeat_key(), of_piece.repeat_key()) else {
            return fault;
        };
        fault.hint = fault.hint.map(|hint| hint.replace(piece, whole));
        for value in fault.details.values_mut().filter(|value| *value == piece) {
            whole.clone_into(value);
        }
        fault
    }

    fn fail(&self, piece: Range<usize>, fault: &Fault, outcome: &mut Outcome) {
        let failures = self.items[piece].iter().map(|&at| pb::ItemFailure {
            register_id: self.registers[at].register_id.clone(),
            reason: fault.reason.to_string(),
            message: fault.message.clone(),
        });
        outcome.answer.results.extend(failures);
        outcome.answer.failed = outcome.answer.results.len() as u32;
    }
}

impl Outcome {
    /// Adds the answer to a piece.
    fn take(&mut self, piece: pb::ImportRegistersResponse) {
        self.done = true;
        self.answer.added += piece.added;
        self.answer.updated += piece.updated;
        self.answer.unchanged += piece.unchanged;
        if !piece.advertised {
            self.to_push = Some(piece.cursor.clone());
        }
        self.answer.cursor = piece.cursor;
    }
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

/// The fault of items behind a piece that the store did not answer.
fn not_sent() -> Fault {
    let message = "it was not sent: the store has not answered what was sent before";
    Fault::new(reasons::STORE_UNAVAILABLE, message)
}

impl Answer for pb::ImportRegistersResponse {
    fn set_cursor(&mut self, cursor: Cursor) {
        self.cursor = cursor.to_string();
    }

    fn settle(&mut self, outcome: &Settled, _entry: Option<&LogEntry>) {
        self.set_cursor(outcome.cursor);
        self.dry_run = outcome.dry_run;
    }
}
