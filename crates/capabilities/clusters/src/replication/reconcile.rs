//! Reconciliation, at the side that is asked: claims about ranges are answered, and records of those that differ are sent.

use omnirelay_cluster_records::domain::{Domains, replica};
use omnirelay_core::ranges::{RangePrefix, ShortDigest, check_disjoint, hash_of_digests};
use omnirelay_core::text::{chain, printable};
use omnirelay_nouns::head_cursor;
use omnirelay_nouns::range_questions::{CLAIMS_MAX, answer_claims, check_question, digests, prefix};
use omnirelay_registry::stored_ranges::{KindRanges, StoredRanges};
use omnirelay_registry::view::digest_of;
use omnirelay_store::{Record, RecordKind};
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use omnirelay_wire::reasons;
use tokio::task::yield_now;

use super::records::{DomainScope, told};
use super::source::{KINDS_MAX, ReplicationSource, not_read};
use super::{RANGE_KEY, TRACES_MAX};
use crate::check_domain;

/// How many records an answer has, and how many bytes of keys and values.
const RECORDS_MAX: usize = 2048;
const BYTES_MAX: usize = 2 << 20;

/// Range of which records are wanted.
struct WantedRange {
    kind: RecordKind,
    range: RangePrefix,
    /// Hash of the digests that were told; `None`: none were.
    told: Option<ShortDigest>,
    /// Of the records that are wanted, sorted.
    digests: Vec<ShortDigest>,
}

/// Room for records in one answer.
struct AnswerRoom {
    records: usize,
    bytes: usize,
    /// Whether nothing was put into it yet.
    is_empty: bool,
}

impl AnswerRoom {
    /// Takes room for records, if there is so much: for the first, alone, there always is.
    fn takes(&mut self, records: &[Record]) -> bool {
        let bytes: usize = records.iter().map(|record| record.value.len() + record.id.key.len()).sum();
        let fits =
            records.len() <= self.records && bytes <= self.bytes || self.is_empty && records.len() == 1;
        if fits && !records.is_empty() {
            self.records = self.records.saturating_sub(records.len());
            self.bytes = self.bytes.saturating_sub(bytes);
            self.is_empty = false;
        }
        fits
    }
}

impl ReplicationSource {
    /// Answers a question about the records of a domain.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for more than is asked at once, and what makes no sense; `NOT_ACTIVE` of a domain that nobody knows; those of
    /// a registry that is not loaded, and of its store.
    pub(super) async fn answer(
        &self,
        asked: pb::ReconcileDomainRequest,
    ) -> Result<pb::ReconcileDomainResponse, Fault> {
        check_domain(&asked.domain)?;
        check_question(asked.form, &asked.kinds, KINDS_MAX)?;
        self.registry.ready_for("").await?;
        self.check_whole()?;
        let view = self.registry.view();
        let domains = Domains::of(view);
        let members = match domains.find(&asked.domain) {
            Some(domain) => domain.members(&domains),
            None => return Err(self.not_active(&asked.domain, None)),
        };
        let scope = DomainScope { kinds: self.kinds.clone(), members };
        let wanted = wanted_ranges(&scope, asked.wanted)?;
        let mut answer = pb::ReconcileDomainResponse {
            local_node_id: self.registry.node_id().to_owned(),
            // Before anything is looked at: whatever an answer has is of this commit or a later one.
            cursor: head_cursor(view),
            source_cluster: replica(view, &asked.domain)
                .map(|(_, replica)| replica.source.clone())
                .unwrap_or_default(),
            ..Default::default()
        };
        let named = asked.kinds.iter().filter_map(|claims| scope.kind(&claims.kind));
        let named = named.map(|kind| kind.kind.clone()).chain(wanted.iter().map(|range| range.kind.clone()));
        let ranges = self.registry.ranges_of(named.collect()).await.map_err(not_read)?;
        for claims in asked.kinds {
            answer.kinds.push(answer_kind(&scope, &ranges, claims).await?);
        }
        let mut room = AnswerRoom { records: RECORDS_MAX, bytes: BYTES_MAX, is_empty: true };
        for range in &wanted {
            answer.wanted.push(self.records_of(&scope, (&ranges, range), &mut room).await?);
            yield_now().await;
        }
        answer.deleted = self.deleted(&scope, &asked.traces_kind, &asked.traces_of).await?;
        Ok(answer)
    }

    async fn records_of(
        &self,
        scope: &DomainScope,
        (ranges, wanted): (&KindRanges<'_>, &WantedRange),
        room: &mut AnswerRoom,
    ) -> Result<pb::WantedRecords, Fault> {
        let WantedRange { kind, range, .. } = wanted;
        // More than an answer has are not even looked at.
        if ranges.with(kind, |sums| sums.sum(*range).count()) > RECORDS_MAX as u64 {
            return Ok(pb::WantedRecords { all: true, more: true, records: Vec::new() });
        }
        let (all, mut records) = match ranges.stored(kind) {
            Some(stored) => self.stored_records(stored, wanted).await?,
            None => self.held_records(wanted)?,
        };
        records.retain(|record| scope.has(&record.id, &record.value));
        let more = !room.takes(&records);
        let records = if more { Vec::new() } else { records.iter().map(told).collect() };
        Ok(pb::WantedRecords { all, more, records })
    }

    /// Records of a range that the view has, and whether they are all of it.
    fn held_records(&self, wanted: &WantedRange) -> Result<(bool, Vec<Record>), Fault> {
        let (view, range) = (self.registry.view(), wanted.range);
        let head = view.head();
        let held = view.records_at(&wanted.kind, (head.epoch, head.revision), &[range]);
        let held = held.ok_or_else(|| {
            let message = "what is here cannot be listed at one moment now".to_owned();
            Fault::new(reasons::STORE_UNAVAILABLE, message).hint("ask again in a moment")
        })?;
        let Some(told) = wanted.told else { return Ok((true, held.into_values().collect())) };
        let with_digest = |record: Record| (digest_of(&record).short(), record);
        let mut held: Vec<(ShortDigest, Record)> = held.into_values().map(with_digest).collect();
        held.sort_by_key(|(digest, _)| *digest);
        let all = hash_of_digests(&held.iter().map(|(digest, _)| *digest).collect::<Vec<_>>()) != told;
        held.retain(|(digest, _)| all || wanted.digests.binary_search(digest).is_ok());
        Ok((all, held.into_iter().map(|(_, record)| record).collect()))
    }

    /// Records of a range that no view has, and whether they are all of it.
    async fn stored_records(
        &self,
        stored: &StoredRanges,
        wanted: &WantedRange,
    ) -> Result<(bool, Vec<Record>), Fault> {
        let digests = stored.sums().digests(wanted.range);
        let all = wanted.told != Some(hash_of_digests(&digests));
        let (mut records, mut bytes) = (Vec::new(), 0);
        for (key, digest) in stored.keys(wanted.range) {
            // What is beyond the room of an answer need not be read.
            if bytes > BYTES_MAX && records.len() > 1
                || !all && wanted.digests.binary_search(&digest).is_err()
            {
                continue;
            }
            let record = self.registry.read_one(&wanted.kind, key).await.map_err(not_read)?;
            let is_so = |record: &Record| !record.deleted && (all || digest_of(record).short() == digest);
            if let Some(record) = record.filter(is_so) {
                bytes += record.value.len();
                records.push(record);
            }
        }
        Ok((all, records))
    }

    /// Those of some keys of which the store has the trace of a deleted record.
    async fn deleted(&self, scope: &DomainScope, kind: &str, keys: &[String]) -> Result<Vec<String>, Fault> {
        if kind.is_empty() {
            return Ok(Vec::new());
        }
        if keys.len() > TRACES_MAX {
            let message = format!("field `tracesOf`: {} are more than {TRACES_MAX}", keys.len());
            return Err(Fault::invalid(message));
        }
        let (kind, mut deleted) = (kind_of(scope, kind)?, Vec::new());
        for key in keys {
            let record = self.registry.read_one(kind, key).await.map_err(not_read)?;
            deleted.extend(record.filter(|record| record.deleted).map(|record| record.id.key));
        }
        Ok(deleted)
    }
}

async fn answer_kind(
    scope: &DomainScope,
    ranges: &KindRanges<'_>,
    asked: pb::KindClaims,
) -> Result<pb::ReconciledKind, Fault> {
    let Some(kind) = scope.kind(&asked.kind).map(|kind| &kind.kind) else {
        return Ok(pb::ReconciledKind { kind: asked.kind, ..Default::default() });
    };
    let answers = answer_claims(ranges, kind, RANGE_KEY, asked.claims).await?;
    Ok(pb::ReconciledKind { kind: asked.kind, held: true, answers })
}

/// Ranges of which records are wanted: no two of a kind with something in common.
fn wanted_ranges(scope: &DomainScope, asked: Vec<pb::WantedRange>) -> Result<Vec<WantedRange>, Fault> {
    if asked.len() > CLAIMS_MAX {
        return Err(Fault::invalid(format!("field `wanted`: {} are more than {CLAIMS_MAX}", asked.len())));
    }
    let mut wanted = Vec::new();
    for pb::WantedRange { kind, range, told, digests: wanted_digests } in asked {
        let kind = kind_of(scope, &kind)?.clone();
        let told = digests(&told)?;
        if told.len() > 1 {
            return Err(Fault::invalid("field `wanted`: `told` is one hash".to_owned()));
        }
        let mut digests = digests(&wanted_digests)?;
        digests.sort_unstable();
        wanted.push(WantedRange { kind, range: prefix(range)?, told: told.first().copied(), digests });
    }
    for kind in scope.kinds.iter() {
        let of_kind = wanted.iter().filter(|range| range.kind == kind.kind).map(|range| range.range);
        check_disjoint(of_kind)
            .map_err(|error| Fault::invalid(format!("field `wanted`: {}", chain(&error))))?;
    }
    Ok(wanted)
}

fn kind_of<'s>(scope: &'s DomainScope, name: &str) -> Result<&'s RecordKind, Fault> {
    let kind = scope.kind(name).map(|kind| &kind.kind);
    kind.ok_or_else(|| Fault::invalid(format!("`{}` is no kind that is followed", printable(name))))
}
