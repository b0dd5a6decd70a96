//! Ranges of random records, beside a plain list of them.

use std::collections::BTreeMap;

use super::*;
use crate::split_mix::split_mix;

const KEY: &[u8] = b"epoch";

/// Record of a key, with a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Thing {
    key: u64,
    version: u64,
}

impl RangeItem for Thing {
    fn place(&self) -> u64 {
        split_mix(self.key)
    }

    fn digest(&self) -> RecordDigest {
        RecordDigest::of([&self.key.to_le_bytes()[..], &self.version.to_le_bytes()])
    }

    fn has_key_of(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

fn things(keys: impl IntoIterator<Item = u64>) -> RangeIndex<Thing> {
    keys.into_iter().map(|key| Thing { key, version: 1 }).collect()
}

fn sum_of(things: &BTreeMap<u64, Thing>, range: RangePrefix) -> DigestSum {
    let mut sum = DigestSum::default();
    things.values().filter(|thing| range.has(thing.place())).for_each(|thing| sum.add(&thing.digest()));
    sum
}

/// Cost of finding what differs.
#[derive(Debug, Default, PartialEq, Eq)]
struct Cost {
    questions: usize,
    /// Of claims and answers: the digits of a range, a byte for its depth, and what is told of it.
    bytes: usize,
}

fn compared(
    mut comparison: RangeComparison,
    own: &RangeIndex<Thing>,
    other: &RangeIndex<Thing>,
) -> (Vec<RangePrefix>, Cost) {
    let mut cost = Cost::default();
    loop {
        let claims = comparison.next_claims(4096);
        if claims.is_empty() {
            let found = comparison.into_found().into_iter().map(|found| found.range).collect();
            return (found, cost);
        }
        let answers = answer(other, KEY, &claims).unwrap();
        cost.questions += 1;
        cost.bytes += claims.iter().map(|claim| 9 + claim.fingerprints.len() * 16).sum::<usize>();
        let told = |answer: &RangeAnswer| match answer {
            RangeAnswer::Split { fingerprints, .. } => 9 + fingerprints.len() * 16,
            RangeAnswer::Listed { digests, .. } => 9 + digests.len() * 16,
        };
        cost.bytes += answers.iter().map(told).sum::<usize>();
        comparison.take_in(own, answers).unwrap();
        assert!(cost.questions < 40, "it goes on for ever");
    }
}

/// Keys in the ranges that were found, at one side.
fn keys(ranges: &[RangePrefix], side: &RangeIndex<Thing>) -> Vec<u64> {
    let mut keys: Vec<_> = ranges.iter().flat_map(|range| side.items(*range)).map(|of| of.key).collect();
    keys.sort_unstable();
    keys
}

#[test]
fn sums_of_ranges_are_those_of_their_records_whatever_comes_and_goes() {
    for seed in 0..4_u64 {
        let (mut index, mut plain) = (RangeIndex::default(), BTreeMap::new());
        for step in 0..4000_u64 {
            let chance = split_mix(seed << 32 | step);
            let thing = Thing { key: chance % 700, version: step };
            // It grows, shrinks to nothing, and grows again.
            let is_put = match step {
                0..1500 | 3000.. => chance >> 32 & 7 != 0,
                1500.. => chance >> 32 & 7 == 0,
            };
            match is_put {
                true => assert_eq!(index.put(thing), plain.insert(thing.key, thing)),
                false => assert_eq!(index.take(&thing), plain.remove(&thing.key)),
            }
            if step % 16 != 0 {
                continue;
            }
            let depth = (chance >> 40) as u8 % 5;
            let range = RangePrefix::new(split_mix(chance) & mask(depth), depth).unwrap();
            assert_eq!(index.sum(range), sum_of(&plain, range), "{range:?}");
            let mut items: Vec<_> = index.items(range).into_iter().map(|thing| thing.key).collect();
            items.sort_unstable();
            let expected = plain.values().filter(|thing| range.has(thing.place())).map(|thing| thing.key);
            assert_eq!(items, expected.collect::<Vec<_>>());
            for (digit, sum) in index.sums_within(range).unwrap().into_iter().enumerate() {
                assert_eq!(sum, sum_of(&plain, range.child(digit).unwrap()));
            }
        }
    }
}

#[test]
fn exactly_what_differs_is_found_at_any_size() {
    for (size, seed) in [(0, 1), (1, 2), (20, 3), (40, 4), (900, 5), (5000, 6)] {
        for differing in [0, 1, 7, size] {
            let own = things(0..size);
            let mut plain: BTreeMap<u64, u64> = (0..size).map(|key| (key, 1)).collect();
            for number in 0..differing {
                let key = split_mix(seed + number) % size.max(1);
                match number % 3 {
                    0 => plain.insert(key, 2),
                    1 => plain.remove(&key),
                    _ => plain.insert(size + number, 1),
                };
            }
            let other: RangeIndex<Thing> =
                plain.iter().map(|(key, version)| Thing { key: *key, version: *version }).collect();
            let is_same = |key: &u64| own_version(*key, size) == plain.get(key).copied();
            let differing: Vec<u64> =
                (0..size).chain(plain.keys().copied()).filter(|key| !is_same(key)).collect();
            let (ranges, _) = compared(RangeComparison::of_all(&own, KEY), &own, &other);
            let within = |range: &RangePrefix, key: &u64| range.has(Thing { key: *key, version: 0 }.place());
            for key in &differing {
                assert!(ranges.iter().any(|range| within(range, key)), "{size} records, {key} is not found");
            }
            for range in &ranges {
                assert!(
                    differing.iter().any(|key| within(range, key)),
                    "{size} records, {range:?} is the same"
                );
            }
        }
    }
}

/// Version of a key at the side that has so many.
fn own_version(key: u64, size: u64) -> Option<u64> {
    (key < size).then_some(1)
}

#[test]
fn what_is_the_same_costs_one_question_and_a_hundred_differences_few_bytes() {
    let own = things(0..100_000);
    let equal = things(0..100_000);
    let (ranges, cost) = compared(RangeComparison::of_all(&own, KEY), &own, &equal);
    assert_eq!((ranges, cost), (Vec::new(), Cost { questions: 1, bytes: 9 + 16 }));
    let mut other = equal;
    for number in 0..100 {
        other.put(Thing { key: split_mix(number) % 100_000, version: 2 });
    }
    let (ranges, cost) = compared(RangeComparison::of_all(&own, KEY), &own, &other);
    assert!((95..=100).contains(&ranges.len()), "{}", ranges.len());
    println!("100 of 100,000 differ: {cost:?}");
    // A third question fetches the records.
    assert!(cost.questions <= 2 && cost.bytes <= 100_000, "{cost:?}");
}

#[test]
fn an_empty_side_finds_everything_of_the_other() {
    let (own, other) = (RangeIndex::default(), things(0..3000));
    let (ranges, _) = compared(RangeComparison::of_all(&own, KEY), &own, &other);
    assert_eq!(keys(&ranges, &other).len(), 3000);
    let (ranges, _) = compared(RangeComparison::of_all(&other, KEY), &other, &own);
    assert_eq!(keys(&ranges, &other).len(), 3000);
}

#[test]
fn sums_under_another_key_are_never_the_same() {
    let own = things(0..100);
    let claims = RangeComparison::of_all(&own, b"another").next_claims(1);
    assert_eq!(answer(&own, KEY, &claims).unwrap().len(), 1);
}

#[test]
fn claims_and_answers_that_make_no_sense_are_refused() {
    let own = things(0..100);
    let claim = |fingerprints: usize| RangeClaim {
        range: RangePrefix::ALL,
        fingerprints: vec![RangeFingerprint::default(); fingerprints],
    };
    for count in [2, 15, 17, 255] {
        assert_eq!(answer(&own, KEY, &[claim(count)]), Err(ClaimError::Fingerprints(count)));
        let mut comparison = RangeComparison::of_all(&own, KEY);
        let split = RangeAnswer::Split {
            range: RangePrefix::ALL,
            fingerprints: vec![RangeFingerprint::default(); count],
        };
        assert_eq!(comparison.take_in(&own, vec![split.clone()]), Err(ClaimError::NotAsked));
        comparison.next_claims(1);
        assert_eq!(comparison.take_in(&own, vec![split]), Err(ClaimError::Fingerprints(count)));
    }
    // What is no answer about everything splits once.
    let mut comparison = RangeComparison::of_all(&own, KEY);
    comparison.next_claims(1);
    let fingerprints = vec![RangeFingerprint::default(); 16];
    comparison.take_in(&own, vec![RangeAnswer::Split { range: RangePrefix::ALL, fingerprints }]).unwrap();
    let third = comparison.next_claims(16).into_iter().find(|claim| claim.range.bits() >> 60 == 3);
    let fingerprints = vec![RangeFingerprint::default(); 256];
    let split = RangeAnswer::Split { range: third.unwrap().range, fingerprints };
    assert_eq!(comparison.take_in(&own, vec![split]), Err(ClaimError::Fingerprints(256)));
    // Each range is answered once.
    let mut comparison = RangeComparison::of_all(&own, KEY);
    comparison.next_claims(1);
    let listed = RangeAnswer::Listed { range: RangePrefix::ALL, digests: Vec::new() };
    assert_eq!(comparison.take_in(&own, vec![listed.clone()]), Ok(()));
    assert_eq!(comparison.take_in(&own, vec![listed]), Err(ClaimError::NotAsked));
    // So many would be split.
    let mut comparison = RangeComparison::of_all(&own, KEY);
    comparison.next_claims(1);
    let listed = RangeAnswer::Listed { range: RangePrefix::ALL, digests: vec![ShortDigest::default(); 65] };
    assert_eq!(comparison.take_in(&own, vec![listed]), Err(ClaimError::Listed(65)));
    let (third, fourth) = (RangePrefix::ALL.child(3).unwrap(), RangePrefix::ALL.child(4).unwrap());
    assert_eq!(check_disjoint([fourth, third, fourth.child(0).unwrap()]), Err(ClaimError::Overlap));
    assert_eq!(check_disjoint([third, third]), Err(ClaimError::Overlap));
    assert_eq!(check_disjoint([fourth.child(1).unwrap(), third, fourth.child(0).unwrap()]), Ok(()));
    // Nothing is within the range of a single hash.
    let deepest = RangePrefix::new(split_mix(7), DEPTH_MAX).unwrap();
    let within = RangeClaim { range: deepest, fingerprints: vec![RangeFingerprint::default(); FAN_OUT] };
    assert_eq!(answer(&own, KEY, &[within]), Err(ClaimError::SingleHash));
    assert_eq!(RangePrefix::new(1, 15), None);
    assert_eq!(RangePrefix::new(0, 17), None);
    assert_eq!(deepest.child(0), None);
}

#[test]
fn keys_of_one_hash_stay_together() {
    /// Thing whose key tells nothing of its place.
    #[derive(Debug, PartialEq)]
    struct Alike(u64);
    impl RangeItem for Alike {
        fn place(&self) -> u64 {
            7
        }
        fn digest(&self) -> RecordDigest {
            RecordDigest::of([&self.0.to_le_bytes()[..]])
        }
        fn has_key_of(&self, other: &Self) -> bool {
            self.0 == other.0
        }
    }
    let mut index: RangeIndex<Alike> = (0..100).map(Alike).collect();
    let own: RangeIndex<Alike> = (0..99).map(Alike).collect();
    let mut comparison = RangeComparison::of_all(&own, KEY);
    while let claims @ [_, ..] = comparison.next_claims(64).as_slice() {
        comparison.take_in(&own, answer(&index, KEY, claims).unwrap()).unwrap();
    }
    let found = comparison.into_found();
    assert!(found.len() == 1 && found[0].range.has(7), "{found:?}");
    for key in 0..100 {
        assert_eq!(index.take(&Alike(key)), Some(Alike(key)));
    }
    assert_eq!(index.sum(RangePrefix::ALL), DigestSum::default());
}
