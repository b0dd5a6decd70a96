//! Sums of digests, and the fingerprints that are told of them.

use sha2::{Digest as _, Sha256};

/// Bytes of what is told of a digest or of a sum.
const SHORT: usize = 16;

/// Digest of a record: of all that has to be the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordDigest([u64; 4]);

/// Digest as it is told of a single record.
pub type ShortDigest = [u8; SHORT];

/// Fingerprint of a range: a hash of its sum.
pub type RangeFingerprint = [u8; SHORT];

/// Sum of the digests of a range modulo 2 to the power of 256, and how many they are.
///
/// A sum can be taken apart again, and unlike an exclusive or nobody finds records of another set with the same one by linear algebra.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DigestSum {
    sum: [u64; 4],
    count: u64,
}

impl RecordDigest {
    /// Digest of fields, each with its length.
    pub fn of<'a>(fields: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut hash = Sha256::new();
        for field in fields {
            hash.update((field.len() as u64).to_le_bytes());
            hash.update(field);
        }
        let bytes: [u8; 32] = hash.finalize().into();
        let mut words = [0; 4];
        for (word, bytes) in words.iter_mut().zip(bytes.as_chunks().0) {
            *word = u64::from_le_bytes(*bytes);
        }
        Self(words)
    }

    /// Its first 64 bits.
    pub fn first(self) -> u64 {
        self.0[0]
    }

    /// As it is told.
    pub fn short(self) -> ShortDigest {
        let mut short = [0; SHORT];
        short[..8].copy_from_slice(&self.0[0].to_le_bytes());
        short[8..].copy_from_slice(&self.0[1].to_le_bytes());
        short
    }
}

impl DigestSum {
    /// Number of the digests in it.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Adds a digest.
    pub fn add(&mut self, RecordDigest(words): &RecordDigest) {
        self.add_words(words);
        self.count += 1;
    }

    /// Takes a digest away that was added.
    pub fn take(&mut self, RecordDigest(words): &RecordDigest) {
        let mut borrow = false;
        for (word, less) in self.sum.iter_mut().zip(words) {
            let (rest, first) = word.overflowing_sub(*less);
            let (rest, second) = rest.overflowing_sub(u64::from(borrow));
            (*word, borrow) = (rest, first || second);
        }
        self.count = self.count.saturating_sub(1);
    }

    /// Adds all digests of another sum.
    pub fn add_all(&mut self, other: &Self) {
        self.add_words(&other.sum);
        self.count += other.count;
    }

    /// Fingerprint under a key: sums are compared only by those who have the same one.
    pub fn fingerprint(&self, key: &[u8]) -> RangeFingerprint {
        let mut hash = Sha256::new();
        hash.update((key.len() as u64).to_le_bytes());
        hash.update(key);
        self.sum.iter().for_each(|word| hash.update(word.to_le_bytes()));
        hash.update(self.count.to_le_bytes());
        let mut short = [0; SHORT];
        short.copy_from_slice(&hash.finalize()[..SHORT]);
        short
    }

    fn add_words(&mut self, words: &[u64; 4]) {
        let mut carry = false;
        for (word, more) in self.sum.iter_mut().zip(words) {
            let (sum, first) = word.overflowing_add(*more);
            let (sum, second) = sum.overflowing_add(u64::from(carry));
            (*word, carry) = (sum, first || second);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_added_is_taken_away_again() {
        let digests: Vec<RecordDigest> =
            (0_u32..1000).map(|number| RecordDigest::of([&number.to_le_bytes()[..]])).collect();
        let (mut all, mut even) = (DigestSum::default(), DigestSum::default());
        digests.iter().for_each(|digest| all.add(digest));
        digests.iter().step_by(2).for_each(|digest| even.add(digest));
        digests.iter().skip(1).step_by(2).for_each(|digest| all.take(digest));
        assert_eq!(all, even);
        even.add_all(&all);
        assert_eq!(even.count(), 1000);
        assert_ne!(all.fingerprint(b"one"), all.fingerprint(b"other"));
    }

    #[test]
    fn a_carry_and_a_borrow_go_through_all_words() {
        let (most, one) = (RecordDigest([u64::MAX; 4]), RecordDigest([1, 0, 0, 0]));
        let mut sum = DigestSum::default();
        sum.add(&most);
        sum.add(&one);
        assert_eq!(sum.sum, [0; 4]);
        sum.take(&one);
        assert_eq!((sum.sum, sum.count), ([u64::MAX; 4], 1));
    }

    #[test]
    fn fields_are_told_apart() {
        let of = |fields: &[&str]| RecordDigest::of(fields.iter().map(|field| field.as_bytes()));
        assert_ne!(of(&["ab", "c"]), of(&["a", "bc"]));
        assert_ne!(of(&["a"]), of(&["a", ""]));
        assert_eq!(of(&["a", "b"]).short(), of(&["a", "b"]).short());
    }
}
