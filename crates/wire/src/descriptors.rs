//! The descriptors of every service, as the compiler wrote them.

use prost::DecodeError;
use prost::encoding::{WireType, encode_key, encode_varint};

use crate::fields::{FieldValue, fields};

/// The encoded `FileDescriptorSet`, options included.
pub static ENCODED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/omnirelay.bin"));

/// An encoded `FileDescriptorSet` without the comments of its files, which are most of what is kept of one.
///
/// # Errors
/// When it is no such set.
pub fn without_source_info(set: &[u8]) -> Result<Vec<u8>, DecodeError> {
    const SOURCE_CODE_INFO: u32 = 9;
    let mut fewer = Vec::with_capacity(set.len());
    for file in fields(set) {
        let file = file?;
        let FieldValue::Bytes(read) = file.value else { continue };
        let mut kept = Vec::with_capacity(read.len());
        for field in fields(read) {
            let field = field?;
            if field.number != SOURCE_CODE_INFO {
                kept.extend_from_slice(field.encoded);
            }
        }
        encode_key(file.number, WireType::LengthDelimited, &mut fewer);
        encode_varint(kept.len() as u64, &mut fewer);
        fewer.extend_from_slice(&kept);
    }
    Ok(fewer)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The fields of each file of a set.
    fn files(set: &[u8]) -> Vec<Vec<&[u8]>> {
        let file = |value| match value {
            FieldValue::Bytes(file) => fields(file).map(|field| field.unwrap().encoded).collect(),
            FieldValue::Varint(_) | FieldValue::Other => Vec::new(),
        };
        fields(set).map(|it| file(it.unwrap().value)).collect()
    }

    #[test]
    fn only_the_comments_are_left_out() {
        let mut kept = files(ENCODED);
        // The key of field 9, which is a message.
        kept.iter_mut().for_each(|file| file.retain(|field| field.first() != Some(&0x4a)));
        let fewer = without_source_info(ENCODED).unwrap();
        assert!(fewer.len() < ENCODED.len() * 3 / 4, "{} of {} bytes", fewer.len(), ENCODED.len());
        assert_eq!(files(&fewer), kept);
        assert!(without_source_info(b"\x0a\x7f").is_err());
    }
}
