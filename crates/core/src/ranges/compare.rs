//! Comparison by ranges: who asks claims sums, who answers says where its own differ, until both know the records.
//!
//! The answering side remembers nothing between two questions. Both sides may change meanwhile: what is found then is where they
//! may differ, and whoever asks looks at the records themselves.

use std::collections::BTreeSet;

use super::index::{RangeIndex, RangeItem};
use super::sum::{DigestSum, RangeFingerprint, ShortDigest};
use super::{DEPTH_MAX, FAN_OUT, RangePrefix};

/// How many records of a range are listed; of one with more sums are told.
const LISTED_MAX: usize = 64;
/// How many claims may be open, and how many ranges may have been found.
const KEPT_MAX: usize = 200_000;
/// Of a range with so few records of one's own those of the other side are asked for.
const ASKED_MAX: u64 = 32;

/// Claim about a range, as whoever asks knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeClaim {
    pub range: RangePrefix,
    /// One: of the range. Sixteen: of those that it splits into. None: what the other side has is asked for.
    pub fingerprints: Vec<RangeFingerprint>,
}

/// Answer about a range that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RangeAnswer {
    /// Fingerprints of the sixteen ranges that it splits into.
    Split { range: RangePrefix, fingerprints: Vec<RangeFingerprint> },
    /// Digests of all records in it.
    Listed { range: RangePrefix, digests: Vec<ShortDigest> },
}

/// Claim or answer that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClaimError {
    #[error("a range has {0} fingerprints, not 0, 1 or 16")]
    Fingerprints(usize),
    /// Of a range that nobody has claimed anything of, or a second one.
    #[error("an answer is about a range that was not asked about")]
    NotAsked,
    #[error("the range of a single hash splits into none")]
    SingleHash,
    #[error("{0} records of a range are listed, which are so many that it would be split")]
    Listed(usize),
    /// More is open, or was found, than is kept.
    #[error("more differs than can be looked at")]
    TooMuch,
    #[error("two ranges have something in common")]
    Overlap,
}

/// Comparison, at the side that asks.
#[derive(Debug)]
pub struct RangeComparison {
    key: Vec<u8>,
    open: Vec<RangeClaim>,
    /// Ranges of the claims that were taken last: about which there may be an answer.
    asked: BTreeSet<RangePrefix>,
    found: Vec<RangePrefix>,
}

/// Answers claims: says nothing of ranges that are the same.
///
/// # Errors
/// [`ClaimError`] for a claim with another number of fingerprints.
pub fn answer<T: RangeItem>(
    index: &RangeIndex<T>,
    key: &[u8],
    claims: &[RangeClaim],
) -> Result<Vec<RangeAnswer>, ClaimError> {
    let mut answers = Vec::new();
    for claim in claims {
        let range = claim.range;
        match claim.fingerprints.as_slice() {
            [] => answers.push(told(index, key, range)),
            [of_all] if index.sum(range).fingerprint(key) == *of_all => {}
            [_] => answers.push(told(index, key, range)),
            of_each if of_each.len() == FAN_OUT => {
                let own = fingerprints_within(index, key, range).ok_or(ClaimError::SingleHash)?;
                let differing = (0..FAN_OUT).filter(|digit| own[*digit] != of_each[*digit]);
                answers.extend(differing.filter_map(|digit| Some(told(index, key, range.child(digit)?))));
            }
            others => return Err(ClaimError::Fingerprints(others.len())),
        }
    }
    Ok(answers)
}

/// Checks that no two of these ranges have a record in common.
///
/// # Errors
/// [`ClaimError::Overlap`].
pub fn check_disjoint(ranges: impl IntoIterator<Item = RangePrefix>) -> Result<(), ClaimError> {
    let mut ranges: Vec<RangePrefix> = ranges.into_iter().collect();
    ranges.sort_unstable();
    // Behind a range come first those that are within it.
    let overlaps = |pair: &[RangePrefix]| matches!(pair, [one, other] if one.has(other.bits()));
    if ranges.windows(2).any(overlaps) { Err(ClaimError::Overlap) } else { Ok(()) }
}

/// What there is in a range: the records, or sums where there are many.
fn told<T: RangeItem>(index: &RangeIndex<T>, key: &[u8], range: RangePrefix) -> RangeAnswer {
    if index.sum(range).count() > LISTED_MAX as u64
        && let Some(fingerprints) = fingerprints_within(index, key, range)
    {
        return RangeAnswer::Split { range, fingerprints };
    }
    RangeAnswer::Listed { range, digests: digests(index, range) }
}

fn fingerprints_within<T: RangeItem>(
    index: &RangeIndex<T>,
    key: &[u8],
    range: RangePrefix,
) -> Option<Vec<RangeFingerprint>> {
    let sums = index.sums_within(range)?;
    Some(sums.iter().map(|sum: &DigestSum| sum.fingerprint(key)).collect())
}

fn digests<T: RangeItem>(index: &RangeIndex<T>, range: RangePrefix) -> Vec<ShortDigest> {
    let mut digests: Vec<ShortDigest> =
        index.items(range).into_iter().map(|item| item.digest().short()).collect();
    digests.sort_unstable();
    digests
}

impl RangeComparison {
    /// A comparison of all of an index by its sum: what is the same costs one fingerprint.
    pub fn of_all<T: RangeItem>(index: &RangeIndex<T>, key: &[u8]) -> Self {
        let all = RangeClaim {
            range: RangePrefix::ALL,
            fingerprints: vec![index.sum(RangePrefix::ALL).fingerprint(key)],
        };
        Self { key: key.to_vec(), open: vec![all], asked: BTreeSet::new(), found: Vec::new() }
    }

    /// A comparison that begins with sixteen sums: what differs is found a question sooner.
    pub fn of_split<T: RangeItem>(index: &RangeIndex<T>, key: &[u8]) -> Self {
        let all = RangePrefix::ALL;
        let fingerprints = fingerprints_within(index, key, all).unwrap_or_default();
        let open = vec![RangeClaim { range: all, fingerprints }];
        Self { key: key.to_vec(), open, asked: BTreeSet::new(), found: Vec::new() }
    }

    /// Takes at most so many claims that are to be asked next. None: it is over.
    pub fn next_claims(&mut self, at_most: usize) -> Vec<RangeClaim> {
        let claims = self.open.split_off(self.open.len().saturating_sub(at_most));
        self.asked.clear();
        for claim in &claims {
            match claim.fingerprints.len() {
                FAN_OUT => self.asked.extend((0..FAN_OUT).filter_map(|digit| claim.range.child(digit))),
                _ => self.asked.extend([claim.range]),
            }
        }
        claims
    }

    /// Takes in the answers to claims.
    ///
    /// # Errors
    /// [`ClaimError`] for an answer with another number of fingerprints than sixteen, and one about what was not asked.
    pub fn take_in<T: RangeItem>(
        &mut self,
        index: &RangeIndex<T>,
        answers: Vec<RangeAnswer>,
    ) -> Result<(), ClaimError> {
        for answer in answers {
            let (RangeAnswer::Split { range, .. } | RangeAnswer::Listed { range, .. }) = &answer;
            if !self.asked.remove(range) {
                return Err(ClaimError::NotAsked);
            }
            match answer {
                RangeAnswer::Listed { range, digests: mut theirs } => {
                    if theirs.len() > LISTED_MAX && range.depth() < DEPTH_MAX {
                        return Err(ClaimError::Listed(theirs.len()));
                    }
                    theirs.sort_unstable();
                    if theirs != digests(index, range) {
                        self.found.push(range);
                    }
                }
                RangeAnswer::Split { range, fingerprints } => {
                    if fingerprints.len() != FAN_OUT {
                        return Err(ClaimError::Fingerprints(fingerprints.len()));
                    }
                    let own = fingerprints_within(index, &self.key, range).ok_or(ClaimError::SingleHash)?;
                    for digit in (0..FAN_OUT).filter(|digit| own[*digit] != fingerprints[*digit]) {
                        let Some(range) = range.child(digit) else { continue };
                        let is_small = index.sum(range).count() <= ASKED_MAX;
                        let split =
                            if is_small { None } else { fingerprints_within(index, &self.key, range) };
                        self.open.push(RangeClaim { range, fingerprints: split.unwrap_or_default() });
                    }
                }
            }
        }
        if self.open.len() > KEPT_MAX || self.found.len() > KEPT_MAX {
            Err(ClaimError::TooMuch)
        } else {
            Ok(())
        }
    }

    /// Ranges that were found so far: in each of them something differs.
    pub fn found(&self) -> &[RangePrefix] {
        &self.found
    }

    /// Ranges that were found.
    pub fn into_found(self) -> Vec<RangePrefix> {
        self.found
    }
}
