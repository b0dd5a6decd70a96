//! Signed records, against what the trail says was written of them: whoever can sign, and writes to the store alone, leaves no
//! audit record.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use omnirelay_decisions::audit_seal::check::{SealFinding, Wrong};
use omnirelay_registry::view::View;
use omnirelay_store::{Record, RecordId, RecordKind, Store, StoreError};
use omnirelay_wire::pb::omnirelay::store::v1::{AuditValue, WrittenRecord};
use ring::digest::{SHA256, digest};

use crate::trail_records::stretch;

/// How many signed records are remembered of the trail. Beyond that nothing is said of those that it does not name.
const NAMED_MAX: usize = 65_536;
/// Of how many nodes the oldest audit record is remembered.
const NODES_MAX: usize = 4096;
/// How long after the time in its key an audit record is committed, in milliseconds.
const COMMITTED_WITHIN_MS: u64 = 60_000;
/// How many records are read at a time.
const PAGE: usize = 512;

/// Latest mention of a record in the trail.
struct LatestMention {
    /// The id of the audit record.
    audit: String,
    revision: u64,
    sha256: Vec<u8>,
}

/// Signed records as the trail says that they were written.
#[derive(Default)]
pub struct WrittenRecords {
    /// By `KIND/KEY`.
    named: BTreeMap<String, LatestMention>,
    /// The revision of the oldest audit record of each node that was looked at.
    oldest: BTreeMap<String, u64>,
    has_more: bool,
}

/// Up to where the store and the trail were read.
#[derive(Clone, Copy, Debug)]
pub struct ReadPosition<'a> {
    /// The store, before the trail.
    pub head: u64,
    /// Records from before this are not asked for, in milliseconds since the Unix epoch; 0: all are.
    pub since_ms: u64,
    /// The nodes that have removed what was old of their records.
    pub pruned: &'a BTreeSet<String>,
}

/// Number of signed records that were compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SignedRecordTally {
    /// Those that stand in the store as the trail says.
    pub as_written: u64,
    /// Those that were written before the oldest audit record.
    pub of_before: u64,
}

/// Judgement of a signed record by what the trail says of it.
enum RecordJudgement {
    AsWritten,
    /// The trail says nothing of the time when it was written.
    OfBefore,
    Wrong(SealFinding),
}

impl WrittenRecords {
    /// Takes in an audit record and what it says.
    pub fn take(&mut self, audit: &Record, says: &AuditValue) {
        let (revision, node_id) = (audit.revision.0, &says.node_id);
        match self.oldest.get(node_id).copied() {
            None if self.oldest.len() >= NODES_MAX => self.has_more = true,
            oldest => {
                let oldest = oldest.map_or(revision, |oldest| oldest.min(revision));
                self.oldest.insert(node_id.clone(), oldest);
            }
        }
        for WrittenRecord { record, sha256, .. } in &says.written {
            let is_newer = self.named.get(record).map(|known| known.revision < revision);
            match is_newer {
                Some(false) => {}
                None if self.named.len() >= NAMED_MAX => self.has_more = true,
                Some(true) | None => {
                    let named =
                        LatestMention { audit: audit.id.key.clone(), revision, sha256: sha256.clone() };
                    self.named.insert(record.clone(), named);
                }
            }
        }
    }

    /// Compares the signed records in the store with it, but for those that were written since the trail was read: `found` is told
    /// what is wrong.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn compare(
        mut self,
        store: &dyn Store,
        view: &View,
        up_to: ReadPosition<'_>,
        mut found: impl FnMut(SealFinding),
    ) -> Result<SignedRecordTally, StoreError> {
        let mut tally = SignedRecordTally::default();
        if !view.demands_signatures() {
            return Ok(tally);
        }
        let of_before = self.of_before(&up_to);
        for kind in view.signed_kinds() {
            let mut after = None;
            loop {
                let page = stretch(store, kind.clone(), after.take(), PAGE).await?;
                let there =
                    page.records.iter().filter(|record| !record.deleted && view.is_signed(&record.id));
                for record in there {
                    let named = self.named.remove(&record.id.to_string());
                    if record.revision.0 > page.head {
                        let what = "its revision is behind the newest of the store: no commit has written it";
                        found(finding(record, "", what));
                        continue;
                    }
                    if record.revision.0 > up_to.head {
                        continue;
                    }
                    match self.judge(record, named, of_before) {
                        RecordJudgement::AsWritten => tally.as_written += 1,
                        RecordJudgement::OfBefore => tally.of_before += 1,
                        RecordJudgement::Wrong(finding) => found(finding),
                    }
                }
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
        }
        self.named.iter().filter_map(|(name, named)| gone(view, name, named)).for_each(found);
        Ok(tally)
    }

    /// Before which revision and instant the trail says nothing, in milliseconds since the Unix epoch: it begins there, or a node has
    /// removed what it said of them.
    fn of_before(&self, up_to: &ReadPosition<'_>) -> (u64, u64) {
        let begins = self.oldest.values().min().copied().unwrap_or(u64::MAX);
        let pruned = up_to.pruned.iter().filter_map(|node| self.oldest.get(node)).max();
        let asked = if up_to.since_ms == 0 { 0 } else { up_to.since_ms.saturating_add(COMMITTED_WITHIN_MS) };
        (begins.max(pruned.copied().unwrap_or(0)), asked)
    }

    /// Judges a record as it stands in the store.
    fn judge(
        &self,
        record: &Record,
        named: Option<LatestMention>,
        (revision_of_before, of_before): (u64, u64),
    ) -> RecordJudgement {
        let revision = record.revision.0;
        let Some(named) = named else {
            let is_of_before = revision < revision_of_before || record.updated_at.0 < of_before;
            return match is_of_before || self.has_more {
                true => RecordJudgement::OfBefore,
                false => {
                    RecordJudgement::Wrong(finding(record, "", "no audit record says that it was written"))
                }
            };
        };
        // A record that was put back of a snapshot has the revision that it had.
        if digest(&SHA256, &record.value).as_ref() == named.sha256 {
            return RecordJudgement::AsWritten;
        }
        let what = match named.revision.cmp(&revision) {
            Ordering::Equal => "it is not what its commit has written",
            Ordering::Less => "it was written again after that, and no audit record says so",
            Ordering::Greater => "it is older than that: somebody has put it back",
        };
        RecordJudgement::Wrong(finding(record, &named.audit, what))
    }
}

/// What is wrong with a record that is gone from the store although it counts.
fn gone(view: &View, name: &str, named: &LatestMention) -> Option<SealFinding> {
    let (kind, key) = name.split_once('/')?;
    let kind = view.signed_kinds().into_iter().find(|signed: &RecordKind| *signed.0 == *kind)?;
    let id = RecordId::new(kind, key);
    // What has ended goes without a note, and is known no more.
    view.get(&id).is_some().then(|| SealFinding {
        wrong: Wrong::Unwritten.into(),
        record_id: named.audit.clone(),
        object: name.to_owned(),
        what: "it is gone from the store, and no audit record says so".to_owned(),
        ..SealFinding::default()
    })
}

fn finding(record: &Record, audit: &str, what: &str) -> SealFinding {
    let by = format!("{what}; revision {} of the store, by {}", record.revision.0, record.writer);
    SealFinding {
        wrong: Wrong::Unwritten.into(),
        node_id: record.writer.to_string(),
        record_id: audit.to_owned(),
        object: record.id.to_string(),
        what: by,
        ..SealFinding::default()
    }
}

#[cfg(test)]
mod tests {
    use omnirelay_core::time::Millis;
    use omnirelay_store::{Revision, Version};

    use super::*;

    fn record(kind: RecordKind, revision: u64, at: u64) -> Record {
        Record {
            id: RecordId::new(kind, "k"),
            value: bytes::Bytes::new(),
            version: Version(1),
            revision: Revision(revision),
            group: None,
            created_at: Millis(at),
            updated_at: Millis(at),
            writer: "a".into(),
            deleted: false,
        }
    }

    /// What a node has removed of its trail may have told of what others still stand beside.
    #[test]
    fn what_a_pruned_trail_may_have_told_of_is_no_finding() {
        const TRAIL: RecordKind = RecordKind::of("audit");
        const SIGNED: RecordKind = RecordKind::of("binding");
        let mut written = WrittenRecords::default();
        for (node, revision) in [("quiet", 100), ("issuer", 5_000), ("issuer", 6_000)] {
            let says = AuditValue { node_id: node.to_owned(), ..AuditValue::default() };
            written.take(&record(TRAIL.clone(), revision, 0), &says);
        }
        let (nobody, issuer) = (BTreeSet::new(), BTreeSet::from(["issuer".to_owned()]));
        let is_finding = |revision: u64, at: u64, pruned: &BTreeSet<String>, since_ms: u64| {
            let before = written.of_before(&ReadPosition { head: 9_000, since_ms, pruned });
            let judged = written.judge(&record(SIGNED.clone(), revision, at), None, before);
            matches!(judged, RecordJudgement::Wrong(_))
        };
        assert!(!is_finding(99, 0, &nobody, 0), "before all of the trail");
        assert!(is_finding(100, 0, &nobody, 0));
        assert!(!is_finding(4_999, 0, &issuer, 0), "its audit record may have been removed");
        assert!(is_finding(5_000, 0, &issuer, 0));
        assert!(!is_finding(5_000, 69_999, &issuer, 10_000), "asked from 10 s on, and committed slowly");
        assert!(is_finding(5_000, 70_000, &issuer, 10_000));
    }
}
