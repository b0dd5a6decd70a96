//! Chains as a table and with random tampering: whatever is done to a sealed trail is found and named.

use omnirelay_wire::pb::omnirelay::store::v1::AuditValue;
use proptest::prelude::*;
use prost::Message as _;
use ring::signature::KeyPair as _;

use super::check::{ChainCheck, KnownChain, SealFinding, Wrong, check_key};
use super::trail::{FINDINGS_MAX, HeldTrail, added, keep, told};
use super::*;

/// A record as a store keeps it.
#[derive(Clone, Debug, PartialEq)]
struct Record {
    key: String,
    value: Vec<u8>,
    version: u64,
    revision: u64,
    created_at_ms: u64,
    updated_at_ms: u64,
    writer: String,
}

impl Record {
    fn new(node: &str, revision: u64) -> Self {
        let value =
            AuditValue { node_id: node.to_owned(), reason: format!("r{revision}"), ..Default::default() };
        Self {
            key: format!("{:013x}-{revision:016x}", 1000 + revision),
            value: value.encode_to_vec(),
            version: 1,
            revision,
            created_at_ms: 1000 + revision,
            updated_at_ms: 1000 + revision,
            writer: node.to_owned(),
        }
    }

    fn stored(&self) -> StoredRecord<'_> {
        StoredRecord {
            key: &self.key,
            value: &self.value,
            version: self.version,
            revision: self.revision,
            created_at_ms: self.created_at_ms,
            updated_at_ms: self.updated_at_ms,
            writer: &self.writer,
        }
    }

    fn node(&self) -> Option<String> {
        AuditValue::decode(self.value.as_slice()).ok().map(|value| value.node_id)
    }
}

fn pair(seed: u8) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap()
}

/// A node that seals, and what is in the store.
struct Node {
    id: &'static str,
    key: Ed25519KeyPair,
    head: Option<SealHead>,
    oldest_kept: u64,
    epoch: u64,
}

#[derive(Clone, Default)]
struct Store {
    /// From when on it is verified.
    since_ms: u64,
    seals: BTreeMapOf,
    records: std::collections::BTreeMap<String, Record>,
}

type BTreeMapOf = std::collections::BTreeMap<String, Vec<u8>>;

impl Node {
    fn new(id: &'static str, seed: u8) -> Self {
        Self { id, key: pair(seed), head: None, oldest_kept: 1, epoch: 1 }
    }

    fn chain(&self) -> ChainId {
        ChainId::of(self.id, self.key.public_key().as_ref())
    }

    fn draft(&self, records: &[Record]) -> AuditSeal {
        let through = records.last().map_or(self.head.map_or(0, |head| head.through), |last| last.revision);
        AuditSeal {
            node_id: self.id.to_owned(),
            public_key: self.key.public_key().as_ref().to_vec(),
            sequence: self.head.map_or(0, |head| head.sequence) + 1,
            previous: self.head.map(|head| head.hash.0.to_vec()).unwrap_or_default(),
            epoch: self.epoch,
            through,
            sealed_at_ms: 5000,
            oldest_kept: self.oldest_kept,
            leaves: records.iter().map(|record| leaf(&record.stored())).collect(),
            missing: Vec::new(),
            unknown_fields: Default::default(),
        }
    }

    fn seal(&mut self, store: &mut Store, records: &[Record]) {
        let seal = self.draft(records);
        self.seal_as(store, &seal);
        store.records.extend(records.iter().map(|record| (record.key.clone(), record.clone())));
    }

    fn seal_as(&mut self, store: &mut Store, seal: &AuditSeal) {
        let value = sign(&self.key, seal);
        self.head =
            Some(SealHead { sequence: seal.sequence, hash: seal_hash(&value.body), through: seal.through });
        store.seals.insert(self.chain().key(seal.sequence), value.encode_to_vec());
    }

    fn remembered(&self) -> Option<(u64, Digest256)> {
        self.head.map(|head| (head.sequence, head.hash))
    }
}

/// Verifies a store that is known to have the chains of these nodes.
fn verify(store: &Store, nodes: &[&Node]) -> (Vec<SealFinding>, u64) {
    let mut trail = HeldTrail { complete: true, ..HeldTrail::default() };
    let mut chains: std::collections::BTreeMap<ChainId, Vec<&String>> =
        nodes.iter().map(|node| (node.chain(), Vec::new())).collect();
    for key in store.seals.keys() {
        let (chain, _) = ChainId::parse(key).unwrap();
        chains.entry(chain).or_default().push(key);
    }
    for (chain, keys) in chains {
        let node = nodes.iter().find(|node| node.id == chain.node_id);
        let seen: Vec<String> = node.iter().map(|node| node.chain().fingerprint).collect();
        if let Err(finding) = check_key(&chain, None, &seen) {
            trail.findings.push(*finding);
            continue;
        }
        let newest = keys.last().and_then(|key| open(&store.seals[*key]).ok());
        let known = KnownChain {
            oldest_kept: newest.map_or(1, |opened| opened.seal.oldest_kept),
            remembered: node.and_then(|node| node.remembered()),
            since_ms: store.since_ms,
        };
        let mut check = ChainCheck::new(chain, known);
        for key in keys {
            trail.seal(&mut check, key, &store.seals[key]);
        }
        trail.close(&check);
        trail.findings.extend(check.end());
    }
    for record in store.records.values() {
        trail.record(record.node().as_deref(), &record.stored());
    }
    let (verdict, _) = trail.end();
    (verdict.findings, verdict.counts.values().map(|count| count.unsealed).sum())
}

/// Two nodes with three seals each, and a record that is not sealed yet.
fn sealed() -> (Store, Node, Node) {
    let (mut a, mut b) = (Node::new("a", 1), Node::new("b", 2));
    let mut store = Store::default();
    for round in 0..3 {
        let of = |node, from: u64| (0..4).map(|n| Record::new(node, from + 2 * n)).collect::<Vec<_>>();
        a.seal(&mut store, &of("a", round * 8 + 2));
        b.seal(&mut store, &of("b", round * 8 + 1));
    }
    let unsealed = Record::new("a", 100);
    store.records.insert(unsealed.key.clone(), unsealed);
    (store, a, b)
}

fn key_of(store: &Store, revision: u64) -> String {
    store.records.values().find(|record| record.revision == revision).unwrap().key.clone()
}

#[test]
fn a_sound_trail_has_no_findings_and_unsealed_records_are_counted() {
    let (store, a, b) = sealed();
    assert_eq!(verify(&store, &[&a, &b]), (Vec::new(), 1));
}

/// Case of a test: its name, the change, what is found, and where.
type Case = (&'static str, fn(&mut Store, &mut Node), Wrong, &'static str);

#[test]
fn each_kind_of_tampering_with_records_is_found_and_named() {
    let cases: [Case; 6] = [
        ("a changed record", |s, _| change(s, 10, |r| r.value[3] ^= 1), Wrong::Changed, "record"),
        ("a changed version", |s, _| change(s, 10, |r| r.version = 2), Wrong::Changed, "record"),
        ("a changed writer", |s, _| change(s, 10, |r| r.writer.push('x')), Wrong::Changed, "record"),
        ("a removed record", |s, _| drop(s.records.remove(&key_of(s, 10))), Wrong::Missing, "record"),
        (
            "the newest sealed record removed",
            |s, _| drop(s.records.remove(&key_of(s, 24))),
            Wrong::Missing,
            "record",
        ),
        (
            "a record too many",
            |s, _| {
                let record = Record { key: "zz".to_owned(), ..Record::new("a", 11) };
                s.records.insert(record.key.clone(), record);
            },
            Wrong::Added,
            "record",
        ),
    ];
    check_cases(&cases);
}

fn seal_key(node: &Node, sequence: u64) -> String {
    node.chain().key(sequence)
}

#[test]
fn each_kind_of_tampering_with_seals_is_found_and_named() {
    let cases: [Case; 7] = [
        ("a seal removed", |s, a| drop(s.seals.remove(&seal_key(a, 2))), Wrong::Missing, "/2"),
        ("the oldest seal removed", |s, a| drop(s.seals.remove(&seal_key(a, 1))), Wrong::Missing, "/1"),
        ("the newest seal removed", |s, a| drop(s.seals.remove(&seal_key(a, 3))), Wrong::Truncated, "/3"),
        (
            "an old seal in the place of the newest",
            |s, a| {
                let old = s.seals[&seal_key(a, 2)].clone();
                s.seals.insert(seal_key(a, 3), old);
            },
            Wrong::Reordered,
            "/3",
        ),
        (
            "a changed seal",
            |s, a| {
                let value = s.seals.get_mut(&seal_key(a, 2)).unwrap();
                let last = value.len() - 1;
                value[last] ^= 1;
            },
            Wrong::BadSignature,
            "/2",
        ),
        (
            "a forged chain under a key of its own",
            |s, _| {
                let mut forger = Node::new("a", 9);
                forger.seal(s, &[Record::new("a", 50)]);
            },
            Wrong::UnknownKey,
            "",
        ),
        (
            "a forged seal under the key of the node",
            |s, a| {
                let mut seal = a.draft(&[Record::new("a", 50)]);
                seal.public_key = pair(9).public_key().as_ref().to_vec();
                s.seals.insert(seal_key(a, 4), sign(&pair(9), &seal).encode_to_vec());
            },
            Wrong::BadSignature,
            "/4",
        ),
    ];
    check_cases(&cases);
}

fn check_cases(cases: &[Case]) {
    for &(what, tamper, wrong, place) in cases {
        let (mut store, mut a, b) = sealed();
        tamper(&mut store, &mut a);
        let (findings, _) = verify(&store, &[&a, &b]);
        let first = findings.first().unwrap_or_else(|| panic!("{what}: nothing found"));
        assert_eq!((first.wrong(), first.node_id.as_str()), (wrong, "a"), "{what}: {findings:?}");
        match place {
            "record" => assert!(!first.record_id.is_empty(), "{what}: {first:?}"),
            place => assert!(first.seal.ends_with(place), "{what}: {first:?}"),
        }
    }
}

fn change(store: &mut Store, revision: u64, how: impl Fn(&mut Record)) {
    let key = key_of(store, revision);
    how(store.records.get_mut(&key).unwrap());
}

#[test]
fn a_pruned_beginning_is_no_truncation_and_a_truncation_no_pruning() {
    let (mut store, mut a, b) = sealed();
    a.oldest_kept = 3;
    a.seal(&mut store, &[]);
    assert_eq!(verify(&store, &[&a, &b]).0, Vec::new(), "what may go is still there");
    let gone: Vec<String> = store
        .records
        .values()
        .filter(|r| r.writer == "a" && r.revision < 17)
        .map(|r| r.key.clone())
        .collect();
    gone.iter().for_each(|key| drop(store.records.remove(key)));
    assert_eq!(verify(&store, &[&a, &b]).0, Vec::new(), "half of it is gone");
    for sequence in [1, 2] {
        store.seals.remove(&a.chain().key(sequence));
    }
    assert_eq!(verify(&store, &[&a, &b]).0, Vec::new(), "all of it is gone");
    store.seals.remove(&a.chain().key(3));
    assert_eq!(verify(&store, &[&a, &b]).0[0].wrong(), Wrong::Missing, "more than that is gone");
}

#[test]
fn a_record_that_its_node_sealed_as_not_its_own_is_told_of_as_long_as_its_seal_is_kept() {
    type Then = fn(&mut Store, &mut Node);
    let cases: [(&str, Then, &[Wrong]); 5] = [
        ("it is there", |_, _| {}, &[Wrong::Foreign]),
        (
            "it was taken away again",
            |s, _| drop(s.records.remove(&key_of(s, 50))),
            &[Wrong::Foreign, Wrong::Missing],
        ),
        ("it was changed", |s, _| change(s, 50, |r| r.version = 2), &[Wrong::Foreign, Wrong::Changed]),
        ("it is of before what is asked for", |s, _| s.since_ms = 5001, &[]),
        (
            "its seal is old enough to go",
            |s, a| {
                a.oldest_kept = 5;
                a.seal(s, &[]);
            },
            &[],
        ),
    ];
    for (what, then, expected) in cases {
        let (mut store, mut a, b) = sealed();
        store.records.retain(|_, record| record.revision != 100);
        let forged = Record::new("a", 50);
        let mut seal = a.draft(std::slice::from_ref(&forged));
        seal.leaves[0].foreign = true;
        a.seal_as(&mut store, &seal);
        store.records.insert(forged.key.clone(), forged.clone());
        then(&mut store, &mut a);
        let (findings, _) = verify(&store, &[&a, &b]);
        let wrong: Vec<Wrong> = findings.iter().map(SealFinding::wrong).collect();
        assert_eq!(wrong, expected, "{what}: {findings:?}");
        assert!(findings.iter().all(|finding| finding.record_id == forged.key), "{what}: {findings:?}");
    }
}

#[test]
fn a_record_that_was_gone_before_it_could_be_sealed_is_told_of() {
    for (since_ms, expected) in [(0, 1), (5001, 0)] {
        let (mut store, mut a, b) = sealed();
        let seal = AuditSeal { missing: vec!["gone".to_owned()], ..a.draft(&[]) };
        a.seal_as(&mut store, &seal);
        store.since_ms = since_ms;
        let (findings, _) = verify(&store, &[&a, &b]);
        let told = findings.iter().filter(|one| one.wrong() == Wrong::Missing && one.record_id == "gone");
        assert_eq!((told.count(), findings.len()), (expected, expected), "{findings:?}");
    }
}

#[test]
fn what_was_lost_before_the_time_asked_for_is_no_finding() {
    // All seals are of 5000.
    for (since_ms, expected) in [(0, 1), (5000, 1), (5001, 0)] {
        let (mut store, a, b) = sealed();
        store.seals.remove(&a.chain().key(2));
        store.since_ms = since_ms;
        let (findings, _) = verify(&store, &[&a, &b]);
        let gaps = findings.iter().filter(|finding| finding.record_id.is_empty()).count();
        assert_eq!(gaps, expected, "since {since_ms}: {findings:?}");
    }
}

#[test]
fn revisions_may_begin_anew_with_an_epoch_and_not_otherwise() {
    for (epoch, expected) in [(2, None), (1, Some(Wrong::Reordered)), (0, Some(Wrong::Reordered))] {
        let (mut store, mut a, b) = sealed();
        a.epoch = epoch;
        let again = Record { key: "anew".to_owned(), ..Record::new("a", 3) };
        a.seal(&mut store, &[again]);
        let (findings, _) = verify(&store, &[&a, &b]);
        assert_eq!(findings.first().map(SealFinding::wrong), expected, "epoch {epoch}: {findings:?}");
    }
}

#[test]
fn a_key_is_known_by_what_was_seen_first() {
    let chain = Node::new("a", 1).chain();
    let (own, other) = (chain.fingerprint.clone(), "0".repeat(32));
    let cases: [(&str, Option<&str>, &[String], bool); 6] = [
        ("published", Some(&own), &[], true),
        ("another is published", Some(&other), &[], false),
        ("nothing is known", None, &[], false),
        ("seen", None, std::slice::from_ref(&own), true),
        ("seen, and another is published", Some(&other), std::slice::from_ref(&own), true),
        ("published, but another was seen", Some(&own), std::slice::from_ref(&other), false),
    ];
    for (what, published, seen, sound) in cases {
        assert_eq!(check_key(&chain, published, seen).is_ok(), sound, "{what}");
    }
}

#[test]
fn records_of_one_revision_are_sealed_together() {
    let leaves = |revisions: &[u64]| -> Vec<AuditLeaf> {
        revisions.iter().map(|revision| AuditLeaf { revision: *revision, ..Default::default() }).collect()
    };
    let cases: [(&str, &[u64], usize, usize); 5] = [
        ("nothing", &[], 3, 0),
        ("as many as may be", &[1, 2, 3], 3, 3),
        ("one more", &[1, 2, 3, 4], 3, 3),
        ("the last two belong together", &[1, 2, 3, 3], 3, 2),
        ("too many of one", &[1, 1, 1, 1, 2], 3, 4),
    ];
    for (what, revisions, max, expected) in cases {
        assert_eq!(batch(&leaves(revisions), max), expected, "{what}");
    }
}

#[test]
fn keys_of_seals_read_back_and_sort() {
    let chain = Node::new("a.b-c", 1).chain();
    assert_eq!(ChainId::parse(&chain.key(7)), Some((chain.clone(), 7)));
    assert!(chain.key(9) < chain.key(10));
    for key in ["", "a/b", "a/b/x", "a/b/7", "a/b/+0000000000000000007"] {
        assert_eq!(ChainId::parse(key), None, "{key}");
    }
    let hash = seal_hash(b"x");
    assert_eq!(Digest256::from_hex(&hash.to_string()), Some(hash));
    assert_eq!(Digest256::from_hex(&"+f".repeat(32)), None);
}

/// Tampering with a store behind the daemons' backs.
#[derive(Clone, Debug)]
enum Tamper {
    FlipValue(usize, usize, u8),
    Field(usize, u8),
    DropRecord(usize),
    SwapRecords(usize, usize),
    AddRecord(u64),
    FlipSeal(usize, usize, u8),
    DropSeal(usize),
    SwapSeals(usize, usize),
    ReplaySeal(usize, usize),
    Forge(u8),
}

fn tampers() -> impl Strategy<Value = Tamper> {
    let at = || any::<usize>();
    prop_oneof![
        (at(), at(), 1..=255_u8).prop_map(|(r, b, x)| Tamper::FlipValue(r, b, x)),
        (at(), 0..5_u8).prop_map(|(r, f)| Tamper::Field(r, f)),
        at().prop_map(Tamper::DropRecord),
        (at(), at()).prop_map(|(a, b)| Tamper::SwapRecords(a, b)),
        (1..24_u64).prop_map(Tamper::AddRecord),
        (at(), at(), 1..=255_u8).prop_map(|(s, b, x)| Tamper::FlipSeal(s, b, x)),
        at().prop_map(Tamper::DropSeal),
        (at(), at()).prop_map(|(a, b)| Tamper::SwapSeals(a, b)),
        (at(), at()).prop_map(|(a, b)| Tamper::ReplaySeal(a, b)),
        (3..250_u8).prop_map(Tamper::Forge),
    ]
}

/// Carries it out; false when it comes to nothing.
fn apply(tamper: &Tamper, store: &mut Store) -> bool {
    let before = store.clone();
    // The record that is not sealed is nobody's to protect.
    let records: Vec<String> =
        store.records.values().filter(|r| r.revision < 100).map(|r| r.key.clone()).collect();
    let seals: Vec<String> = store.seals.keys().cloned().collect();
    let record = |at: &usize| records[at % records.len()].clone();
    let seal = |at: &usize| seals[at % seals.len()].clone();
    match tamper {
        Tamper::FlipValue(r, byte, bits) => {
            let value = &mut store.records.get_mut(&record(r)).unwrap().value;
            let at = byte % value.len();
            value[at] ^= bits;
        }
        Tamper::Field(r, field) => {
            let key = record(r);
            let record = store.records.get_mut(&key).unwrap();
            match field {
                0 => record.version += 1,
                1 => record.revision += 1000,
                2 => record.created_at_ms += 1,
                3 => record.updated_at_ms += 1,
                _ => record.writer.push('x'),
            }
        }
        Tamper::DropRecord(r) => drop(store.records.remove(&record(r))),
        Tamper::SwapRecords(a, b) => {
            let (a, b) = (record(a), record(b));
            let (mut first, mut second) = (store.records[&a].clone(), store.records[&b].clone());
            std::mem::swap(&mut first.value, &mut second.value);
            store.records.insert(a, first);
            store.records.insert(b, second);
        }
        Tamper::AddRecord(revision) => {
            let record = Record { key: format!("zz{revision}"), ..Record::new("a", *revision) };
            store.records.insert(record.key.clone(), record);
        }
        Tamper::FlipSeal(s, byte, bits) => {
            let value = store.seals.get_mut(&seal(s)).unwrap();
            let at = byte % value.len();
            value[at] ^= bits;
        }
        Tamper::DropSeal(s) => drop(store.seals.remove(&seal(s))),
        Tamper::SwapSeals(a, b) => {
            let (a, b) = (seal(a), seal(b));
            let (first, second) = (store.seals[&a].clone(), store.seals[&b].clone());
            store.seals.insert(a, second);
            store.seals.insert(b, first);
        }
        Tamper::ReplaySeal(from, to) => {
            let value = store.seals[&seal(from)].clone();
            store.seals.insert(seal(to), value);
        }
        Tamper::Forge(seed) => Node::new("a", *seed).seal(store, &[Record::new("a", 200)]),
    }
    store.seals != before.seals || store.records != before.records
}

proptest! {
    #[test]
    fn whatever_is_done_to_a_sealed_trail_is_found(tamper in tampers()) {
        let (mut store, a, b) = sealed();
        prop_assume!(apply(&tamper, &mut store));
        let (findings, _) = verify(&store, &[&a, &b]);
        prop_assert!(!findings.is_empty(), "{tamper:?}");
        let named = findings.iter().all(|one| !one.record_id.is_empty() || !one.seal.is_empty());
        prop_assert!(named, "{findings:?}");
    }
}

#[test]
fn many_findings_of_one_node_do_not_hide_those_of_others() {
    let mut findings = Vec::new();
    for number in 0..2 * FINDINGS_MAX {
        keep(&mut findings, added("a", &number.to_string()));
    }
    for number in 0..3 {
        keep(&mut findings, added("b", &number.to_string()));
    }
    keep(&mut findings, added("c", "0"));
    let told = told(findings);
    let first: Vec<_> =
        told.iter().take(4).map(|one| (one.node_id.as_str(), one.record_id.as_str())).collect();
    assert_eq!(first, [("a", "0"), ("b", "0"), ("c", "0"), ("a", "1")]);
    assert_eq!(told.len(), FINDINGS_MAX);
}
