//! Checks the trail in the store: every chain of seals, every record that a seal covers, and that there is
//! nothing beside them.
//!
//! It goes through the store page by page and holds a bounded number of leaves. What is sealed meanwhile
//! makes no difference: chains are read first, and only records that these cover are judged.

use std::collections::{BTreeMap, BTreeSet};

use omnirelay_decisions::audit_seal::check::{ChainCheck, KnownChain, SealFinding, Wrong, check_key};
use omnirelay_decisions::audit_seal::trail::{
    FINDINGS_MAX, NodeSealTally, SealReach, SealedRecords, added, compare, expect, keep, no_row, told,
    unreadable,
};
use omnirelay_decisions::audit_seal::{ChainId, VerifiedSeal, open};
use omnirelay_registry::Registry;
use omnirelay_registry::audit_record::oldest_key;
use omnirelay_registry::audit_record::{AUDIT, EPOCH_CHANGED};
use omnirelay_registry::view::View;
use omnirelay_store::{Record, Store, StoreError};
use omnirelay_wire::pb::omnirelay::store::v1::AuditValue;

use super::claims::NodeClaims;
use super::heads::ChainHeads;
use super::published_key;
use super::written::{ReadPosition, SignedRecordTally, WrittenRecords};
use crate::trail_records::{
    decode, newest_of, node_of, record_of, seals_stretch, stored, stored_chains, stretch,
};

/// How many leaves are held at once, beside those of one seal.
const LEAVES_HELD: usize = 8192;
/// How many seals and records are read at a time.
const SEALS_PAGE: usize = 32;
const RECORDS_PAGE: usize = 1024;
/// How often a chain is read again when its beginning was removed meanwhile.
const TRIES_MAX: usize = 3;
/// What is taken for a seal of which the row cannot be read.
const NOT_A_SEAL: &[u8] = b"\xff";
/// The most nodes that are counted one by one; records of others are counted together.
const NODES_MAX: usize = 4096;
/// Where they are counted.
const OTHER_NODES: &str = "(others)";
/// After this many records that cannot be read the check goes no further: each takes several reads.
const UNREADABLE_MAX: usize = 100;

/// Report of what was found of a chain.
#[derive(Debug)]
pub struct ChainReport {
    pub chain: ChainId,
    pub seals: u64,
    /// The newest sound seal.
    pub newest: Option<VerifiedSeal>,
}

/// Report of what was found of the trail.
#[derive(Debug, Default)]
pub struct TrailReport {
    pub counts: BTreeMap<String, NodeSealTally>,
    pub chains: Vec<ChainReport>,
    /// The signed records of the registry that were compared with it.
    pub signed_records: SignedRecordTally,
    /// At most [`FINDINGS_MAX`].
    pub findings: Vec<SealFinding>,
}

/// Run of the check of the trail.
struct VerificationRun<'a> {
    store: &'a dyn Store,
    /// What is older than this is not looked at.
    since_ms: u64,
    /// The first key that a record of this time can have.
    from: String,
    /// The epoch of the registry.
    epoch: u64,
    claims: NodeClaims<'a>,
    /// The newest record that tells of a new epoch of the registry.
    epoch_changed: Option<String>,
    written: WrittenRecords,
    /// The nodes that have removed what was old of their records.
    pruned: BTreeSet<String>,
    /// Not all of the trail was read.
    is_cut_short: bool,
    report: TrailReport,
}

/// Checks the trail from this time on, in milliseconds since the Unix epoch; 0 is all of it.
///
/// # Errors
/// Those of the store: then nothing is known.
pub async fn verify(
    registry: &Registry,
    heads: &ChainHeads,
    since_ms: u64,
) -> Result<TrailReport, StoreError> {
    let from = if since_ms == 0 { String::new() } else { oldest_key(since_ms) };
    let mut run = VerificationRun {
        store: registry.store(),
        since_ms,
        from,
        epoch: registry.view().head().epoch.0,
        claims: NodeClaims::new(registry.view()),
        epoch_changed: None,
        written: WrittenRecords::default(),
        pruned: BTreeSet::new(),
        is_cut_short: false,
        report: TrailReport::default(),
    };
    let head = registry.view().head().revision.0;
    // What is remembered first: the store holds at least that.
    let mut chains: BTreeSet<ChainId> = heads.chains().into_iter().collect();
    let remembered: BTreeMap<ChainId, _> =
        chains.iter().filter_map(|id| Some((id.clone(), heads.remembered(id)?))).collect();
    chains.extend(stored_chains(run.store).await?);
    for id in &chains {
        let published = published_key(registry.view(), &id.node_id);
        let trusted = match heads.is_vouched(id) {
            true => Ok(()),
            false => check_key(id, published.as_deref(), &heads.seen(&id.node_id)),
        };
        run.claims.chain(&id.node_id, trusted.is_ok());
        match trusted {
            Ok(()) => run.chain(id, remembered.get(id).copied()).await?,
            Err(finding) => run.find(*finding),
        }
    }
    run.count_records().await?;
    // What an untrusted chain names was not added beside it: the key is what is wrong, and is told.
    run.search_added(&chains).await?;
    run.compare_signed(registry.view(), head).await?;
    run.name_the_epoch();
    run.report.findings = told(std::mem::take(&mut run.report.findings));
    Ok(run.report)
}

/// Result of one reading of a chain.
struct ChainRun {
    check: ChainCheck,
    /// Of the records that it names.
    counted: NodeSealTally,
    findings: Vec<SealFinding>,
}

impl VerificationRun<'_> {
    fn find(&mut self, finding: SealFinding) {
        keep(&mut self.report.findings, finding);
    }

    /// Follows a chain and looks at every record it covers.
    async fn chain(
        &mut self,
        id: &ChainId,
        remembered: Option<(u64, omnirelay_decisions::audit_seal::Digest256)>,
    ) -> Result<(), StoreError> {
        let mut oldest_kept = self.oldest_kept(id).await?;
        if oldest_kept > 1 {
            self.pruned.insert(id.node_id.clone());
        }
        let mut tries = 1;
        let run = loop {
            let run =
                self.read_chain(id, KnownChain { oldest_kept, remembered, since_ms: self.since_ms }).await?;
            let missing = run.findings.iter().any(|finding| finding.wrong() == Wrong::Missing);
            if !missing || tries == TRIES_MAX {
                break run;
            }
            // Its node may have removed what was old enough while it was read.
            let now = self.oldest_kept(id).await?;
            if now == oldest_kept {
                break run;
            }
            (oldest_kept, tries) = (now, tries + 1);
        };
        let count = self.report.counts.entry(id.node_id.clone()).or_default();
        count.sealed += run.counted.sealed;
        count.of_before += run.counted.of_before;
        count.close(&run.check);
        self.report.chains.push(ChainReport {
            chain: id.clone(),
            seals: run.check.seals(),
            newest: run.check.newest().cloned(),
        });
        run.findings.into_iter().for_each(|finding| self.find(finding));
        Ok(())
    }

    async fn oldest_kept(&self, id: &ChainId) -> Result<u64, StoreError> {
        let newest = newest_of(self.store, id).await?;
        Ok(newest.and_then(|record| open(&record.value).ok()).map_or(1, |opened| opened.seal.oldest_kept))
    }

    async fn read_chain(&self, id: &ChainId, known: KnownChain) -> Result<ChainRun, StoreError> {
        let check = ChainCheck::new(id.clone(), known);
        let mut run = ChainRun { check, counted: NodeSealTally::default(), findings: Vec::new() };
        let mut leaves = SealedRecords::new();
        let mut after = None;
        loop {
            let page = seals_stretch(self.store, id, after.take(), SEALS_PAGE).await?;
            if let Some(key) = page.unreadable {
                run.check.take(&key, NOT_A_SEAL, &mut run.findings);
            }
            for record in page.records.iter().filter(|record| !record.deleted) {
                let seal = run.check.take(&record.id.key, &record.value, &mut run.findings);
                if let Some(seal) = seal {
                    expect(&run.check, &seal, &mut leaves, &mut run.findings);
                    leaves = leaves.split_off(&self.from);
                }
                if leaves.len() >= LEAVES_HELD {
                    self.compare_all(std::mem::take(&mut leaves), &mut run).await?;
                }
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        self.compare_all(leaves, &mut run).await?;
        run.findings.extend(run.check.end());
        Ok(run)
    }

    /// Compares leaves with the records they are of, in the order of their keys.
    async fn compare_all(&self, mut leaves: SealedRecords, run: &mut ChainRun) -> Result<(), StoreError> {
        let mut passed = None;
        while let Some(first) = leaves.keys().next() {
            let after = before(first).max(passed.take());
            let page = stretch(self.store, AUDIT, after, RECORDS_PAGE).await?;
            if let Some(key) = page.unreadable
                && let Some(expected) = leaves.remove(&key)
            {
                run.findings.push(no_row(&key, Some(&expected)));
            }
            for record in page.records.iter().filter(|record| !record.deleted) {
                if let Some(expected) = leaves.remove(&record.id.key) {
                    match compare(&record.id.key, &expected, Some(&stored(record))) {
                        Ok(()) => run.counted.found(&expected),
                        Err(finding) => run.findings.push(*finding),
                    }
                }
            }
            passed = page.next;
            let rest = match &passed {
                Some(last) => leaves.split_off(&format!("{last}\0")),
                None => SealedRecords::new(),
            };
            for (key, expected) in std::mem::replace(&mut leaves, rest) {
                run.findings.extend(compare(&key, &expected, None).err().map(|finding| *finding));
            }
            run.findings.truncate(FINDINGS_MAX);
        }
        Ok(())
    }

    /// Compares the signed records of the registry with what the trail says of them.
    async fn compare_signed(&mut self, view: &View, head: u64) -> Result<(), StoreError> {
        // What was not read may say it.
        if self.is_cut_short {
            return Ok(());
        }
        let (mut found, written) = (Vec::new(), std::mem::take(&mut self.written));
        let up_to = ReadPosition { head, since_ms: self.since_ms, pruned: &self.pruned };
        let compared = written.compare(self.store, view, up_to, |finding| keep(&mut found, finding));
        self.report.signed_records = compared.await?;
        found.into_iter().for_each(|finding| self.find(finding));
        Ok(())
    }

    /// Counts the records that are covered and those that are not yet.
    async fn count_records(&mut self) -> Result<(), StoreError> {
        let (mut after, mut without_row) = (before(&self.from), 0);
        loop {
            let page = stretch(self.store, AUDIT, after.take(), RECORDS_PAGE).await?;
            if let Some(key) = page.unreadable.filter(|key| *key >= self.from) {
                without_row += 1;
                self.find_no_row(&key, without_row == UNREADABLE_MAX);
            }
            for record in page.records.iter().filter(|record| !record.deleted) {
                if record.id.key < self.from {
                    continue;
                }
                match decode(record) {
                    Some(says) => {
                        if says.action == EPOCH_CHANGED {
                            self.epoch_changed = Some(record.id.key.clone());
                        }
                        self.count(record, &says, page.head);
                    }
                    None if self.is_named(record) => {}
                    None => self.find(unreadable(&record.id.key)),
                }
            }
            after = page.next;
            self.is_cut_short = without_row == UNREADABLE_MAX;
            if after.is_none() || self.is_cut_short {
                return Ok(());
            }
        }
    }

    fn find_no_row(&mut self, key: &str, last: bool) {
        if self.report.findings.iter().any(|finding| finding.record_id == key) {
            return;
        }
        let mut finding = no_row(key, None);
        if last {
            finding.what.push_str("; so are many before it, and what is behind it was not counted");
        }
        self.find(finding);
    }

    fn count(&mut self, record: &Record, says: &AuditValue, head: u64) {
        let (counts, node_id) = (&mut self.report.counts, &says.node_id);
        let full = counts.len() >= NODES_MAX && !counts.contains_key(node_id);
        let name = if full { OTHER_NODES.to_owned() } else { node_id.clone() };
        let count = counts.entry(name).or_default();
        let objection = self.claims.objection(record, node_id, head, count);
        if is_covered(record, count.reach, self.epoch) {
            count.covered += 1;
        } else if objection.is_none() {
            count.unsealed += 1;
        }
        match objection {
            // Whoever forges says nothing of what was written.
            Some(finding) if !self.is_named(record) => self.find(finding),
            Some(_) => {}
            None => self.written.take(record, says),
        }
    }

    fn is_named(&self, record: &Record) -> bool {
        self.report.findings.iter().any(|finding| finding.record_id == record.id.key)
    }

    /// Says of what is gone, and of a seal that is another, that a new epoch is the likely reason if there was one: what
    /// the store had not kept by then is lost, and nobody has touched it.
    fn name_the_epoch(&mut self) {
        let Some(id) = &self.epoch_changed else { return };
        let is_likely = |finding: &SealFinding| match finding.wrong() {
            Wrong::Missing | Wrong::Truncated => true,
            Wrong::Changed => finding.record_id.is_empty(),
            _ => false,
        };
        for finding in self.report.findings.iter_mut().filter(|finding| is_likely(finding)) {
            let why =
                format!("; likely lost when the registry began a new epoch, which record {id} tells of");
            finding.what.push_str(&why);
        }
    }

    /// Names the records that are covered and in no seal, of nodes that have more than their seals name.
    async fn search_added(&mut self, chains: &BTreeSet<ChainId>) -> Result<(), StoreError> {
        let counts = self.report.counts.iter();
        let suspects: Vec<(String, SealReach)> = counts
            .filter(|(_, count)| count.covered > count.sealed)
            .map(|(node_id, count)| (node_id.clone(), count.reach))
            .collect();
        for (node_id, reach) in suspects {
            let chains: Vec<&ChainId> = chains.iter().filter(|id| id.node_id == node_id).collect();
            let (mut after, mut found) = (before(&self.from), 0);
            loop {
                let (mut keys, next) = self.covered_keys(&node_id, reach, after.take()).await?;
                for chain in &chains {
                    self.strike_out(chain, &mut keys).await?;
                }
                for key in keys {
                    // A record that is gone by now was removed with its seal, because it was old enough.
                    if found < FINDINGS_MAX && record_of(self.store, &key).await?.is_some() {
                        self.find(added(&node_id, &key));
                        found += 1;
                    }
                }
                after = next;
                if after.is_none() || found == FINDINGS_MAX {
                    break;
                }
            }
        }
        Ok(())
    }

    /// The keys of some covered records of a node, and where to go on.
    async fn covered_keys(
        &self,
        node_id: &str,
        reach: SealReach,
        mut after: Option<String>,
    ) -> Result<(BTreeSet<String>, Option<String>), StoreError> {
        let mut keys = BTreeSet::new();
        loop {
            let page = stretch(self.store, AUDIT, after.take(), RECORDS_PAGE).await?;
            after = page.next;
            let covered = page.records.iter().filter(|record| {
                let live = !record.deleted && record.id.key >= self.from;
                live && is_covered(record, reach, self.epoch)
                    && node_of(record).is_some_and(|node| node == node_id)
            });
            keys.extend(covered.map(|record| record.id.key.clone()));
            if after.is_none() {
                return Ok((keys, None));
            }
            if keys.len() >= LEAVES_HELD {
                return Ok((keys, after));
            }
        }
    }

    /// Takes away the keys that a chain names.
    async fn strike_out(&self, chain: &ChainId, keys: &mut BTreeSet<String>) -> Result<(), StoreError> {
        let mut after = None;
        loop {
            let page = seals_stretch(self.store, chain, after.take(), SEALS_PAGE).await?;
            after = page.next;
            for opened in page.records.iter().filter_map(|record| open(&record.value).ok()) {
                for leaf in &opened.seal.leaves {
                    keys.remove(&leaf.key);
                }
            }
            if after.is_none() || keys.is_empty() {
                return Ok(());
            }
        }
    }
}

fn is_covered(record: &Record, reach: SealReach, epoch: u64) -> bool {
    reach.covers(record.revision.0, record.created_at.0, epoch)
}

/// A key right before this one, near enough that nothing is between them as a rule.
fn before(key: &str) -> Option<String> {
    let mut before = key.to_owned();
    before.pop()?;
    (!before.is_empty()).then_some(before)
}
