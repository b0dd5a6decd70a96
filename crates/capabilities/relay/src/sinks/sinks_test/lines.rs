//! Lines of JSON: what one holds.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::envelope::SinkBatch;
use super::*;

fn lines(batch: FrameBatch) -> Vec<String> {
    let item = SinkBatch::new(Arc::new(batch));
    item.lines().each().map(|line| String::from_utf8(line.to_vec()).unwrap()).collect()
}

#[test]
fn a_line_has_the_fields_of_the_contract_in_their_order() {
    let message = TelemetryFrame {
        seq: 7,
        device_timestamp_sec: 1.5,
        msg_id: 33,
        msg_name: "GLOBAL_POSITION_INT".to_owned(),
        fields: [("alt".to_owned(), "12".to_owned()), ("lat".to_owned(), "\"4\"".to_owned())].into(),
        ..TelemetryFrame::default()
    };
    let raw = Bytes::from_static(b"\xff\x00?>");
    let frames = vec![Frame { message, raw }, frame(TelemetryFrame::default())];
    let lines =
        lines(FrameBatch { agent_id: "drone-1".into(), received_unix_ns: 1_700_000_000_000_000_001, frames });
    assert_eq!(
        lines[0],
        r#"{"agent_id":"drone-1","source":"","timestamp_relay":"2023-11-14T22:13:20.000000001Z","timestamp_device":1.5,"msg_id":33,"msg_name":"GLOBAL_POSITION_INT","system_id":0,"component_id":0,"sequence":7,"fields":{"alt":"12","lat":"\"4\""},"raw":"/wA/Pg=="}"#
    );
    assert!(
        lines[1].contains(r#""timestamp_device":0.0,"#) && lines[1].ends_with(r#""fields":{},"raw":""}"#)
    );
}

#[test]
fn the_text_is_the_lines_with_their_breaks() {
    let item = item("a", 1..4);
    let joined: Vec<u8> = item.lines().each().flat_map(|line| [line, b"\n"].concat()).collect();
    assert_eq!(joined, item.lines().text);
    assert_eq!(item.lines().each().count(), 3);
}

proptest! {
    /// Whatever a frame holds, a reader of JSON gets it back, and a line is one line.
    #[test]
    fn what_went_in_comes_out(
        agent in any::<String>(),
        seq in any::<u64>(),
        device in any::<f64>(),
        msg_id in any::<u32>(),
        msg_name in any::<String>(),
        fields in proptest::collection::btree_map(any::<String>(), any::<String>(), 0..4),
        raw in proptest::collection::vec(any::<u8>(), 0..80),
        received in 0..i64::MAX,
    ) {
        let message = TelemetryFrame {
            seq, device_timestamp_sec: device, msg_id, msg_name: msg_name.clone(), fields: fields.clone(),
            ..TelemetryFrame::default()
        };
        let frames = vec![Frame { message, raw: raw.clone().into() }];
        let lines = lines(FrameBatch { agent_id: agent.as_str().into(), received_unix_ns: received, frames });
        prop_assert!(!lines[0].contains('\n'));
        let mut read: Value = serde_json::from_str(&lines[0]).unwrap();
        let at = read["timestamp_relay"].take();
        let at = chrono::DateTime::parse_from_rfc3339(at.as_str().unwrap()).unwrap();
        prop_assert_eq!(at.timestamp_nanos_opt(), Some(received));
        prop_assert_eq!(STANDARD.decode(read["raw"].take().as_str().unwrap()).unwrap(), raw);
        // Read by itself: the reader of JSON that is built in is off by one in the last place.
        let (_, device_text) = lines[0].split_once(r#""timestamp_device":"#).unwrap();
        let told: f64 = device_text.split(',').next().unwrap().parse().unwrap();
        read["timestamp_device"].take();
        prop_assert_eq!(told, if device.is_finite() { device } else { 0.0 });
        prop_assert_eq!(read, json!({
            "agent_id": agent, "source": "", "timestamp_relay": null, "timestamp_device": null, "msg_id": msg_id,
            "msg_name": msg_name, "system_id": 0, "component_id": 0, "sequence": seq, "fields": fields, "raw": null,
        }));
    }
}
