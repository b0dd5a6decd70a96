//! The descriptors of every service, as the compiler wrote them.

use prost::DecodeError;
use prost::encoding::{WireType, encode_key, encode_varint};

use crate::fields::{Value, fields};

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
        let Value::Bytes(read) = file.value else { continue };
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
