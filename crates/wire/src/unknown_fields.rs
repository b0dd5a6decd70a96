//! Unknown fields of a message: what a later version has put into it, kept through decoding, changing and encoding.

use bytes::{Buf, BufMut, Bytes};
use prost::DecodeError;
use prost::encoding::{DecodeContext, WireType, encode_key, skip_field};

/// The fields of a message that have no name in this version, with their keys, in the order in which they came.
///
/// A generated message that is stored has one of these. It counts in `encoded_len`, and so in every limit on the bytes
/// of a value. JSON does not show it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
// Two words less in each message that has none, which are nearly all.
#[expect(clippy::box_collection, reason = "it stands in every stored message, and is empty in nearly all")]
pub struct UnknownFields(Option<Box<Vec<u8>>>);

impl UnknownFields {
    /// Those of a message that this version makes.
    pub const NONE: Self = Self(None);

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Keys and values as they stand in the message.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_deref().map_or(&[], Vec::as_slice)
    }

    /// Reads one field, whose key was read.
    ///
    /// # Errors
    /// When what follows is no value of this type; what was kept is as before.
    pub fn merge(
        &mut self,
        number: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), DecodeError> {
        let mut kept = self.0.take().map_or_else(Vec::new, |kept| *kept);
        let before = kept.len();
        encode_key(number, wire_type, &mut kept);
        let read = skip_field(wire_type, number, &mut CopyingBuffer { from: buf, to: &mut kept }, context);
        if read.is_err() {
            kept.truncate(before);
        }
        self.0 = (!kept.is_empty()).then(|| Box::new(kept));
        read
    }

    /// Writes all of them.
    pub fn encode(&self, buf: &mut impl BufMut) {
        buf.put_slice(self.as_bytes());
    }

    /// Number of bytes that the unknown fields take.
    pub fn encoded_len(&self) -> usize {
        self.as_bytes().len()
    }
}

impl From<Vec<u8>> for UnknownFields {
    /// Of [`Self::as_bytes`] of others.
    fn from(encoded: Vec<u8>) -> Self {
        Self((!encoded.is_empty()).then(|| Box::new(encoded)))
    }
}

/// A buffer that copies what is read from it.
struct CopyingBuffer<'b, B> {
    from: &'b mut B,
    to: &'b mut Vec<u8>,
}

impl<B: Buf> Buf for CopyingBuffer<'_, B> {
    fn remaining(&self) -> usize {
        self.from.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.from.chunk()
    }

    fn advance(&mut self, count: usize) {
        let mut left = count;
        while left > 0 {
            let chunk = self.from.chunk();
            let part = chunk.len().min(left);
            self.to.extend_from_slice(&chunk[..part]);
            self.from.advance(part);
            left -= part;
        }
    }

    fn copy_to_bytes(&mut self, count: usize) -> Bytes {
        let copied = self.from.copy_to_bytes(count);
        self.to.extend_from_slice(&copied);
        copied
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;
    use crate::pb::omnirelay::mesh::control::v1::{LeadershipPolicy, LeadershipPreference, NodeFilter};

    /// A value with a field of each wire type that has no name here, in itself and in what is in it.
    fn later() -> Vec<u8> {
        let unknown = b"\xc0\x3e\x96\x01\xc1\x3e12345678\xc2\x3e\x03abc\xc5\x3e1234\xc3\x3e\x08\x01\xc4\x3e";
        let with = |message: Vec<u8>| [message.as_slice(), unknown].concat();
        let nested = |key: u8, message: Vec<u8>| {
            let length = u8::try_from(message.len()).unwrap();
            [&[key, length], message.as_slice()].concat()
        };
        let filter =
            with(NodeFilter { roles: vec!["control".to_owned()], ..NodeFilter::default() }.encode_to_vec());
        let prefer = with([nested(0x0a, filter.clone()), vec![0x10, 3]].concat());
        with([nested(0x0a, filter), nested(0x12, prefer)].concat())
    }

    #[test]
    fn fields_of_every_wire_type_are_kept_at_every_level() {
        let read = LeadershipPolicy::decode(later().as_slice()).unwrap();
        assert_eq!(read.prefer[0].priority, 3);
        assert!(!read.prefer[0].nodes.as_ref().unwrap().unknown_fields.is_empty());
        assert_eq!(read.encoded_len(), later().len());
        assert_eq!(read.encode_to_vec(), later());
        let mut changed = read.clone();
        changed.prefer.push(LeadershipPreference::default());
        let again = LeadershipPolicy::decode(changed.encode_to_vec().as_slice()).unwrap();
        assert_eq!(again, changed);
        assert!(again.known().encode_to_vec().len() < later().len());
    }

    #[test]
    fn what_ends_too_early_is_refused_and_leaves_nothing() {
        let mut fields = UnknownFields::NONE;
        let mut short = b"\x03ab".as_slice();
        assert!(fields.merge(1000, WireType::LengthDelimited, &mut short, DecodeContext::default()).is_err());
        assert!(fields.is_empty());
    }
}
