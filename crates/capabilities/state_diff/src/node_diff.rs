//! Another daemon beside this one: sums of ranges tell where they may differ, and the records there are compared at one commit.

use std::collections::BTreeMap;
use std::time::Duration;

use omnirelay_core::ranges::RangePrefix;
use omnirelay_core::text::printable;
use omnirelay_node::node_asker::{AskableNode, NodeAsker, NodeChannel, NodeQuestion, not_asked};
use omnirelay_nouns::range_questions::{CLAIMS_MAX, FORM, KindComparisons, range, state_record};
use omnirelay_registry::Registry;
use omnirelay_registry::follow::wait_for;
use omnirelay_registry::stored_ranges::KindRanges;
use omnirelay_registry::view::place_of;
use omnirelay_store::{Epoch, KEY_BYTES_MAX, Record, RecordId, RecordKind, Revision};
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::mesh::control::v1::state_diff_service_client::StateDiffServiceClient;
use omnirelay_wire::reasons;
use tokio::time::{Instant, sleep, timeout};

use super::compared::ComparedRecords;
use super::pb;
use super::ranges::key;

/// How long a question may take, at both ports of a node, and at its mesh port alone.
const PATIENCE: Duration = Duration::from_secs(6);
const MESH_PATIENCE: Duration = Duration::from_secs(4);
/// The longest answer in bytes: of [`CLAIMS_MAX`] claims, or so many records as are listed at once.
const ANSWER_BYTES_MAX: usize = 4 << 20;
/// How many questions are asked at most: as many find ten million records that differ.
const QUESTIONS_MAX: u32 = 10_000;
/// How many records are listed at once, and by how many a range of the other side may have more than here.
const LISTED_AT_ONCE: u64 = 2048;
const RECORDS_APART: u64 = 64;
/// Hexadecimal digits of a digest.
const DIGEST_DIGITS: usize = 32;
/// How often the records of some ranges are compared that change each time, and how long it is waited between.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(50);
/// How long this view may take to show what the other one has.
const SHOWN_WITHIN: Duration = Duration::from_secs(2);

/// Question about ranges.
#[derive(Clone)]
struct AskRanges(pb::CompareRangesRequest);

impl NodeQuestion for AskRanges {
    type Answer = pb::CompareRangesResponse;
    const PATIENCE: Duration = MESH_PATIENCE;

    async fn ask(self, channel: impl NodeChannel) -> Result<pb::CompareRangesResponse, tonic::Status> {
        let mut client = StateDiffServiceClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX);
        Ok(client.compare_ranges(self.0).await?.into_inner())
    }

    fn answered_by(answer: &pb::CompareRangesResponse) -> &str {
        &answer.local_node_id
    }
}

/// Daemon whose records are compared.
pub(crate) trait RangeSource: Sync {
    /// Its id.
    fn node_id(&self) -> &str;

    /// Answers a question about ranges.
    ///
    /// # Errors
    /// `NODE_NOT_ASKED`, `NODE_OLDER`.
    fn ask(
        &self,
        question: pb::CompareRangesRequest,
    ) -> impl Future<Output = Result<pb::CompareRangesResponse, Fault>> + Send;
}

/// Another node, and how it is asked.
pub(crate) struct AskedNode<'a> {
    pub asker: &'a NodeAsker,
    pub node: AskableNode,
}

impl RangeSource for AskedNode<'_> {
    fn node_id(&self) -> &str {
        self.node.node_id()
    }

    async fn ask(&self, question: pb::CompareRangesRequest) -> Result<pb::CompareRangesResponse, Fault> {
        let (_, said) = self.asker.ask(AskRanges(question), &self.node, Instant::now() + PATIENCE).await;
        let instead = "compare each with the store: omnirelay mesh state-diff";
        let hint = "omnirelay mesh check    # how it stands";
        said.map_err(|why| not_asked(self.node_id(), &why, ("compares nothing", instead), hint))
    }
}

/// Comparison with another daemon.
pub(crate) struct NodeDiff<'a, S> {
    pub registry: &'a Registry,
    pub other: S,
}

impl<S: RangeSource> NodeDiff<'_, S> {
    /// Compares what both hold.
    ///
    /// # Errors
    /// `NODE_NOT_ASKED`, `NODE_OLDER`, `EPOCH_CHANGED`; `STORE_UNAVAILABLE` where this daemon does not follow the store.
    pub(crate) async fn compare(&self, found: &mut ComparedRecords) -> Result<(), Fault> {
        let view = self.registry.view();
        let epoch = view.head().epoch;
        let held = KindRanges::of(view);
        let mut comparisons = KindComparisons::begin(&held, view.compared_kinds(), &key(epoch));
        loop {
            let asked = comparisons.next_question();
            if asked.is_empty() {
                break;
            }
            let told = self.ask(epoch, asked, found).await?.kinds;
            let told = told.into_iter().map(|kind| (kind.kind, kind.held, kind.answers)).collect();
            comparisons.take_in(told).map_err(|why| self.no_sense(&why))?;
        }
        let (not_held, differing) = comparisons.into_found();
        found.not_compared.extend(not_held.iter().map(|kind| kind.0.to_string()));
        for (kind, ranges) in differing {
            let mut ranges: Vec<RangePrefix> = ranges.into_iter().map(|found| found.range).collect();
            found.records += view.count_within(&kind, RangePrefix::ALL);
            while !ranges.is_empty() {
                let some = self.next_listed(&kind, &mut ranges);
                let rest = self.compare_records(epoch, &kind, some, found).await?;
                ranges.extend(rest);
            }
        }
        found.differences.sort_by(|one, other| (&one.kind, &one.key).cmp(&(&other.kind, &other.key)));
        Ok(())
    }

    /// Takes as many ranges as have so many records that both sides list them in one answer.
    fn next_listed(&self, kind: &RecordKind, ranges: &mut Vec<RangePrefix>) -> Vec<RangePrefix> {
        let (mut some, mut records) = (Vec::new(), 0);
        while let Some(range) = ranges.last() {
            records += self.registry.view().count_within(kind, *range) + RECORDS_APART;
            if !some.is_empty() && (records > LISTED_AT_ONCE || some.len() == CLAIMS_MAX) {
                break;
            }
            some.extend(ranges.pop());
        }
        some
    }

    /// Compares the records of some ranges as both have them at the commit where the other one stands, and gives back those of which the
    /// other one has more than it lists at once.
    async fn compare_records(
        &self,
        epoch: Epoch,
        kind: &RecordKind,
        mut ranges: Vec<RangePrefix>,
        found: &mut ComparedRecords,
    ) -> Result<Vec<RangePrefix>, Fault> {
        let (view, mut rest, mut tries) = (self.registry.view(), Vec::new(), 0);
        while tries < TRIES {
            let listed = ranges.iter().copied().map(range).collect();
            let asked = vec![pb::KindClaims { kind: kind.0.to_string(), listed, ..Default::default() }];
            let mut answer = self.ask(epoch, asked, found).await?;
            let at = Revision(answer.revision);
            let answers = answer.kinds.pop().filter(|answers| answers.kind == kind.0 && answers.held);
            let Some(answers) = answers else {
                return Err(self.no_sense("it answers about other kinds than was asked"));
            };
            if answers.more && ranges.len() > 1 {
                rest.extend(ranges.split_off(ranges.len() / 2));
                continue;
            }
            tries += 1;
            if answers.more {
                sleep(PAUSE).await;
                continue;
            }
            let there = self.listed(kind, &ranges, answers.records)?;
            if timeout(SHOWN_WITHIN, wait_for(view, at)).await.is_err() && view.head().epoch == epoch {
                let message = format!(
                    "this daemon stands at commit {}, and `{}` at {at}: it does not follow the store",
                    view.head().revision.0,
                    self.other.node_id(),
                    at = at.0
                );
                return Err(Fault::new(reasons::STORE_UNAVAILABLE, message)
                    .hint("omnirelay mesh check says how this daemon and its store stand"));
            }
            let Some(here) = view.records_at(kind, (epoch, at), &ranges) else {
                sleep(PAUSE).await;
                continue;
            };
            note_differing(kind, &here, there, found);
            return Ok(rest);
        }
        found.unsettled += ranges.iter().map(|range| view.count_within(kind, *range)).sum::<u64>().max(1);
        Ok(rest)
    }

    /// What was listed, by key: of these ranges alone, each once, and no longer than it can be.
    fn listed(
        &self,
        kind: &RecordKind,
        ranges: &[RangePrefix],
        records: Vec<pb::RangedRecord>,
    ) -> Result<BTreeMap<String, pb::StateRecord>, Fault> {
        let mut listed = BTreeMap::new();
        for pb::RangedRecord { key, record } in records {
            let record = record.unwrap_or_default();
            let is_sound = (1..=KEY_BYTES_MAX).contains(&key.len())
                && record.last_writer_id.len() <= KEY_BYTES_MAX
                && record.digest.len() == DIGEST_DIGITS
                && record.digest.bytes().all(|digit| digit.is_ascii_hexdigit());
            let place = place_of(&RecordId::new(kind.clone(), key.as_str()));
            let is_asked = ranges.iter().any(|range| range.has(place));
            if !is_sound || !is_asked || listed.insert(key, record).is_some() {
                return Err(self.no_sense("it lists records that it cannot have, or that were not asked for"));
            }
        }
        Ok(listed)
    }

    async fn ask(
        &self,
        epoch: Epoch,
        kinds: Vec<pb::KindClaims>,
        found: &mut ComparedRecords,
    ) -> Result<pb::CompareRangesResponse, Fault> {
        found.questions += 1;
        if found.questions > QUESTIONS_MAX {
            return Err(self.no_sense("its answers never end"));
        }
        let question = pb::CompareRangesRequest { form: FORM, epoch: epoch.0, kinds };
        let answer = self.other.ask(question).await?;
        if answer.epoch != epoch.0 {
            let message = format!("`{}` holds the registry of another epoch", self.other.node_id());
            return Err(Fault::new(reasons::EPOCH_CHANGED, message).hint("ask again in a moment"));
        }
        Ok(answer)
    }

    fn no_sense(&self, why: &str) -> Fault {
        let node_id = self.other.node_id();
        let message = format!("what node `{node_id}` says of its records makes no sense: {}", printable(why));
        Fault::new(reasons::NODE_NOT_ASKED, message).hint("omnirelay mesh check    # which version it is")
    }
}

fn note_differing(
    kind: &RecordKind,
    here: &BTreeMap<String, Record>,
    mut there: BTreeMap<String, pb::StateRecord>,
    found: &mut ComparedRecords,
) {
    for (key, record) in here {
        let (own, other) = (state_record(record), there.remove(key));
        if other.as_ref() != Some(&own) {
            found.note(kind, key, Some(own), other);
        }
    }
    for (key, other) in there {
        found.note(kind, &key, None, Some(other));
    }
}
