//! Follows one chain of seals from its oldest to its newest.

use omnirelay_wire::pb::omnirelay::security::v1 as pb;
use omnirelay_wire::pb::omnirelay::store::v1::AuditSeal;

use super::trail::SealReach;
use super::{ChainId, Digest256, NotASeal, SealHead, VerifiedSeal, open};
pub use pb::audit_finding::Wrong;

/// Finding of the check of an audit trail: what is wrong with a seal or a record.
pub type SealFinding = pb::AuditFinding;

/// Facts about a chain of seals that are known beside the seals.
#[derive(Clone, Debug, Default)]
pub struct KnownChain {
    /// The oldest sequence still kept, as the newest seal states it.
    pub oldest_kept: u64,
    /// The newest seal that was seen here before.
    pub remembered: Option<(u64, Digest256)>,
    /// What was lost before a seal of an earlier time than this is not asked for, in milliseconds since the
    /// Unix epoch; 0: all of it is.
    pub since_ms: u64,
}

/// Takes the seals of a chain in the order of their keys.
#[derive(Debug)]
pub struct ChainCheck {
    chain: ChainId,
    known: KnownChain,
    /// The sequence of the seal before; 0 before the first.
    last: u64,
    /// Its hash, when it was sound.
    last_hash: Option<Digest256>,
    newest: Option<VerifiedSeal>,
    /// Where the seal before ended: its epoch, and what it covers up to.
    at: (u64, u64),
    seals: u64,
}

impl ChainCheck {
    pub fn new(chain: ChainId, known: KnownChain) -> Self {
        Self { chain, known, last: 0, last_hash: None, newest: None, at: (0, 0), seals: 0 }
    }

    pub fn chain(&self) -> &ChainId {
        &self.chain
    }

    /// Number of seals that the chain had.
    pub fn seals(&self) -> u64 {
        self.seals
    }

    /// The newest sound seal.
    pub fn newest(&self) -> Option<&VerifiedSeal> {
        self.newest.as_ref()
    }

    /// Every record of the node up to this revision is sealed.
    pub fn through(&self) -> u64 {
        self.at.1
    }

    /// Reach of the newest sound seal.
    pub fn reach(&self) -> SealReach {
        self.newest.as_ref().map_or_else(SealReach::default, |newest| SealReach::of(&newest.seal))
    }

    /// Whether the records of a seal may be gone.
    pub fn is_pruned(&self, sequence: u64) -> bool {
        sequence < self.known.oldest_kept
    }

    /// Whether what a seal tells of is to be told: it is of the time asked for, and was not removed since.
    pub fn is_asked_for(&self, seal: &AuditSeal) -> bool {
        seal.sealed_at_ms >= self.known.since_ms && !self.is_pruned(seal.sequence)
    }

    /// Takes the next seal; `None` when it is none of this chain. What is wrong goes to `found`.
    pub fn take(&mut self, key: &str, value: &[u8], found: &mut Vec<SealFinding>) -> Option<AuditSeal> {
        self.seals += 1;
        let Some((_, sequence)) = ChainId::parse(key).filter(|(chain, _)| *chain == self.chain) else {
            found.push(self.finding(Wrong::Added, 0, format!("`{key}` is no key of a seal")));
            return None;
        };
        let gap = self.gap_before(sequence);
        let follows = self.last_hash.filter(|_| self.last + 1 == sequence);
        let is_first = sequence == 1;
        (self.last, self.last_hash) = (sequence, None);
        let opened = open(value);
        let is_asked_for = |opened: &VerifiedSeal| opened.seal.sealed_at_ms >= self.known.since_ms;
        if opened.as_ref().map_or(true, is_asked_for) {
            found.extend(gap);
        }
        let opened = match opened {
            Ok(opened) => opened,
            Err(NotASeal::Unreadable) => {
                found.push(self.finding(Wrong::Changed, sequence, "it cannot be read as a seal"));
                return None;
            }
            Err(NotASeal::Signature) => {
                let what = "its signature is not that of its key";
                found.push(self.finding(Wrong::BadSignature, sequence, what));
                return None;
            }
        };
        if let Some(finding) = self.misplaced(&opened, sequence) {
            found.push(finding);
            return None;
        }
        self.last_hash = Some(opened.hash);
        let previous = opened.seal.previous.as_slice();
        if is_first && !previous.is_empty() || follows.is_some_and(|hash| previous != hash.0) {
            found.push(self.finding(Wrong::Changed, sequence, "it does not follow the seal before it"));
        }
        if self.known.remembered.is_some_and(|(seen, hash)| seen == sequence && hash != opened.hash) {
            let what = "it is not the seal that was seen here before";
            found.push(self.finding(Wrong::Changed, sequence, what));
        }
        if !self.in_order(&opened.seal) {
            found.push(self.finding(Wrong::Reordered, sequence, "its records are not in order"));
        }
        self.at = (opened.seal.epoch, opened.seal.through);
        let seal = opened.seal.clone();
        self.newest = Some(opened);
        Some(seal)
    }

    /// Says what is missing at the end.
    pub fn end(&self) -> Option<SealFinding> {
        let (sequence, _) = self.known.remembered.filter(|(sequence, _)| *sequence > self.last)?;
        let what = format!("seals {} to {sequence} were seen here before and are gone", self.last + 1);
        Some(self.finding(Wrong::Truncated, self.last + 1, what))
    }

    /// The head of the chain as it was found.
    pub fn head(&self) -> Option<SealHead> {
        self.newest.as_ref().map(VerifiedSeal::head)
    }

    /// A finding about a seal of this chain.
    pub fn finding(&self, wrong: Wrong, sequence: u64, what: impl Into<String>) -> SealFinding {
        seal_finding(&self.chain, wrong, sequence, what)
    }

    /// What is missing right before a seal.
    fn gap_before(&self, sequence: u64) -> Option<SealFinding> {
        let expected = if self.last == 0 { self.known.oldest_kept.max(1) } else { self.last + 1 };
        let begins_before = self.last == 0 && sequence < expected;
        if sequence == expected || begins_before {
            return None;
        }
        // Keys are unique and sorted: what is not expected comes later.
        let what = format!("seals {expected} to {} are gone", sequence.saturating_sub(1));
        Some(self.finding(Wrong::Missing, expected, what))
    }

    fn misplaced(&self, opened: &VerifiedSeal, sequence: u64) -> Option<SealFinding> {
        let stands = opened.chain();
        if stands.fingerprint != self.chain.fingerprint {
            return Some(self.finding(Wrong::BadSignature, sequence, "it is signed by another key"));
        }
        if stands != self.chain || opened.seal.sequence != sequence {
            let what = format!("seal {stands}/{} stands in its place", opened.seal.sequence);
            return Some(self.finding(Wrong::Reordered, sequence, what));
        }
        None
    }

    /// Whether the revisions of a seal rise, from those of the seal before it.
    ///
    /// They may begin anew where an epoch does: a store that was lost is followed by an empty one.
    fn in_order(&self, seal: &AuditSeal) -> bool {
        let (epoch, covered) = self.at;
        let before = if seal.epoch > epoch { 0 } else { covered };
        let mut last = (before, "");
        let rising = seal.leaves.iter().all(|leaf| {
            let behind = std::mem::replace(&mut last, (leaf.revision, leaf.key.as_str()));
            behind < last && leaf.revision > before && leaf.revision <= seal.through
        });
        rising && seal.epoch >= epoch && seal.through >= before
    }
}

/// A finding about a seal.
pub fn seal_finding(chain: &ChainId, wrong: Wrong, sequence: u64, what: impl Into<String>) -> SealFinding {
    SealFinding {
        wrong: wrong.into(),
        node_id: chain.node_id.clone(),
        seal: if sequence == 0 { chain.fingerprint.clone() } else { seal_name(chain, sequence) },
        what: what.into(),
        ..SealFinding::default()
    }
}

/// A seal as findings name it.
pub fn seal_name(chain: &ChainId, sequence: u64) -> String {
    format!("{}/{sequence}", chain.fingerprint)
}

/// Whether a chain's key is its node's: as it was seen here first, or else as the node publishes it.
///
/// # Errors
/// The finding, when it is not.
pub fn check_key(chain: &ChainId, published: Option<&str>, seen: &[String]) -> Result<(), Box<SealFinding>> {
    let refuse = |what: &str| Err(Box::new(seal_finding(chain, Wrong::UnknownKey, 0, what)));
    if seen.is_empty() {
        return match published {
            Some(published) if published == chain.fingerprint => Ok(()),
            Some(_) => refuse("its key is not the one that the node publishes"),
            None => refuse("its key is published by no node and was not seen here before"),
        };
    }
    if seen.contains(&chain.fingerprint) {
        return Ok(());
    }
    refuse("its key is not the one that the node was known by")
}
