//! Messages of an agent on a stream: the first says which shape the stream has, all others are read by it.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use omnirelay_wire::raw::RawMessage;
use omnirelay_wire::telemetry::{StreamShape, shape_of};

fuzz_target!(|messages: Vec<Vec<u8>>| {
    for begins_as in [StreamShape::Legacy, StreamShape::Envelope] {
        let mut shape = None;
        for message in messages.iter().take(16) {
            let message = RawMessage(Bytes::copy_from_slice(message));
            let of_stream = match shape {
                Some(shape) => shape,
                None => match shape_of(&message, begins_as) {
                    Ok(found) => *shape.insert(found),
                    Err(_) => break,
                },
            };
            // Nothing on the stream is read after a message that is garbled.
            if of_stream.read(&message).is_err() {
                break;
            }
        }
    }
});
