//! The one way to change something: load, decide, commit, and the commit is the event.

mod refused;

use std::marker::PhantomData;
use std::time::Duration;

use bytes::Bytes;
use omnirelay_core::text::chain;
use omnirelay_identity::caller::{Caller, IfMatch};
use omnirelay_store::{
    CommitError, CommitOutcome, Epoch, Idempotency, IdempotencyKey, LogEntry, Record, RecordId, RecordKind,
    Revision, StoreError, Write,
};
use omnirelay_wire::change::ChangeAnswer;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::reasons;
use omnirelay_wire::timestamp::timestamp;
use prost::Message;
use tokio::time::{Instant, timeout};
use tracing::{debug, warn};
use xxhash_rust::xxh64::xxh64;

use super::Registry;
use super::act::{CommitPlan, DaemonAct, DecisionReader, WriteAuthority};
use super::commit_judge::JudgedCommit;
use super::cursor::Cursor;
use super::follow::in_time;
use super::record::AuditedAction;
use super::refusal::{commit_fault, internal, store_fault, unavailable};
use refused::{MutationRefusal, patience, refuse_decided, unexpected};

/// How often a mutation decides, and how often it waits for the view.
const TRIES_MAX: usize = 5;

/// How long a mutation waits for a view that is not loaded yet.
const LOAD_WAIT: Duration = Duration::from_secs(5);
/// How long it waits for a store that is silent; nothing is sent to it meanwhile, so that an outage
/// piles nothing up.
const RETURN_WAIT: Duration = Duration::from_secs(1);
/// How long the answer of an earlier commit may take.
const RECALL_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a commit may take before nobody knows what became of it.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(10);

/// Mutation that a caller asks for.
pub struct Mutation<'a> {
    pub caller: &'a Caller,
    /// `<object>.<verb>`, such as `peers.cordon`.
    pub action: &'static str,
    /// What the request names; the record is reported with the audit and checked against
    /// `expected`.
    pub object: RecordId,
    /// Under what else of the same object's kinds it may write.
    pub also: &'static [RecordKind],
    pub reason: &'a str,
    /// What the caller expects `object` to be; `None` takes it as it is.
    pub expected: Option<IfMatch>,
    pub dry_run: bool,
    /// Of the whole request, so that a reused idempotency key is noticed.
    pub request_hash: u64,
}

impl Mutation<'_> {
    /// As the audit trail has it.
    pub fn deed(&self, changes: &[String]) -> AuditedAction<'_> {
        AuditedAction {
            action: self.action,
            object: self.object.to_string(),
            reason: self.reason,
            dry_run: self.dry_run,
            changes: changes.to_vec(),
        }
    }

    /// As the one thing that its object's kind has done to it.
    fn act(&self) -> DaemonAct {
        let kinds = std::iter::once(&self.object.kind).chain(self.also).cloned();
        DaemonAct { within: COMMIT_TIMEOUT, ..DaemonAct::new(self.action, kinds, WriteAuthority::Unfenced) }
    }
}

/// Decision about a mutation: what is written, and what is answered.
pub struct MutationDecision<A> {
    /// Nothing when it is so already.
    pub writes: Vec<Write>,
    /// One line per change, such as `cordoned: false -> true`.
    pub changes: Vec<String>,
    pub answer: A,
}

/// Completion of the answer of a mutation once the commit is known.
pub trait AnswerCompletion {
    type Answer: Message + Default + Clone;

    /// Fills in what only the commit knows. `entry` is `None` when nothing was committed, or when
    /// an earlier commit's answer is given again; `object` is that of the mutation.
    fn settle(
        answer: &mut Self::Answer,
        outcome: &MutationOutcome,
        entry: Option<&LogEntry>,
        object: &RecordId,
    );

    /// Says where the registry stood after the commit that this is the answer of.
    fn set_cursor(answer: &mut Self::Answer, cursor: Cursor);
}

/// Completion of an answer that shows the object of a change.
pub struct ChangeForm<A>(PhantomData<A>);

impl<A: ChangeAnswer> AnswerCompletion for ChangeForm<A> {
    type Answer = A;

    fn settle(answer: &mut A, outcome: &MutationOutcome, entry: Option<&LogEntry>, object: &RecordId) {
        Self::set_cursor(answer, outcome.cursor);
        answer.set_outcome(outcome.changed, outcome.dry_run);
        if let Some(record) = written(entry, object) {
            let [created_at, updated_at] = [record.created_at, record.updated_at].map(timestamp);
            answer.show_record(record.version.0, &record.writer, created_at, updated_at);
        }
    }

    fn set_cursor(answer: &mut A, cursor: Cursor) {
        answer.set_cursor(cursor.to_string());
    }
}

/// The record with this id as a commit wrote it; `None`: it wrote or left none.
fn written<'e>(entry: Option<&'e LogEntry>, id: &RecordId) -> Option<&'e Record> {
    let change = entry?.changes.iter().find(|change| change.after.id == *id)?;
    (!change.after.deleted).then_some(&change.after)
}

/// Outcome of a mutation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MutationOutcome {
    pub cursor: Cursor,
    /// False: it was so already.
    pub changed: bool,
    pub dry_run: bool,
}

/// The hash of a request as it came, for idempotency.
pub fn request_hash(request: &impl Message) -> u64 {
    xxh64(&request.encode_to_vec(), 0)
}

impl Registry {
    /// Carries out a mutation: reads what `decide` asks for, commits what it answers together
    /// with the audit record, and decides again (at most five times) when somebody else was
    /// faster, or the registry has begun a new epoch, and the caller expected no version.
    ///
    /// # Errors
    /// What `decide` refuses; `VERSION_CONFLICT`, `EPOCH_CHANGED`; `STORE_UNAVAILABLE` (nothing was changed);
    /// `OUTCOME_UNKNOWN` (repeat with the same idempotency key, or look first).
    pub async fn mutate<F: AnswerCompletion>(
        &self,
        mutation: Mutation<'_>,
        decide: impl Fn(&DecisionReader<'_>) -> Result<MutationDecision<F::Answer>, Fault>,
    ) -> Result<F::Answer, Fault> {
        let asked = Instant::now();
        self.reachable(&mutation).await?;
        if let Some(provisional) = &mutation.caller.provisional {
            provisional.check()?;
        }
        if let Some(key) = &mutation.caller.idempotency_key
            && let Some(answer) = self.answered_before::<F>(&mutation, key).await?
        {
            return Ok(answer);
        }
        match self.decide_and_commit::<F>(&mutation, asked, decide).await {
            Ok(answer) => Ok(answer),
            Err(refusal) => self.answered_all_the_same::<F>(&mutation, refusal).await,
        }
    }

    /// Waits a moment for a view and a store that answers.
    async fn reachable(&self, mutation: &Mutation<'_>) -> Result<(), Fault> {
        let loaded = timeout(LOAD_WAIT, self.ready_for("")).await;
        loaded.map_err(|_| unavailable(mutation, "the registry is still being loaded"))??;
        let heard = timeout(RETURN_WAIT, self.view().connectivity().heard()).await;
        heard.map_err(|_| unavailable(mutation, "the store does not answer"))
    }

    /// The answer of a commit that was made although it was refused just now: the same request may
    /// have been carried out meanwhile, by another daemon or a moment ago, and its own effect is
    /// what stands in the way; or the reply was lost.
    async fn answered_all_the_same<F: AnswerCompletion>(
        &self,
        mutation: &Mutation<'_>,
        refusal: Fault,
    ) -> Result<F::Answer, Fault> {
        // Nobody else knows a key that was made for this very call.
        let asked = mutation.caller.idempotency_key.is_some() || refusal.is(reasons::OUTCOME_UNKNOWN);
        let Some(key) = mutation.caller.repeat_key().filter(|_| asked) else { return Err(refusal) };
        match self.answered_before::<F>(mutation, key).await {
            Ok(Some(answer)) => Ok(answer),
            Ok(None) | Err(_) => Err(refusal),
        }
    }

    async fn decide_and_commit<F: AnswerCompletion>(
        &self,
        mutation: &Mutation<'_>,
        asked: Instant,
        decide: impl Fn(&DecisionReader<'_>) -> Result<MutationDecision<F::Answer>, Fault>,
    ) -> Result<F::Answer, Fault> {
        let (mut tries, until) = (0, patience(mutation));
        let mut confirmed = false;
        loop {
            tries += 1;
            let refused = match self.decide_once::<F>(mutation, &decide).await {
                Ok(answer) => return Ok(answer),
                Err(refused) => refused,
            };
            if let MutationRefusal::Decided(fault) = refused {
                // Another daemon may have acknowledged a moment ago what is missed here.
                if std::mem::replace(&mut confirmed, true) || !self.confirm_since(asked, until).await {
                    return Err(fault);
                }
                continue;
            }
            if tries == TRIES_MAX {
                return Err(refused.into_fault(mutation));
            }
            self.pass(mutation, refused, until).await?;
        }
    }

    async fn decide_once<F: AnswerCompletion>(
        &self,
        mutation: &Mutation<'_>,
        decide: &impl Fn(&DecisionReader<'_>) -> Result<MutationDecision<F::Answer>, Fault>,
    ) -> Result<F::Answer, MutationRefusal> {
        let reader = DecisionReader::new(self.view());
        let epoch = reader.epoch();
        if let Some(shown) = unexpected(mutation, &reader) {
            return Err(self.refuse_unexpected(mutation, epoch, shown).await);
        }
        let MutationDecision { writes, changes, answer } = match decide(&reader) {
            Ok(decision) => decision,
            Err(refusal) => return Err(refuse_decided(mutation, &reader, refusal)),
        };
        // What changes nothing is committed too: only the store knows that it still is so.
        let changed = !writes.is_empty();
        self.check_may_sign(&writes).map_err(MutationRefusal::Finally)?;
        // Of a dry run too, which writes nothing of it.
        let closed = self.write_gate.conditions(self.view(), mutation.action, &writes);
        closed.map_err(|closed| MutationRefusal::Finally(commit_fault(mutation, &closed)))?;
        if mutation.dry_run {
            self.rehearse(mutation, epoch, &writes).await?;
        }
        let plan = self.plan_of::<F>(mutation, (writes, &changes, &answer), reader.plan());
        let act = mutation.act();
        if plan.check_kinds(&act).is_err() {
            return Err(MutationRefusal::Finally(internal(mutation)));
        }
        match self.attempt(&act, plan).await {
            Ok(committed) => self
                .answer::<F>(mutation, (answer, changed), epoch, committed)
                .map_err(MutationRefusal::Finally),
            // The version that the caller expects is that of the object alone.
            Err(CommitError::Conflict { id, expected, actual })
                if may_decide_again(mutation) || id != mutation.object =>
            {
                Err(MutationRefusal::Behind(CommitError::Conflict { id, expected, actual }))
            }
            Err(error) => Err(self.refuse_commit(mutation, epoch, &error)),
        }
    }

    /// Judges what a dry run would write.
    async fn rehearse(
        &self,
        mutation: &Mutation<'_>,
        epoch: Epoch,
        writes: &[Write],
    ) -> Result<(), MutationRefusal> {
        let judged = JudgedCommit { action: mutation.action, epoch, writes };
        match self.write_gate.judge(self.view(), &judged).await {
            Ok(passage) => passage.map_or((), |passage| passage.not_made()),
            Err(declined) => return Err(MutationRefusal::Finally(commit_fault(mutation, &declined))),
        }
        Ok(())
    }

    /// Says what the store refuses: the first of many is told, because every caller may try again.
    fn note_refusal(&self, mutation: &Mutation<'_>, error: &StoreError) {
        let (action, request_id) = (mutation.action, &mutation.caller.request_id);
        if self.refusals.is_due(error) {
            warn!(action, %request_id, error = %chain(error), "store refused");
        } else {
            debug!(action, %request_id, error = %chain(error), "store refused");
        }
    }

    /// The answer of an earlier commit under this idempotency key.
    async fn answered_before<F: AnswerCompletion>(
        &self,
        mutation: &Mutation<'_>,
        key: &str,
    ) -> Result<Option<F::Answer>, Fault> {
        let key = idempotency_key(mutation, key);
        let recalled = in_time(RECALL_TIMEOUT, self.store().recall(&key)).await;
        let recalled = recalled.map_err(|error| {
            self.note_refusal(mutation, &error);
            store_fault(mutation, &error)
        })?;
        match recalled {
            None => Ok(None),
            Some((hash, _)) if hash != mutation.request_hash => {
                Err(commit_fault(mutation, &CommitError::IdempotencyReused))
            }
            Some((_, CommitOutcome::Replayed { revision, answer })) => {
                self.replayed::<F>(mutation, revision, answer).map(Some)
            }
            Some((_, CommitOutcome::Done(_))) => Err(internal(mutation)),
        }
    }

    /// What a decision writes, with its audit record and its answer for whoever asks again.
    fn plan_of<F: AnswerCompletion>(
        &self,
        mutation: &Mutation<'_>,
        (writes, changes, answer): (Vec<Write>, &[String], &F::Answer),
        plan: CommitPlan,
    ) -> CommitPlan {
        let changed = !writes.is_empty();
        let body = changed.then(|| self.body_of(mutation.caller, mutation.deed(changes)));
        let plan = plan.audit(body);
        // Of a dry run only the audit record is written.
        if mutation.dry_run {
            return plan;
        }
        let idempotency = mutation.caller.repeat_key().map(|key| {
            let key = idempotency_key(mutation, key);
            let mut answer = answer.clone();
            F::settle(&mut answer, &self.settled(mutation, changed), None, &mutation.object);
            let answer = Bytes::from(answer.encode_to_vec());
            Idempotency { key, request_hash: mutation.request_hash, answer }
        });
        plan.write(writes).answering(idempotency)
    }

    fn answer<F: AnswerCompletion>(
        &self,
        mutation: &Mutation<'_>,
        (mut answer, changed): (F::Answer, bool),
        epoch: Epoch,
        committed: CommitOutcome,
    ) -> Result<F::Answer, Fault> {
        match committed {
            CommitOutcome::Done(entry) => {
                let cursor = Cursor::at(epoch, entry.revision);
                let settled = MutationOutcome { cursor, ..self.settled(mutation, changed) };
                let entry = (!mutation.dry_run).then_some(&*entry);
                F::settle(&mut answer, &settled, entry, &mutation.object);
                Ok(answer)
            }
            CommitOutcome::Replayed { revision, answer } => self.replayed::<F>(mutation, revision, answer),
        }
    }

    /// The answer as it was given first, with the cursor of its commit.
    fn replayed<F: AnswerCompletion>(
        &self,
        mutation: &Mutation<'_>,
        revision: Revision,
        bytes: Bytes,
    ) -> Result<F::Answer, Fault> {
        let mut answer = F::Answer::decode(bytes).map_err(|_| internal(mutation))?;
        F::set_cursor(&mut answer, Cursor::at(self.view().head().epoch, revision));
        Ok(answer)
    }

    fn settled(&self, mutation: &Mutation<'_>, changed: bool) -> MutationOutcome {
        MutationOutcome { cursor: self.view().head().cursor(), changed, dry_run: mutation.dry_run }
    }
}

/// Whether somebody else's change is a reason to decide anew, and not to refuse.
fn may_decide_again(mutation: &Mutation<'_>) -> bool {
    !matches!(mutation.expected, Some(IfMatch::Version(_)))
}

fn idempotency_key(mutation: &Mutation<'_>, id: &str) -> IdempotencyKey {
    IdempotencyKey {
        principal: mutation.caller.principal.to_string(),
        method: mutation.action.to_owned(),
        id: id.to_owned(),
    }
}
