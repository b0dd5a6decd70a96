//! Checks records against the seals that cover them.

use std::collections::BTreeMap;

use omnirelay_wire::pb::omnirelay::store::v1::{AuditLeaf, AuditSeal};

use super::check::{ChainCheck, SealFinding, Wrong, seal_name};
use super::{ChainId, Digest256, StoredRecord, leaf_hash};

/// The most findings that are told.
pub const FINDINGS_MAX: usize = 100;
/// The most nodes of which the first finding is kept, whatever was found of others.
const FIRST_FINDINGS_MAX: usize = 4096;

/// A sealed record that has not been looked at yet.
#[derive(Clone, Debug)]
pub struct ExpectedRecord {
    pub hash: Digest256,
    pub chain: ChainId,
    pub sequence: u64,
    /// True: it was old enough to be removed, and may be gone.
    pub pruned: bool,
    /// True: its node found it when it was set up anew.
    pub of_before: bool,
}

/// Sealed records by their keys.
pub type SealedRecords = BTreeMap<String, ExpectedRecord>;

/// Reach of a node's seals: which of its records they cover.
///
/// Revisions may repeat where an epoch begins, for the store may have lost commits. So a seal of an epoch before says nothing of
/// what was written since, whatever its revision is. The greatest reach is that of the newest epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct SealReach {
    epoch: u64,
    through: u64,
    sealed_at_ms: u64,
}

impl SealReach {
    /// Reach of the newest seal of a chain.
    pub fn of(seal: &AuditSeal) -> Self {
        Self { epoch: seal.epoch, through: seal.through, sealed_at_ms: seal.sealed_at_ms }
    }

    /// The epoch in which the newest seal was made; 0: there is none.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Whether a record was written before the newest seal, in a trail that has come to this epoch; its time of creation is in
    /// milliseconds of store time.
    pub fn covers(&self, revision: u64, created_at_ms: u64, epoch: u64) -> bool {
        revision <= self.through && (self.epoch == epoch || created_at_ms <= self.sealed_at_ms)
    }
}

/// Tally of the audit records of a node, by their seals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeSealTally {
    /// Records that are as they were sealed.
    pub sealed: u64,
    /// Those of them that the node had left unsealed when it was set up anew.
    pub of_before: u64,
    /// Records that no seal covers yet.
    pub unsealed: u64,
    /// Records that should be covered, whether a seal names them or not.
    pub covered: u64,
    /// The greatest revision that a seal of the node covers, of whatever epoch.
    pub through: u64,
    /// What the seals of the node cover.
    pub reach: SealReach,
}

impl NodeSealTally {
    /// Takes what a chain of the node covers.
    pub fn close(&mut self, check: &ChainCheck) {
        self.through = self.through.max(check.through());
        self.reach = self.reach.max(check.reach());
    }

    /// Counts a record that is as it was sealed.
    pub fn found(&mut self, expected: &ExpectedRecord) {
        self.sealed += 1;
        self.of_before += u64::from(expected.of_before);
    }
}

/// Puts the leaves of a seal among those that are expected.
pub fn expect(
    check: &ChainCheck,
    seal: &AuditSeal,
    leaves: &mut SealedRecords,
    found: &mut Vec<SealFinding>,
) {
    if check.is_asked_for(seal) {
        found.extend(told_by(check, seal));
    }
    for leaf in &seal.leaves {
        let Some(hash) = digest(leaf) else {
            let what = format!("the hash of record `{}` in it is none", leaf.key);
            found.push(check.finding(Wrong::Changed, seal.sequence, what));
            continue;
        };
        let expected = ExpectedRecord {
            hash,
            chain: check.chain().clone(),
            sequence: seal.sequence,
            pruned: check.is_pruned(seal.sequence),
            of_before: leaf.of_before,
        };
        if let Some(other) = leaves.insert(leaf.key.clone(), expected) {
            let what = format!("record `{}` is sealed twice, by {} too", leaf.key, seal_of(&other));
            found.push(check.finding(Wrong::Changed, seal.sequence, what));
        }
    }
}

/// What a node has found itself and sealed: the seal alone tells of it, whatever is in the store.
fn told_by(check: &ChainCheck, seal: &AuditSeal) -> impl Iterator<Item = SealFinding> {
    let node_id = &check.chain().node_id;
    let finding = move |wrong: Wrong, key: &String, what: String| SealFinding {
        wrong: wrong.into(),
        node_id: node_id.clone(),
        record_id: key.clone(),
        seal: seal_name(check.chain(), seal.sequence),
        what,
        ..SealFinding::default()
    };
    let foreign = seal.leaves.iter().filter(|leaf| leaf.foreign).map(move |leaf| {
        let what = format!("it claims to be of node `{node_id}`, which did not write it");
        finding(Wrong::Foreign, &leaf.key, what)
    });
    let missing = seal.missing.iter().map(move |key| {
        let what = format!("node `{node_id}` wrote it, and it was gone before it could be sealed");
        finding(Wrong::Missing, key, what)
    });
    foreign.chain(missing)
}

fn digest(leaf: &AuditLeaf) -> Option<Digest256> {
    leaf.hash.as_slice().try_into().ok().map(Digest256)
}

fn seal_of(expected: &ExpectedRecord) -> String {
    format!("{}/{}", expected.chain, expected.sequence)
}

/// Compares a record with its leaf.
///
/// # Errors
/// The finding, when it is another or none.
pub fn compare(
    key: &str,
    expected: &ExpectedRecord,
    record: Option<&StoredRecord<'_>>,
) -> Result<(), Box<SealFinding>> {
    let (wrong, what) = match record {
        Some(record) if leaf_hash(record) == expected.hash => return Ok(()),
        Some(_) => (Wrong::Changed, "it is not what was sealed"),
        None if expected.pruned => return Ok(()),
        None => (Wrong::Missing, "it was sealed and is gone"),
    };
    Err(Box::new(SealFinding {
        wrong: wrong.into(),
        node_id: expected.chain.node_id.clone(),
        record_id: key.to_owned(),
        seal: seal_name(&expected.chain, expected.sequence),
        what: what.to_owned(),
        ..SealFinding::default()
    }))
}

/// The finding of a record that stands where its node had sealed without it.
pub fn added(node_id: &str, key: &str) -> SealFinding {
    SealFinding {
        wrong: Wrong::Added.into(),
        node_id: node_id.to_owned(),
        record_id: key.to_owned(),
        what: "it stands where its node had sealed already, and no seal names it".to_owned(),
        ..SealFinding::default()
    }
}

/// The finding of a record that cannot be read.
pub fn unreadable(key: &str) -> SealFinding {
    SealFinding {
        wrong: Wrong::Added.into(),
        record_id: key.to_owned(),
        what: "it is no audit record".to_owned(),
        ..SealFinding::default()
    }
}

/// The finding of a record of which even the row in the store cannot be read.
pub fn no_row(key: &str, expected: Option<&ExpectedRecord>) -> SealFinding {
    SealFinding {
        wrong: Wrong::Unreadable.into(),
        node_id: expected.map(|expected| expected.chain.node_id.clone()).unwrap_or_default(),
        record_id: key.to_owned(),
        seal: expected.map(|expected| seal_name(&expected.chain, expected.sequence)).unwrap_or_default(),
        what: "what the store holds in its place cannot be read".to_owned(),
        ..SealFinding::default()
    }
}

/// Takes a finding; when there are many, only of a node of which there is none yet.
pub fn keep(findings: &mut Vec<SealFinding>, finding: SealFinding) {
    let room = findings.len() < FINDINGS_MAX
        || findings.len() < FINDINGS_MAX + FIRST_FINDINGS_MAX
            && findings.iter().all(|other| other.node_id != finding.node_id);
    if room {
        findings.push(finding);
    }
}

/// At most [`FINDINGS_MAX`] findings: the first of each node first, then the second of each, and so on.
pub fn told(findings: Vec<SealFinding>) -> Vec<SealFinding> {
    let mut rounds: BTreeMap<String, usize> = BTreeMap::new();
    let mut ranked: Vec<(usize, SealFinding)> = Vec::with_capacity(findings.len());
    for finding in findings {
        let round = rounds.entry(finding.node_id.clone()).or_default();
        *round += 1;
        ranked.push((*round, finding));
    }
    ranked.sort_by_key(|(round, _)| *round);
    ranked.truncate(FINDINGS_MAX);
    ranked.into_iter().map(|(_, finding)| finding).collect()
}

/// Verdict on a whole audit trail.
#[derive(Clone, Debug, Default)]
pub struct TrailVerdict {
    pub counts: BTreeMap<String, NodeSealTally>,
    pub findings: Vec<SealFinding>,
}

/// A trail that is held in memory, such as an export: seals first, then records.
#[derive(Debug, Default)]
pub struct HeldTrail {
    pub leaves: SealedRecords,
    pub counts: BTreeMap<String, NodeSealTally>,
    pub findings: Vec<SealFinding>,
    /// False: records may have been left out, so that a missing one is no finding.
    pub complete: bool,
    /// Sealed records that were left out.
    pub left_out: u64,
    /// The newest epoch of its seals.
    pub epoch: u64,
}

impl HeldTrail {
    /// Takes the next seal of a chain.
    pub fn seal(&mut self, check: &mut ChainCheck, key: &str, value: &[u8]) {
        let Some(seal) = check.take(key, value, &mut self.findings) else { return };
        expect(check, &seal, &mut self.leaves, &mut self.findings);
    }

    /// Takes note of what a chain covers, once all its seals were taken.
    pub fn close(&mut self, check: &ChainCheck) {
        let count = self.counts.entry(check.chain().node_id.clone()).or_default();
        count.close(check);
        self.epoch = self.epoch.max(count.reach.epoch());
    }

    /// Takes a record. `node_id` is what it says of its node; `None` when it cannot be read.
    pub fn record(&mut self, node_id: Option<&str>, record: &StoredRecord<'_>) {
        if let Some(expected) = self.leaves.remove(record.key) {
            match compare(record.key, &expected, Some(record)) {
                Ok(()) => self.counts.entry(expected.chain.node_id.clone()).or_default().found(&expected),
                Err(finding) => self.findings.push(*finding),
            }
            return;
        }
        let Some(node_id) = node_id else { return self.findings.push(unreadable(record.key)) };
        let count = self.counts.entry(node_id.to_owned()).or_default();
        if count.reach.covers(record.revision, record.created_at_ms, self.epoch) {
            self.findings.push(added(node_id, record.key));
        } else {
            count.unsealed += 1;
        }
    }

    /// Ends the check once everything was taken; returns the verdict and how many records were left out.
    pub fn end(mut self) -> (TrailVerdict, u64) {
        for (key, expected) in &self.leaves {
            if !self.complete {
                self.left_out += 1;
            } else if let Err(finding) = compare(key, expected, None) {
                self.findings.push(*finding);
            }
        }
        (TrailVerdict { counts: self.counts, findings: self.findings }, self.left_out)
    }
}
