use std::cell::Cell;

use omnirelay_wire::pb::omnirelay::mesh::control::v1::{Peer, PeerEvent, peer_event::Type};
use prost::Message as _;
use prost_reflect::DescriptorPool;

use super::*;

fn fields_of(message: &str) -> EventFields {
    let pool = DescriptorPool::decode(omnirelay_wire::descriptors::ENCODED).unwrap();
    EventFields::of(&pool.get_message_by_name(message).unwrap())
}

#[test]
fn cursor_and_type_are_read_off_the_wire() {
    let fields = fields_of("omnirelay.mesh.control.v1.PeerEvent");
    let event = |r#type: i32, cursor: &str| PeerEvent {
        r#type,
        cursor: cursor.to_owned(),
        prev_cursor: "1:6".to_owned(),
        peer: Some(Peer { node_id: "a".to_owned(), version: 9, ..Peer::default() }),
        ..PeerEvent::default()
    };
    let cases = [
        ("both", event(Type::Modified.into(), "1:7"), (Some("1:7"), Some("modified"))),
        ("no cursor inside a snapshot", event(Type::Snapshot.into(), ""), (None, Some("snapshot"))),
        ("no type", event(0, "1:7"), (Some("1:7"), None)),
        ("a type of a later version", event(99, "1:7"), (Some("1:7"), None)),
        ("a type below zero", event(-1, "1:7"), (Some("1:7"), None)),
    ];
    for (what, event, expected) in cases {
        assert_eq!(fields.read(&event.encode_to_vec()), expected, "{what}");
    }
    // Garbage is no reason to fail: it was the converter's to refuse.
    assert_eq!(fields.read(&[0xff; 20]), (None, None));
    let peer = fields_of("omnirelay.mesh.control.v1.Peer");
    let bytes = Peer { node_id: "a".to_owned(), ..Peer::default() }.encode_to_vec();
    assert_eq!(peer.read(&bytes), (None, None), "a message without either");
}

#[test]
fn a_frame_has_what_there_is_and_no_id_can_break_it() {
    let cases = [
        // id, event, JSON, frame
        (Some("1:7"), Some("added"), Some("{}"), "id: 1:7\nevent: added\ndata: {}\n\n"),
        (Some("1:7"), None, Some("{}"), "id: 1:7\ndata: {}\n\n"),
        (None, None, Some("{}"), "data: {}\n\n"),
        (Some("1\ndata: forged"), Some("added"), Some("{}"), "event: added\ndata: {}\n\n"),
        (Some("1:7"), None, None, "id: 1:7\n\n"),
        (Some("1:7"), Some("progress"), None, "id: 1:7\nevent: progress\n\n"),
        (None, Some("progress"), None, ""),
        (Some("1\ndata: forged"), None, None, ""),
        (None, None, None, ""),
    ];
    for (id, event, json, expected) in cases {
        let frame = event_frame(id, event, json.map(str::as_bytes));
        assert_eq!(std::str::from_utf8(&frame).unwrap(), expected, "{id:?} {event:?} {json:?}");
    }
}

#[test]
fn one_change_is_encoded_once_for_all_its_watchers() {
    let recent = EventFrameCache::default();
    let encoded = Cell::new(0);
    let send = |message: &[u8]| {
        let frame = recent.get_or_encode(message, || {
            encoded.set(encoded.get() + 1);
            Ok(Bytes::copy_from_slice(message))
        });
        assert_eq!(frame.unwrap(), message);
    };
    for _ in 0..1000 {
        send(b"the change");
    }
    assert_eq!(encoded.get(), 1);
    // More messages than places: each is still its own.
    for round in 0..2_u32 {
        for number in 0..4 * RECENT_SLOTS as u32 {
            send(&number.to_le_bytes());
        }
        assert!(encoded.get() > round * RECENT_SLOTS as u32);
    }
    encoded.set(0);
    let large = vec![7; RECENT_BYTES_MAX + 1];
    send(&large);
    send(&large);
    assert_eq!(encoded.get(), 2, "large messages are not kept");
}
