//! Ranges of records: by their sums two registries find what differs between them without listing what does not.
//!
//! This is range-based set reconciliation (Aljoscha Meyer, 2023), with records in the order of the hashes of their keys instead of the
//! keys: a range is all of them whose hash begins with the same digits, so that it splits into sixteen of like size, and its bounds are
//! a few bytes.

mod compare;
mod index;
#[cfg(test)]
mod ranges_test;
mod sum;

pub use compare::{
    ClaimError, DifferingRange, RangeAnswer, RangeClaim, RangeComparison, RangeSums, answer, check_disjoint,
    hash_of_digests,
};
pub use index::{RangeIndex, RangeItem};
pub use sum::{DigestSum, RangeFingerprint, RecordDigest, ShortDigest};

/// Number of ranges that a range splits into.
pub const FAN_OUT: usize = 16;
/// Greatest depth of a range: of 64 bits there are no more digits.
pub const DEPTH_MAX: u8 = 16;

/// Range: everything whose hash begins with these hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RangePrefix {
    /// The digits from the left; all bits behind them are 0.
    bits: u64,
    depth: u8,
}

impl RangePrefix {
    /// Range of everything.
    pub const ALL: Self = Self { bits: 0, depth: 0 };

    /// Range of the hashes that begin with the first `depth` digits of `bits`; `None`: it has more digits than there are, or bits
    /// behind them.
    pub fn new(bits: u64, depth: u8) -> Option<Self> {
        (depth <= DEPTH_MAX && bits & !mask(depth) == 0).then_some(Self { bits, depth })
    }

    /// Its digits from the left, with 0 behind them.
    pub fn bits(self) -> u64 {
        self.bits
    }

    /// Number of its digits.
    pub fn depth(self) -> u8 {
        self.depth
    }

    /// Whether a hash is in it.
    pub fn has(self, hash: u64) -> bool {
        hash & mask(self.depth) == self.bits
    }

    /// One of the sixteen that it splits into; `None`: it is of a single hash.
    pub fn child(self, digit: usize) -> Option<Self> {
        let shift = 60_u32.checked_sub(u32::from(self.depth) * 4)?;
        let bits = self.bits | (digit as u64) << shift;
        Some(Self { bits, depth: self.depth + 1 })
    }
}

/// Digit of a hash behind a prefix of so many digits.
fn digit(hash: u64, depth: u8) -> usize {
    (hash >> (60 - u32::from(depth) * 4) & 0xf) as usize
}

fn mask(depth: u8) -> u64 {
    match depth {
        0 => 0,
        depth => u64::MAX << (64 - u32::from(depth) * 4),
    }
}
