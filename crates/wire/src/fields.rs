//! The fields of an encoded message, one after the other, without what they mean.

use prost::DecodeError;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

/// One field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MessageField<'m> {
    pub number: u32,
    pub value: FieldValue<'m>,
    /// Key and value as they stand in the message.
    pub encoded: &'m [u8],
}

/// Value of a field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FieldValue<'m> {
    Varint(u64),
    /// A text, bytes, a message, or packed numbers.
    Bytes(&'m [u8]),
    /// A number of fixed width, or a group.
    Other,
}

/// The fields in the order they stand in. The last item is an error when the message cannot be read further.
pub fn fields(message: &[u8]) -> impl Iterator<Item = Result<MessageField<'_>, DecodeError>> {
    let mut rest = message;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let read = next(&mut rest);
        if read.is_err() {
            rest = &[];
        }
        Some(read)
    })
}

fn next<'m>(rest: &mut &'m [u8]) -> Result<MessageField<'m>, DecodeError> {
    let begun = *rest;
    let (number, wire_type) = decode_key(rest)?;
    let mut value = *rest;
    skip_field(wire_type, number, rest, DecodeContext::default())?;
    value = &value[..value.len() - rest.len()];
    let value = match wire_type {
        WireType::Varint => FieldValue::Varint(decode_varint(&mut value)?),
        WireType::LengthDelimited => {
            decode_varint(&mut value)?;
            FieldValue::Bytes(value)
        }
        _ => FieldValue::Other,
    };
    Ok(MessageField { number, value, encoded: &begun[..begun.len() - rest.len()] })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_told_until_the_message_cannot_be_read() {
        let message = b"\x08\x96\x01\x12\x03abc\x1d\x00\x00\x00\x00\x22\x07short";
        let read: Vec<_> = fields(message).collect();
        let told = |number, value, encoded: &'static [u8]| Ok(MessageField { number, value, encoded });
        assert_eq!(read[0], told(1, FieldValue::Varint(150), b"\x08\x96\x01"));
        assert_eq!(read[1], told(2, FieldValue::Bytes(b"abc"), b"\x12\x03abc"));
        assert_eq!(read[2], told(3, FieldValue::Other, b"\x1d\x00\x00\x00\x00"));
        assert!(read[3].is_err(), "{:?}", read[3]);
        assert_eq!(read.len(), 4);
    }
}
