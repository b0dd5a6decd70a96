//! Many registers of one node in one call: carried out piece by piece, each of which is made or refused as a whole.

use std::ops::Range;

use omnirelay_decisions::catalogue::pieces;
use omnirelay_identity::caller::Caller;
use omnirelay_nouns::{expected, head_cursor};
use omnirelay_registry::act::DecisionReader;
use omnirelay_registry::mutate::{AnswerCompletion, Mutation, MutationDecision};
use omnirelay_store::RecordId;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::reasons;
use prost::Message;

use super::{REGISTER, Registers, pb};

/// The most registers of one piece: the audit record takes the last place of a commit.
const PIECE_WRITES_MAX: usize = 255;
/// The most bytes of the values of one piece, those they replace included. Of the 8 MiB that a commit may
/// have, the rest is for what somebody else may have written meanwhile.
const PIECE_BYTES_MAX: usize = 6 * 1024 * 1024;

/// Call about many registers that was found to be in order.
pub(super) struct BulkCall<'a> {
    pub caller: &'a Caller,
    pub action: &'static str,
    pub node_id: &'a str,
    /// Those that are changed, each once.
    pub ids: Vec<&'a str>,
    pub reason: &'a str,
    pub dry_run: bool,
    pub hash: u64,
}

/// The answer to such a call, and to each piece of it.
pub(super) trait PieceAnswer: Message + Default + Clone {
    type Form: AnswerCompletion<Answer = Self>;

    fn cursor(&self) -> &str;

    /// Whether the pool shows it already.
    fn is_shown(&self) -> bool;

    /// Adds what a further piece came to.
    fn take(&mut self, piece: Self);

    /// Adds registers to which nothing was done.
    fn fail(&mut self, failures: Vec<pb::ItemFailure>);
}

/// Progress of a bulk call: its outcome so far.
#[derive(Default)]
struct BulkProgress<A> {
    answer: A,
    /// Why the first of the pieces that failed did.
    refused: Option<Fault>,
    /// Whether a piece was carried out.
    done: bool,
    /// Why no more is sent.
    out_of_reach: Option<Fault>,
    /// The last commit that concerns the pool.
    to_push: Option<String>,
    cursor: String,
}

/// Result of a bulk call.
pub(super) struct BulkResult<A> {
    pub answer: A,
    /// Where the registry stands after it.
    pub cursor: String,
    /// Whether the pool of the node shows all of it.
    pub advertised: bool,
}

impl Registers {
    /// Carries out all of it; `sizes` are the bytes that each register takes in a commit.
    ///
    /// # Errors
    /// Why nothing at all was done.
    pub(super) async fn carry_out_all<A: PieceAnswer>(
        &self,
        bulk: &BulkCall<'_>,
        sizes: &[usize],
        decide: impl Fn(&Range<usize>, &DecisionReader<'_>) -> Result<MutationDecision<A>, Fault>,
    ) -> Result<BulkResult<A>, Fault> {
        let mut outcome = BulkProgress::default();
        for piece in bulk.cut(sizes) {
            self.carry_out(bulk, piece, &decide, &mut outcome).await;
        }
        let BulkProgress { answer, refused, done, to_push, cursor, .. } = outcome;
        if let Some(fault) = refused.filter(|_| !done) {
            return Err(fault);
        }
        let own = bulk.node_id == self.registry.node_id();
        let advertised = match to_push {
            None => true,
            Some(cursor) => own && !bulk.dry_run && self.wait_for_pool(&cursor).await,
        };
        let cursor = if cursor.is_empty() { head_cursor(self.registry.view()) } else { cursor };
        Ok(BulkResult { answer, cursor, advertised })
    }

    /// Carries one piece out, unless it is known that no further one can be.
    async fn carry_out<A: PieceAnswer>(
        &self,
        bulk: &BulkCall<'_>,
        piece: Range<usize>,
        decide: &impl Fn(&Range<usize>, &DecisionReader<'_>) -> Result<MutationDecision<A>, Fault>,
        outcome: &mut BulkProgress<A>,
    ) {
        if let Some(fault) = &outcome.out_of_reach {
            return outcome.answer.fail(bulk.failures(piece, fault));
        }
        match self.piece(bulk, &piece, decide).await {
            Ok(answer) => outcome.take(answer),
            Err(fault) => {
                outcome.answer.fail(bulk.failures(piece, &fault));
                // Whose key was used for something else means nothing of this.
                let ends = [
                    reasons::STORE_UNAVAILABLE,
                    reasons::IDEMPOTENCY_KEY_REUSED,
                    reasons::LIMIT_REACHED,
                    reasons::LIMIT_EXHAUSTED,
                ];
                outcome.out_of_reach = if ends.iter().any(|reason| fault.is(*reason)) {
                    Some(fault.clone())
                } else {
                    fault.is(reasons::OUTCOME_UNKNOWN).then(not_sent)
                };
                outcome.refused.get_or_insert(fault);
            }
        }
    }

    async fn piece<A: PieceAnswer>(
        &self,
        bulk: &BulkCall<'_>,
        piece: &Range<usize>,
        decide: &impl Fn(&Range<usize>, &DecisionReader<'_>) -> Result<MutationDecision<A>, Fault>,
    ) -> Result<A, Fault> {
        let caller = bulk.caller_of(piece);
        let mutation = Mutation {
            caller: &caller,
            action: bulk.action,
            object: RecordId::new(REGISTER, bulk.node_id),
            also: &[],
            reason: bulk.reason,
            expected: expected(&caller, None)?,
            dry_run: bulk.dry_run,
            request_hash: bulk.hash,
        };
        let mutated =
            self.registry.mutate::<A::Form>(mutation, |reader: &DecisionReader<'_>| decide(piece, reader));
        mutated.await.map_err(|fault| bulk.restated(fault, &caller))
    }
}

impl BulkCall<'_> {
    /// The pieces, as places among the ids. They follow from the request alone as long as its registers are
    /// of a usual size, so that a repetition with the same key meets the answers of the first time.
    fn cut(&self, sizes: &[usize]) -> Vec<Range<usize>> {
        match (self.dry_run, sizes.len()) {
            (_, 0) => Vec::new(),
            (true, all) => std::iter::once(0..all).collect(),
            (false, _) => pieces(sizes, PIECE_WRITES_MAX, PIECE_BYTES_MAX),
        }
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

    fn failures(&self, piece: Range<usize>, fault: &Fault) -> Vec<pb::ItemFailure> {
        self.ids[piece].iter().map(|id| failure(id, fault)).collect()
    }
}

/// Failure of an item: nothing was done to a register, and why.
pub(super) fn failure(register_id: &str, fault: &Fault) -> pb::ItemFailure {
    pb::ItemFailure {
        register_id: register_id.to_owned(),
        reason: fault.reason.to_string(),
        message: fault.message.clone(),
    }
}

impl<A: PieceAnswer> BulkProgress<A> {
    /// Adds the answer to a piece.
    fn take(&mut self, piece: A) {
        self.done = true;
        piece.cursor().clone_into(&mut self.cursor);
        if !piece.is_shown() {
            self.to_push = Some(self.cursor.clone());
        }
        self.answer.take(piece);
    }
}

/// The fault of registers behind a piece that the store did not answer.
fn not_sent() -> Fault {
    let message = "it was not sent: the store has not answered what was sent before";
    Fault::new(reasons::STORE_UNAVAILABLE, message)
}
