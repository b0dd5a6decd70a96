//! Comparison of a domain with another cluster: by sums of ranges first, then by the records of those that differ.

use std::collections::BTreeMap;

use omnirelay_core::ranges::{FAN_OUT, RangePrefix};
use omnirelay_core::time::Millis;
use omnirelay_nouns::range_questions::{CLAIMS_MAX, FORM, KindComparisons, range};
use omnirelay_registry::cursor::Cursor;
use omnirelay_registry::view::{View, place_of};
use omnirelay_store::{Record, RecordId, RecordKind, Version};
use omnirelay_wire::fault::unanswered;
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use prost::Message as _;

use super::RANGE_KEY;
use super::records::{DomainScope, is_same};
use super::replica::{FollowError, cursor, no_sense};
use super::ways::{SourceClient, SourceWays, client, endpoints};

/// How many questions are asked at most: as many find ten million records that differ.
const QUESTIONS_MAX: u32 = 10_000;
/// How many ranges are listed at once.
const LISTED_AT_ONCE: usize = CLAIMS_MAX;

/// Comparison of what a view has of a domain with what another cluster has.
pub(super) struct DomainComparison<'a> {
    view: &'a View,
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
    /// When the one that is here was written, and its version; `None`: there is none. All of a domain is dated by the clock of its
    /// active cluster.
    pub here: Option<(Millis, Version)>,
}

impl OtherRecord {
    /// Whether the one that is here was written after the other one.
    pub(super) fn is_newer_here(&self) -> bool {
        self.here.is_some_and(|(here, _)| here.0 > self.there.updated_ms)
    }

    /// Whether the one that is there was written after the one that is here, and after all that was known up to `known`.
    pub(super) fn is_newer_there(&self, known: Millis) -> bool {
        let there = Millis(self.there.updated_ms);
        self.here.is_some_and(|(here, _)| there > known && there > here)
    }
}

/// Difference of some ranges.
#[derive(Debug, Default)]
pub(super) struct RangeDifference {
    pub others: Vec<OtherRecord>,
    /// Records that this cluster alone has.
    pub only_here: Vec<RecordId>,
    /// The cluster that the other one follows; empty: it is active there.
    pub source_cluster: String,
}

impl RangeDifference {
    /// Bytes in memory of what differs, about.
    pub(super) fn bytes(&self) -> usize {
        let other =
            |other: &OtherRecord| size_of::<OtherRecord>() + other.there.key.len() + other.there.value.len();
        let only_here = |id: &RecordId| size_of::<RecordId>() + id.key.len();
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
        view: &'a View,
        of: (&'a str, &'a DomainScope),
    ) -> Result<(DomainComparison<'a>, DifferingRanges), FollowError> {
        let mut failed = FollowError::Source("nobody has said where it is".to_owned());
        for endpoint in endpoints(view, self.name) {
            let client = match client(self.ways, (self.name, &endpoint), false) {
                Ok(client) => client,
                Err(error) => {
                    failed = FollowError::Source(error);
                    continue;
                }
            };
            let mut comparison = DomainComparison::new(view, client, of, None);
            match comparison.differing().await {
                Ok(ranges) => return Ok((comparison, ranges)),
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }
}

/// Ranges in which something differs, by the kinds of the records.
pub(super) type DifferingRanges = BTreeMap<RecordKind, Vec<RangePrefix>>;

impl<'a> DomainComparison<'a> {
    /// Of a domain with the cluster of a client; each answer must have seen `since`.
    pub(super) fn new(
        view: &'a View,
        client: SourceClient,
        (domain, scope): (&'a str, &'a DomainScope),
        since: Option<Cursor>,
    ) -> Self {
        Self { view, client, domain, scope, since, latest: since.unwrap_or_default(), questions: 0, bytes: 0 }
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
        let compared = self.view.compared_kinds();
        let kinds =
            self.scope.kinds.iter().map(|kind| kind.kind.clone()).filter(|kind| compared.contains(kind));
        let mut comparisons = KindComparisons::begin(self.view, kinds, RANGE_KEY);
        loop {
            let asked = comparisons.next_question();
            if asked.is_empty() {
                break;
            }
            let told = self.ask(asked).await?.kinds;
            let told = told.into_iter().map(|kind| (kind.kind, kind.held, kind.answers)).collect();
            comparisons.take_in(told).map_err(|why| no_sense(&why))?;
        }
        Ok(comparisons.into_found().1)
    }

    /// Fetches the records of the next of some ranges, and takes those off; what differs now. `None`: no range is left.
    ///
    /// # Errors
    /// [`FollowError`].
    pub(super) async fn next(
        &mut self,
        differing: &mut DifferingRanges,
    ) -> Result<Option<RangeDifference>, FollowError> {
        differing.retain(|_, ranges| !ranges.is_empty());
        let Some(mut entry) = differing.first_entry() else { return Ok(None) };
        let kind = entry.key().clone();
        self.next_of(&kind, entry.get_mut()).await.map(Some)
    }

    async fn next_of(
        &mut self,
        kind: &RecordKind,
        ranges: &mut Vec<RangePrefix>,
    ) -> Result<RangeDifference, FollowError> {
        let mut some = ranges.split_off(ranges.len().saturating_sub(LISTED_AT_ONCE));
        loop {
            let listed = some.iter().copied().map(range).collect();
            let asked = vec![pb::KindClaims { kind: kind.0.to_string(), listed, ..Default::default() }];
            let mut told = self.ask(asked).await?;
            let source_cluster = std::mem::take(&mut told.source_cluster);
            let told = told.kinds.pop().filter(|told| told.kind == *kind.0 && told.held);
            let told = told.ok_or_else(|| no_sense("it answers about other kinds than was asked"))?;
            if told.more && some.len() > 1 {
                ranges.extend(some.split_off(some.len() / 2));
                continue;
            }
            if let Some(range) = some.first().filter(|_| told.more) {
                let parts: Vec<RangePrefix> = (0..FAN_OUT).filter_map(|digit| range.child(digit)).collect();
                ranges.extend(&parts);
                return match parts.is_empty() {
                    true => Err(no_sense("the records of one hash do not go into an answer")),
                    false => Ok(RangeDifference { source_cluster, ..RangeDifference::default() }),
                };
            }
            let difference = self.difference(kind, &some, told.records)?;
            return Ok(RangeDifference { source_cluster, ..difference });
        }
    }

    /// Lists the next records of a kind that is not held in memory, without their values, and how far those are; `None`: there are no
    /// more.
    ///
    /// # Errors
    /// [`FollowError`].
    pub(super) async fn next_stored(
        &mut self,
        kind: &RecordKind,
        after: &str,
    ) -> Result<(Vec<pb::DomainRecord>, Option<String>), FollowError> {
        let question = pb::ReconcileDomainRequest {
            domain: self.domain.to_owned(),
            form: FORM,
            stored_kind: kind.0.to_string(),
            after: after.to_owned(),
            ..Default::default()
        };
        let told = self.asked(question).await?;
        let is_sound = told.stored.iter().all(|sent| sent.kind == *kind.0 && *sent.key > *after);
        if !is_sound || !told.stored_until.is_empty() && *told.stored_until <= *after {
            return Err(no_sense("it lists records that were not asked for"));
        }
        Ok((told.stored, Some(told.stored_until).filter(|until| !until.is_empty())))
    }

    /// Fetches records of a kind that is not held in memory, by their keys, [`STORED_KEYS_MAX`] at most; those, and how many of the keys
    /// they are the answer to.
    ///
    /// # Errors
    /// [`FollowError`].
    pub(super) async fn stored(
        &mut self,
        kind: &RecordKind,
        keys: &[String],
    ) -> Result<(Vec<pb::DomainRecord>, usize), FollowError> {
        let question = pb::ReconcileDomainRequest {
            domain: self.domain.to_owned(),
            form: FORM,
            stored_kind: kind.0.to_string(),
            stored_keys: keys.to_vec(),
            ..Default::default()
        };
        let told = self.asked(question).await?;
        let is_sound = told.stored.iter().all(|sent| sent.kind == *kind.0 && keys.contains(&sent.key));
        let until = match told.stored_until.as_str() {
            "" => Some(keys.len()),
            until => keys.iter().position(|key| key == until).map(|place| place + 1),
        };
        match until.filter(|_| is_sound) {
            Some(until) => Ok((told.stored, until)),
            None => Err(no_sense("it lists records that were not asked for")),
        }
    }

    fn difference(
        &self,
        kind: &RecordKind,
        ranges: &[RangePrefix],
        told: Vec<pb::DomainRecord>,
    ) -> Result<RangeDifference, FollowError> {
        let head = self.view.head();
        let held = self.view.records_at(kind, (head.epoch, head.revision), ranges);
        let held = held.ok_or_else(|| FollowError::Source("what is here changes too fast".to_owned()))?;
        let of_domain = |record: &Record| self.scope.has(&record.id, &record.value);
        let mut held: BTreeMap<String, Record> =
            held.into_iter().filter(|(_, record)| of_domain(record)).collect();
        let mut difference = RangeDifference::default();
        for sent in told {
            let place = place_of(&RecordId::new(kind.clone(), sent.key.as_str()));
            if sent.kind != *kind.0 || !ranges.iter().any(|range| range.has(place)) {
                return Err(no_sense("it lists records that were not asked for"));
            }
            let here = held.remove(&sent.key);
            if here.as_ref().is_some_and(|here| is_same(here, &sent)) {
                continue;
            }
            let here = here.map(|here| (here.updated_at, here.version));
            difference.others.push(OtherRecord { there: sent, here });
        }
        difference.only_here = held.into_values().map(|record| record.id).collect();
        Ok(difference)
    }

    async fn ask(&mut self, kinds: Vec<pb::KindClaims>) -> Result<pb::ReconcileDomainResponse, FollowError> {
        let domain = self.domain.to_owned();
        self.asked(pb::ReconcileDomainRequest { domain, form: FORM, kinds, ..Default::default() }).await
    }

    async fn asked(
        &mut self,
        question: pb::ReconcileDomainRequest,
    ) -> Result<pb::ReconcileDomainResponse, FollowError> {
        self.questions += 1;
        if self.questions > QUESTIONS_MAX {
            return Err(no_sense("its answers never end"));
        }
        let asked = question.encoded_len();
        let answer = self.client.reconcile(question).await;
        let answer = answer.map_err(|status| FollowError::Source(unanswered(&status)))?.into_inner();
        let listed = answer.kinds.iter().flat_map(|kind| &kind.records).chain(&answer.stored);
        let values: usize = listed.map(|record| record.value.len()).sum();
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
