//! Comparison of a domain with another cluster: by sums of ranges first, then by the records of those that differ.

use std::collections::BTreeMap;

use omnirelay_core::ranges::{DifferingRange, FAN_OUT, RangePrefix, ShortDigest, hash_of_digests};
use omnirelay_core::time::Millis;
use omnirelay_nouns::range_questions::{CLAIMS_MAX, FORM, KindComparisons, range};
use omnirelay_registry::Registry;
use omnirelay_registry::cursor::Cursor;
use omnirelay_registry::stored_ranges::KindRanges;
use omnirelay_registry::view::{digest_of, place_of};
use omnirelay_store::{Record, RecordId, RecordKind, StoreError};
use omnirelay_wire::fault::unanswered;
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use prost::Message as _;

use super::planted::{PlantedFault, is_planted};
use super::records::{DomainScope, is_same, record_of};
use super::replica::{FollowError, cursor, no_sense};
use super::ways::{SourceClient, SourceWays, client, endpoints};
use super::{RANGE_KEY, TRACES_MAX};

/// How many questions are asked at most: as many find ten million records that differ.
const QUESTIONS_MAX: u32 = 10_000;
/// Of how many ranges records are wanted at once.
const WANTED_AT_ONCE: usize = CLAIMS_MAX;

/// Comparison of what a registry has of a domain with what another cluster has.
pub(super) struct DomainComparison<'a> {
    registry: &'a Registry,
    ranges: KindRanges<'a>,
    client: SourceClient,
    domain: &'a str,
    scope: &'a DomainScope,
    /// Commit of the other cluster that each of its answers must have seen; `None`: the first one says of which epoch they are.
    since: Option<Cursor>,
    latest: Cursor,
    questions: u32,
    /// Bytes of questions and answers besides the values of records.
    bytes: usize,
}

/// Record that the other cluster has, and this one has not, or has otherwise.
#[derive(Debug)]
pub(super) struct OtherRecord {
    pub there: pb::DomainRecord,
    /// The one that is here; `None`: there is none. All of a domain is dated by the clock of its active cluster.
    pub here: Option<Record>,
}

impl OtherRecord {
    /// Whether the one that is here was written after the other one.
    pub(super) fn is_newer_here(&self) -> bool {
        self.here.as_ref().is_some_and(|here| here.updated_at.0 > self.there.updated_ms)
    }

    /// Whether the one that is there was written after the one that is here, and after all that was known up to `known`.
    pub(super) fn is_newer_there(&self, known: Millis) -> bool {
        let there = Millis(self.there.updated_ms);
        self.here.as_ref().is_some_and(|here| there > known && there > here.updated_at)
    }
}

/// Difference of some ranges.
#[derive(Debug, Default)]
pub(super) struct RangeDifference {
    pub others: Vec<OtherRecord>,
    /// Records that this cluster alone has.
    pub only_here: Vec<Record>,
    /// The cluster that the other one follows; empty: it is active there.
    pub source_cluster: String,
}

impl RangeDifference {
    /// Bytes in memory of what differs, about; the values that are here are those of the view.
    pub(super) fn bytes(&self) -> usize {
        let other =
            |other: &OtherRecord| size_of::<OtherRecord>() + other.there.key.len() + other.there.value.len();
        let only_here = |record: &Record| size_of::<Record>() + record.id.key.len();
        self.others.iter().map(other).chain(self.only_here.iter().map(only_here)).sum()
    }
}

/// Cluster that is asked, and the ways to it.
pub(super) struct AskedCluster<'a> {
    pub ways: &'a dyn SourceWays,
    pub name: &'a str,
}

impl AskedCluster<'_> {
    /// Begins a comparison of a domain with whichever node answers first, and finds the ranges that differ.
    ///
    /// # Errors
    /// [`FollowError`], of the node that was asked last.
    pub(super) async fn compare<'a>(
        &self,
        registry: &'a Registry,
        of: (&'a str, &'a DomainScope),
    ) -> Result<(DomainComparison<'a>, DifferingRanges), FollowError> {
        let mut failed = FollowError::Source("nobody has said where it is".to_owned());
        for endpoint in endpoints(registry.view(), self.name) {
            let client = match client(self.ways, (self.name, &endpoint), false) {
                Ok(client) => client,
                Err(error) => {
                    failed = FollowError::Source(error);
                    continue;
                }
            };
            let mut comparison = DomainComparison::begin(registry, client, of, None).await?;
            match comparison.differing().await {
                Ok(ranges) => return Ok((comparison, ranges)),
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }
}

/// Ranges in which something differs, with the kinds of their records.
#[derive(Clone, Debug, Default)]
pub(super) struct DifferingRanges(Vec<(RecordKind, DifferingRange)>);

impl<'a> DomainComparison<'a> {
    /// Begins to compare a domain with the cluster of a client; each answer must have seen `since`.
    ///
    /// # Errors
    /// [`FollowError::Commit`] where the store cannot be read.
    pub(super) async fn begin(
        registry: &'a Registry,
        client: SourceClient,
        (domain, scope): (&'a str, &'a DomainScope),
        since: Option<Cursor>,
    ) -> Result<Self, FollowError> {
        let kinds = scope.kinds.iter().map(|kind| kind.kind.clone()).collect();
        let ranges = registry.ranges_of(kinds).await.map_err(not_read)?;
        let latest = since.unwrap_or_default();
        Ok(Self { registry, ranges, client, domain, scope, since, latest, questions: 0, bytes: 0 })
    }

    /// Whether the records of a kind are read from the store, and are in no view.
    pub(super) fn is_stored(&self, kind: &RecordKind) -> bool {
        self.ranges.stored(kind).is_some()
    }

    /// The latest commit at which the other cluster has answered.
    pub(super) fn latest(&self) -> Cursor {
        self.latest
    }

    /// Number of questions that it was asked.
    pub(super) fn questions(&self) -> u32 {
        self.questions
    }

    /// Bytes of questions and answers, but for the values of records.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Finds the ranges that differ.
    ///
    /// # Errors
    /// [`FollowError`].
    pub(super) async fn differing(&mut self) -> Result<DifferingRanges, FollowError> {
        let kinds: Vec<RecordKind> = self.scope.kinds.iter().map(|kind| kind.kind.clone()).collect();
        let ranges = self.ranges.clone();
        let mut comparisons = KindComparisons::begin(&ranges, kinds, RANGE_KEY);
        loop {
            let kinds = comparisons.next_question();
            if kinds.is_empty() {
                break;
            }
            let told = self.ask(pb::ReconcileDomainRequest { kinds, ..Default::default() }).await?.kinds;
            let told = told.into_iter().map(|kind| (kind.kind, kind.held, kind.answers)).collect();
            comparisons.take_in(told).map_err(|why| no_sense(&why))?;
        }
        let found = comparisons.into_found().1.into_iter();
        let of_kind = |(kind, ranges): (RecordKind, Vec<DifferingRange>)| {
            ranges.into_iter().map(move |range| (kind.clone(), range))
        };
        Ok(DifferingRanges(found.flat_map(of_kind).collect()))
    }

    /// Fetches the records by which the next of some ranges differ, and takes those off; what differs now. `None`: no range is left.
    ///
    /// # Errors
    /// [`FollowError`].
    pub(super) async fn next(
        &mut self,
        DifferingRanges(left): &mut DifferingRanges,
    ) -> Result<Option<RangeDifference>, FollowError> {
        let some = left.split_off(left.len().saturating_sub(WANTED_AT_ONCE));
        if some.is_empty() {
            return Ok(None);
        }
        let mut wanted = Vec::with_capacity(some.len());
        for (kind, differing) in &some {
            wanted.push(self.wanted(kind, differing).await?);
        }
        let told = self.ask(pb::ReconcileDomainRequest { wanted, ..Default::default() }).await?;
        if told.wanted.len() != some.len() {
            return Err(no_sense("it answers about other ranges than was asked"));
        }
        let mut found = RangeDifference { source_cluster: told.source_cluster, ..RangeDifference::default() };
        for (number, ((kind, differing), told)) in some.into_iter().zip(told.wanted).enumerate() {
            let again = match told {
                pb::WantedRecords { more: true, .. } if number == 0 => {
                    left.extend(parts(differing.range)?.into_iter().map(|part| (kind.clone(), part)));
                    continue;
                }
                pb::WantedRecords { more: true, .. } => Some(differing),
                told => self.take_in(&kind, differing, told, &mut found).await?,
            };
            left.extend(again.map(|again| (kind, again)));
        }
        Ok(Some(found))
    }

    /// Question for what differs in a range: for records by their digests, where it is known which the other cluster has.
    async fn wanted(
        &self,
        kind: &RecordKind,
        differing: &DifferingRange,
    ) -> Result<pb::WantedRange, FollowError> {
        let mut wanted = pb::WantedRange {
            kind: kind.0.to_string(),
            range: Some(range(differing.range)),
            ..Default::default()
        };
        if let Some(told) = &differing.told {
            let own = self.ranges.with(kind, |sums| sums.digests(differing.range));
            let is_wanted = |digest: &&ShortDigest| own.binary_search(digest).is_err();
            wanted.told = hash_of_digests(told).to_vec();
            wanted.digests = told.iter().filter(is_wanted).flatten().copied().collect();
        }
        Ok(wanted)
    }

    /// Takes in the records of a range; gives it back where it is not known any more what the other cluster has in it.
    async fn take_in(
        &self,
        kind: &RecordKind,
        differing: DifferingRange,
        told: pb::WantedRecords,
        found: &mut RangeDifference,
    ) -> Result<Option<DifferingRange>, FollowError> {
        if is_planted(PlantedFault::LeavesHistories) && self.is_stored(kind) {
            return Ok(None);
        }
        let range = differing.range;
        let mut held = self.held(kind, range).await?;
        let theirs = differing.told.filter(|_| !told.all);
        // What is here as it is there.
        let own: Vec<ShortDigest> = held.values().map(|record| digest_of(record).short()).collect();
        let (mut others, mut sent_digests) = (Vec::new(), Vec::new());
        for sent in told.records {
            let place = place_of(&RecordId::new(kind.clone(), sent.key.as_str()));
            if sent.kind != *kind.0 || sent.deleted || !range.has(place) {
                return Err(no_sense("it lists records that were not asked for"));
            }
            if let Some(theirs) = &theirs {
                let digest = record_of(self.scope, sent.clone()).map(|record| digest_of(&record).short());
                let digest = digest.filter(|digest| theirs.binary_search(digest).is_ok());
                sent_digests
                    .push(digest.ok_or_else(|| no_sense("it lists records that were not asked for"))?);
            }
            let here = held.remove(&sent.key);
            if !here.as_ref().is_some_and(|here| is_same(here, &sent)) {
                others.push(OtherRecord { there: sent, here });
            }
        }
        if let Some(theirs) = &theirs {
            let is_known = |digest| own.contains(digest) || sent_digests.contains(digest);
            if !theirs.iter().all(is_known) {
                return Ok(Some(DifferingRange { range, told: None }));
            }
            held.retain(|_, record| theirs.binary_search(&digest_of(record).short()).is_err());
        }
        held.retain(|_, record| self.scope.has(&record.id, &record.value));
        found.others.extend(others);
        found.only_here.extend(held.into_values());
        Ok(None)
    }

    /// Records of a range that are here, by their keys, those of other domains included.
    async fn held(
        &self,
        kind: &RecordKind,
        range: RangePrefix,
    ) -> Result<BTreeMap<String, Record>, FollowError> {
        let Some(stored) = self.ranges.stored(kind) else {
            let view = self.registry.view();
            let head = view.head();
            let held = view.records_at(kind, (head.epoch, head.revision), &[range]);
            return held.ok_or_else(|| FollowError::Source("what is here changes too fast".to_owned()));
        };
        let mut held = BTreeMap::new();
        for (key, _) in stored.keys(range) {
            let record = self.registry.read_one(kind, key).await.map_err(not_read)?;
            held.extend(record.filter(|record| !record.deleted).map(|record| (key.to_owned(), record)));
        }
        Ok(held)
    }

    /// Those of some records of a kind that are in no view which the other cluster has deleted, as traces in its store say.
    ///
    /// # Errors
    /// [`FollowError`].
    pub(super) async fn deleted(
        &mut self,
        kind: &RecordKind,
        keys: &[String],
    ) -> Result<Vec<RecordId>, FollowError> {
        let mut deleted = Vec::new();
        for keys in keys.chunks(TRACES_MAX) {
            let (traces_kind, traces_of) = (kind.0.to_string(), keys.to_vec());
            let question = pb::ReconcileDomainRequest { traces_kind, traces_of, ..Default::default() };
            let told = self.ask(question).await?.deleted;
            if !told.iter().all(|key| keys.contains(key)) {
                return Err(no_sense("it tells of records that were not asked for"));
            }
            deleted.extend(told.into_iter().map(|key| RecordId::new(kind.clone(), key)));
        }
        Ok(deleted)
    }

    async fn ask(
        &mut self,
        question: pb::ReconcileDomainRequest,
    ) -> Result<pb::ReconcileDomainResponse, FollowError> {
        let question = pb::ReconcileDomainRequest { domain: self.domain.to_owned(), form: FORM, ..question };
        self.questions += 1;
        if self.questions > QUESTIONS_MAX {
            return Err(no_sense("its answers never end"));
        }
        let asked = question.encoded_len();
        let answer = self.client.reconcile(question).await;
        let answer = answer.map_err(|status| FollowError::Source(unanswered(&status)))?.into_inner();
        let sent = answer.wanted.iter().flat_map(|wanted| &wanted.records);
        let values: usize = sent.map(|record| record.value.len()).sum();
        self.bytes += asked + answer.encoded_len().saturating_sub(values);
        let at = cursor(&answer.cursor)?;
        let since = *self.since.get_or_insert(at);
        if at.epoch != since.epoch || at.revision < since.revision {
            let why = format!(
                "it has answered at {at}, and is to have seen {since}: it has begun anew, or is behind"
            );
            return Err(FollowError::Source(why));
        }
        if at.revision > self.latest.revision {
            self.latest = at;
        }
        Ok(answer)
    }
}

/// The ranges that a range splits into.
fn parts(range: RangePrefix) -> Result<Vec<DifferingRange>, FollowError> {
    let parts = (0..FAN_OUT).filter_map(|digit| range.child(digit));
    let parts: Vec<_> = parts.map(|range| DifferingRange { range, told: None }).collect();
    match parts.is_empty() {
        true => Err(no_sense("the records of one hash do not go into an answer")),
        false => Ok(parts),
    }
}

fn not_read(error: StoreError) -> FollowError {
    FollowError::Commit(error.into())
}
