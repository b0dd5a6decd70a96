//! Signed records: what an issuer has signed of a record, and whether what is found of one counts.
//!
//! The signature stands last in the value, as a field that no message of a value has: whoever does not know it passes it
//! over. A deletion is a value of nothing but a signature. The number of a record only rises, so that what was signed
//! once and followed by something else does not count again.

use bytes::{Buf as _, Bytes};
use omnirelay_pki::issuer_key::IssuerKey;
use omnirelay_wire::pb::omnirelay::store::v1::RecordSignature;
use prost::Message as _;
use prost::encoding::{
    DecodeContext, WireType, decode_key, decode_varint, encode_key, encode_varint, skip_field,
};

/// As what issuers sign records.
pub const RECORD: &str = "record 1";
/// The field of a value that holds its signature.
const FIELD: u32 = 1000;
/// How long a signature may be, in bytes: two numbers of 32 bytes in ASN.1, and what goes with them.
const SIGNATURE_BYTES_MAX: usize = 256;

/// Name of a signed record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordName<'a> {
    pub kind: &'a str,
    pub key: &'a str,
}

/// The value of a record in its two parts.
#[derive(Clone, Debug, PartialEq)]
pub struct SignedParts {
    /// The value without its signature.
    pub payload: Bytes,
    /// `None`: nobody has signed it.
    pub signature: Option<RecordSignature>,
}

/// The issuers whose signatures count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordSigners {
    /// Of which cluster they are.
    pub cluster: String,
    /// Their keys, the newest first.
    pub keys: Vec<IssuerKey>,
    /// Whether what nobody has signed counts still.
    pub unsigned_counts: bool,
}

/// Known state of a record that counts.
#[derive(Clone, Copy, Debug)]
pub struct KnownRecord<'a> {
    /// The value as it was found, with its signature.
    pub value: &'a Bytes,
    /// The number of its signature; `None`: nobody has signed it, or only somebody whose signatures do not count any more.
    pub number: Option<u64>,
    /// Whether somebody has signed it.
    pub is_signed: bool,
}

/// Record as it was found.
#[derive(Clone, Copy, Debug)]
pub struct FoundRecord<'a> {
    pub value: &'a Bytes,
    /// Whether one of the signers has signed it, if that was verified already.
    pub is_signed: Option<bool>,
    /// Whether it was there before anything was known: while unsigned records count, no other one does.
    pub is_first: bool,
}

/// Reason why a record that was found does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignedRecordRefusal {
    #[error("nobody has signed it")]
    Unsigned,
    #[error("it is not signed by an issuer of this mesh that counts")]
    Forged,
    #[error("it is older than what it replaced")]
    PlayedBack,
    #[error("it was deleted without a signed note")]
    Deleted,
}

/// The value of a record in its parts.
pub fn split(value: &Bytes) -> SignedParts {
    let unsigned = || SignedParts { payload: value.clone(), signature: None };
    let mut rest = value.clone();
    while rest.has_remaining() {
        let begin = value.len() - rest.len();
        let Ok((field, wire_type)) = decode_key(&mut rest) else { return unsigned() };
        if field == FIELD && wire_type == WireType::LengthDelimited {
            let length = decode_varint(&mut rest).ok().and_then(|length| usize::try_from(length).ok());
            // What stands behind a signature nobody has signed.
            if length != Some(rest.len()) || rest.len() > SIGNATURE_BYTES_MAX {
                return unsigned();
            }
            let Ok(signature) = RecordSignature::decode(rest) else { return unsigned() };
            return SignedParts { payload: value.slice(..begin), signature: Some(signature) };
        }
        if skip_field(wire_type, field, &mut rest, DecodeContext::default()).is_err() {
            return unsigned();
        }
    }
    unsigned()
}

/// The value of a record with its signature.
pub fn join(payload: &[u8], signature: &RecordSignature) -> Bytes {
    let signature = signature.encode_to_vec();
    let mut value = Vec::with_capacity(payload.len() + signature.len() + 8);
    value.extend_from_slice(payload);
    encode_key(FIELD, WireType::LengthDelimited, &mut value);
    encode_varint(signature.len() as u64, &mut value);
    value.extend_from_slice(&signature);
    value.into()
}

/// Message that is signed of a record; its parts have their lengths before them, so that none runs into the next.
pub fn message(cluster: &str, name: RecordName<'_>, payload: &[u8], signature: &RecordSignature) -> Vec<u8> {
    let mut message = Vec::with_capacity(payload.len() + cluster.len() + name.key.len() + 64);
    for part in [cluster.as_bytes(), name.kind.as_bytes(), name.key.as_bytes(), payload] {
        message.extend_from_slice(&(part.len() as u64).to_be_bytes());
        message.extend_from_slice(part);
    }
    message.extend_from_slice(&signature.number.to_be_bytes());
    message.push(u8::from(signature.deleted));
    message
}

impl RecordSigners {
    /// Whether signatures of the issuer with this key count.
    pub fn has(&self, key: &[u8]) -> bool {
        self.find(key).is_some()
    }

    fn find(&self, key: &[u8]) -> Option<&IssuerKey> {
        self.keys.iter().find(|known| known.fingerprint().as_bytes() == key)
    }

    /// Whether one of them has signed this value of a record.
    pub fn have_signed(&self, name: RecordName<'_>, parts: &SignedParts) -> bool {
        let Some(signature) = &parts.signature else { return false };
        let Some(key) = self.find(&signature.key) else { return false };
        let message = message(&self.cluster, name, &parts.payload, signature);
        (!signature.deleted || parts.payload.is_empty())
            && key.has_signed(RECORD, &message, &signature.signature)
    }
}

/// Judges a record that was found; returns its parts if it counts.
///
/// # Errors
/// Why it does not; what was known before stays then.
pub fn judge(
    signers: Option<&RecordSigners>,
    known: Option<KnownRecord<'_>>,
    name: RecordName<'_>,
    found: FoundRecord<'_>,
) -> Result<SignedParts, SignedRecordRefusal> {
    let parts = split(found.value);
    let Some(signers) = signers else { return Ok(parts) };
    let is_as_known =
        |known: KnownRecord<'_>| known.value == found.value && (known.is_signed || signers.unsigned_counts);
    if known.is_some_and(is_as_known) {
        return Ok(parts);
    }
    let Some(signature) = &parts.signature else {
        let counts = signers.unsigned_counts && found.is_first && known.is_none();
        return if counts { Ok(parts) } else { Err(SignedRecordRefusal::Unsigned) };
    };
    if !found.is_signed.unwrap_or_else(|| signers.have_signed(name, &parts)) {
        return Err(SignedRecordRefusal::Forged);
    }
    if known.and_then(|known| known.number).is_some_and(|known| signature.number <= known) {
        return Err(SignedRecordRefusal::PlayedBack);
    }
    Ok(parts)
}

#[cfg(test)]
#[path = "signed_record_test.rs"]
mod tests;
