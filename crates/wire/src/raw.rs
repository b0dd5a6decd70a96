//! A message as it is on the wire, for streams whose messages may be of more than one shape.

use bytes::{Buf, BufMut, Bytes};
use prost::encoding::{DecodeContext, WireType};
use prost::{DecodeError, Message};

/// The bytes of a message, neither checked nor changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RawMessage(pub Bytes);

impl Message for RawMessage {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        buf.put_slice(&self.0);
    }

    fn encoded_len(&self) -> usize {
        self.0.len()
    }

    fn clear(&mut self) {
        self.0.clear();
    }

    fn decode(mut buf: impl Buf) -> Result<Self, DecodeError> {
        Ok(Self(buf.copy_to_bytes(buf.remaining())))
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), DecodeError> {
        // Only reached inside another message, where nothing of ours has one of these.
        prost::encoding::skip_field(wire_type, tag, buf, context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_and_go_as_they_are() {
        for bytes in [&b""[..], b"\x0a\x03abc", b"no message at all \xff"] {
            let raw = RawMessage::decode(bytes).unwrap();
            assert_eq!(raw.encode_to_vec(), bytes);
            assert_eq!(raw.encoded_len(), bytes.len());
        }
    }
}
