//! Comparison by ranges: who asks claims sums, who answers says where its own differ, until both know the records.
//!
//! The answering side remembers nothing between two questions. Both sides may change meanwhile: what is found then is where they
//! may differ, and whoever asks looks at the records themselves.

use std::collections::BTreeSet;

use super::index::{RangeIndex, RangeItem};
use super::sum::{DigestSum, RangeFingerprint, RecordDigest, ShortDigest};
use super::{DEPTH_MAX, FAN_OUT, RangePrefix};

/// How many records of a range are listed; of one with more sums are told.
const LISTED_MAX: usize = 64;
/// Number of ranges that everything splits into at once: so the first answer saves a question.
const FIRST_FAN_OUT: usize = FAN_OUT * FAN_OUT;
/// How many claims may be open, and how many ranges may have been found.
const KEPT_MAX: usize = 200_000;
/// How many digests of the other side are kept of ranges that were found.
const DIGESTS_KEPT_MAX: usize = 200_000;
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
    /// Fingerprints of the sixteen ranges that it splits into, or of those that these split into.
    Split { range: RangePrefix, fingerprints: Vec<RangeFingerprint> },
    /// Digests of all records in it.
    Listed { range: RangePrefix, digests: Vec<ShortDigest> },
}

/// Range in which something differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DifferingRange {
    pub range: RangePrefix,
    /// Digests of all that the other side has in it, sorted; `None`: they are not kept.
    pub told: Option<Vec<ShortDigest>>,
}

/// Sums over the records of a registry, and their digests.
pub trait RangeSums {
    /// Sum of a range.
    fn sum(&self, range: RangePrefix) -> DigestSum;

    /// Sums of the sixteen ranges that a range splits into; `None`: it is of a single hash.
    fn sums_within(&self, range: RangePrefix) -> Option<[DigestSum; FAN_OUT]>;

    /// Digests of all in a range, sorted.
    fn digests(&self, range: RangePrefix) -> Vec<ShortDigest>;
}

impl<T: RangeItem> RangeSums for RangeIndex<T> {
    fn sum(&self, range: RangePrefix) -> DigestSum {
        self.sum(range)
    }

    fn sums_within(&self, range: RangePrefix) -> Option<[DigestSum; FAN_OUT]> {
        self.sums_within(range)
    }

    fn digests(&self, range: RangePrefix) -> Vec<ShortDigest> {
        let digests = self.items(range).into_iter().map(|item| item.digest().short());
        let mut digests: Vec<ShortDigest> = digests.collect();
        digests.sort_unstable();
        digests
    }
}

/// Claim or answer that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClaimError {
    #[error("a range has {0} fingerprints, which is not as many as it splits into")]
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
    found: Vec<DifferingRange>,
    /// How many digests are kept of those.
    digests_kept: usize,
}

/// Answers claims: says nothing of ranges that are the same.
///
/// # Errors
/// [`ClaimError`] for a claim with another number of fingerprints.
pub fn answer(
    index: &dyn RangeSums,
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

/// Hash of digests that are sorted: by it whoever has told them knows whether they are still those.
pub fn hash_of_digests(digests: &[ShortDigest]) -> ShortDigest {
    RecordDigest::of(digests.iter().map(|digest| &digest[..])).short()
}

/// What there is in a range: the records, or sums where there are many.
fn told(index: &dyn RangeSums, key: &[u8], range: RangePrefix) -> RangeAnswer {
    let count = index.sum(range).count();
    let fan_out = match range == RangePrefix::ALL && count > (LISTED_MAX * FAN_OUT) as u64 {
        true => FIRST_FAN_OUT,
        false => FAN_OUT,
    };
    if count > LISTED_MAX as u64
        && let Some(fingerprints) = fingerprints_of(index, key, range, fan_out)
    {
        return RangeAnswer::Split { range, fingerprints };
    }
    RangeAnswer::Listed { range, digests: index.digests(range) }
}

fn fingerprints_within(
    index: &dyn RangeSums,
    key: &[u8],
    range: RangePrefix,
) -> Option<Vec<RangeFingerprint>> {
    let sums = index.sums_within(range)?;
    Some(sums.iter().map(|sum: &DigestSum| sum.fingerprint(key)).collect())
}

/// Fingerprints of the sixteen ranges that a range splits into, or of the 256 that these split into.
fn fingerprints_of(
    index: &dyn RangeSums,
    key: &[u8],
    range: RangePrefix,
    fan_out: usize,
) -> Option<Vec<RangeFingerprint>> {
    if fan_out == FAN_OUT {
        return fingerprints_within(index, key, range);
    }
    let within = |digit| fingerprints_within(index, key, range.child(digit)?);
    (0..FAN_OUT).map(within).collect::<Option<Vec<_>>>().map(|all| all.concat())
}

/// One of the sixteen or 256 ranges that a range splits into.
fn part(range: RangePrefix, number: usize, fan_out: usize) -> Option<RangePrefix> {
    match fan_out {
        FAN_OUT => range.child(number),
        _ => range.child(number / FAN_OUT)?.child(number % FAN_OUT),
    }
}

impl RangeComparison {
    /// A comparison of all of an index by its sum: what is the same costs one fingerprint.
    pub fn of_all(index: &dyn RangeSums, key: &[u8]) -> Self {
        let all = RangeClaim {
            range: RangePrefix::ALL,
            fingerprints: vec![index.sum(RangePrefix::ALL).fingerprint(key)],
        };
        let (asked, found) = (BTreeSet::new(), Vec::new());
        Self { key: key.to_vec(), open: vec![all], asked, found, digests_kept: 0 }
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
    pub fn take_in(&mut self, index: &dyn RangeSums, answers: Vec<RangeAnswer>) -> Result<(), ClaimError> {
        for answer in answers {
            let (RangeAnswer::Split { range, .. } | RangeAnswer::Listed { range, .. }) = &answer;
            if !self.asked.remove(range) {
                return Err(ClaimError::NotAsked);
            }
            match answer {
                RangeAnswer::Listed { range, digests } => self.take_listed(index, range, digests)?,
                RangeAnswer::Split { range, fingerprints } => self.take_split(index, range, &fingerprints)?,
            }
        }
        if self.open.len() > KEPT_MAX || self.found.len() > KEPT_MAX {
            Err(ClaimError::TooMuch)
        } else {
            Ok(())
        }
    }

    fn take_listed(
        &mut self,
        index: &dyn RangeSums,
        range: RangePrefix,
        mut theirs: Vec<ShortDigest>,
    ) -> Result<(), ClaimError> {
        if theirs.len() > LISTED_MAX && range.depth() < DEPTH_MAX {
            return Err(ClaimError::Listed(theirs.len()));
        }
        theirs.sort_unstable();
        if theirs != index.digests(range) {
            self.digests_kept += theirs.len();
            let told = (self.digests_kept <= DIGESTS_KEPT_MAX).then_some(theirs);
            self.found.push(DifferingRange { range, told });
        }
        Ok(())
    }

    fn take_split(
        &mut self,
        index: &dyn RangeSums,
        range: RangePrefix,
        theirs: &[RangeFingerprint],
    ) -> Result<(), ClaimError> {
        let fan_out = theirs.len();
        if fan_out != FAN_OUT && (fan_out, range) != (FIRST_FAN_OUT, RangePrefix::ALL) {
            return Err(ClaimError::Fingerprints(fan_out));
        }
        let own = fingerprints_of(index, &self.key, range, fan_out).ok_or(ClaimError::SingleHash)?;
        for number in (0..fan_out).filter(|number| own[*number] != theirs[*number]) {
            let Some(range) = part(range, number, fan_out) else { continue };
            let is_small = index.sum(range).count() <= ASKED_MAX;
            let split = if is_small { None } else { fingerprints_within(index, &self.key, range) };
            self.open.push(RangeClaim { range, fingerprints: split.unwrap_or_default() });
        }
        Ok(())
    }

    /// Ranges that were found: in each of them something differs.
    pub fn into_found(self) -> Vec<DifferingRange> {
        self.found
    }
}
