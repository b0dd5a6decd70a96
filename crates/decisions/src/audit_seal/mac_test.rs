//! Whatever is done to a record, its MAC is no longer that of its node.

use omnirelay_wire::pb::omnirelay::store::v1::AuditValue;
use proptest::prelude::*;
use prost::Message as _;

use super::StoredRecord;
use super::mac::{MAC_BYTES, MacKey};

const KEY: &str = "01a2b3c4d5e6f-0000000000000001";

fn value() -> AuditValue {
    let changes = vec!["cordoned: false -> true".to_owned()];
    let (actor, node_id) = ("alice".to_owned(), "a".to_owned());
    AuditValue { actor, action: "peers.cordon".to_owned(), node_id, changes, ..AuditValue::default() }
}

fn stored<'a>(key: &'a str, value: &'a [u8], version: u64) -> StoredRecord<'a> {
    StoredRecord { key, value, version, revision: 7, created_at_ms: 1, updated_at_ms: 1, writer: "a" }
}

#[test]
fn a_record_is_its_nodes_only_as_the_node_made_it() {
    let (own, other) = (MacKey::derive(b"own"), MacKey::derive(b"other"));
    let marked = own.mark(KEY, value());
    let with = |mac: Vec<u8>| AuditValue { mac, ..value() }.encode_to_vec();
    let mac = AuditValue::decode(marked.as_slice()).unwrap().mac;
    assert_eq!((mac.len(), marked.clone()), (MAC_BYTES, with(mac.clone())), "it is an ordinary value");
    let cases: [(&str, &str, Vec<u8>, u64, bool); 11] = [
        ("as it was made", KEY, marked.clone(), 1, true),
        ("under another key", "01a2b3c4d5e6f-0000000000000002", marked.clone(), 1, false),
        ("written again", KEY, marked.clone(), 2, false),
        ("without a MAC", KEY, with(Vec::new()), 1, false),
        ("by another node", KEY, other.mark(KEY, value()), 1, false),
        ("a MAC cut short", KEY, with(mac[..MAC_BYTES - 1].to_vec()), 1, false),
        ("a MAC of one byte", KEY, with(mac[..1].to_vec()), 1, false),
        ("a MAC with more behind it", KEY, with([mac.as_slice(), &[0]].concat()), 1, false),
        ("an unknown field behind the MAC", KEY, [marked.as_slice(), b"\xfa\x3f\x01x"].concat(), 1, false),
        ("the MAC twice", KEY, [marked.as_slice(), &marked[marked.len() - 19..]].concat(), 1, false),
        ("no record", KEY, b"\xff\xff".to_vec(), 1, false),
    ];
    for (what, key, value, version, expected) in cases {
        assert_eq!(own.made(&stored(key, &value, version)), expected, "{what}");
    }
}

#[test]
fn the_key_of_a_secret_is_always_the_same() {
    let marked = MacKey::derive(b"own").mark(KEY, value());
    assert!(MacKey::derive(b"own").made(&stored(KEY, &marked, 1)), "after a restart");
    let again = MacKey::derive(b"own").mark(KEY, AuditValue::decode(marked.as_slice()).unwrap());
    assert_eq!(again, marked, "what is marked twice is marked once");
}

#[test]
fn a_key_does_not_show_itself() {
    assert_eq!(format!("{:?}", MacKey::derive(b"own")), "MacKey");
}

proptest! {
    #[test]
    fn any_changed_byte_is_noticed(at in any::<prop::sample::Index>(), by in 1..=255_u8, in_key: bool) {
        let own = MacKey::derive(b"own");
        let (mut key, mut value) = (KEY.as_bytes().to_vec(), own.mark(KEY, value()));
        let part = if in_key { &mut key } else { &mut value };
        let at = at.index(part.len());
        part[at] ^= if in_key { by & 0x7f | 1 } else { by };
        let Ok(key) = String::from_utf8(key) else { return Ok(()) };
        prop_assert!(!own.made(&stored(&key, &value, 1)));
    }
}
