//! Messages about ranges, and what they stand for.

use omnirelay_core::ranges::{RangeAnswer, RangeClaim, RangeFingerprint, RangePrefix, ShortDigest};
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;

use pb::range_answer::Told;

/// Bytes of a fingerprint and of a digest.
const BYTES: usize = 16;

/// Prefix that a message stands for.
///
/// # Errors
/// `INVALID_ARGUMENT`: there is none, or it is no range.
pub fn prefix(range: Option<pb::RecordRange>) -> Result<RangePrefix, Fault> {
    let pb::RecordRange { hash, depth } = range.ok_or_else(|| not_so("a range is missing"))?;
    let prefix = u8::try_from(depth).ok().and_then(|depth| RangePrefix::new(hash, depth));
    prefix.ok_or_else(|| not_so(&format!("{hash:016x}/{depth} is no range")))
}

/// Message of a range.
pub fn range(prefix: RangePrefix) -> pb::RecordRange {
    pb::RecordRange { hash: prefix.bits(), depth: prefix.depth().into() }
}

/// Claim that a message stands for.
///
/// # Errors
/// `INVALID_ARGUMENT`.
pub(crate) fn claim(message: pb::RangeClaim) -> Result<RangeClaim, Fault> {
    Ok(RangeClaim { range: prefix(message.range)?, fingerprints: parts(&message.fingerprints)? })
}

/// Message of a claim.
pub(crate) fn claim_message(claim: RangeClaim) -> pb::RangeClaim {
    pb::RangeClaim { range: Some(range(claim.range)), fingerprints: claim.fingerprints.concat() }
}

/// Answer that a message stands for.
///
/// # Errors
/// `INVALID_ARGUMENT`.
pub(crate) fn answer(message: pb::RangeAnswer) -> Result<RangeAnswer, Fault> {
    let range = prefix(message.range)?;
    match message.told {
        Some(Told::Fingerprints(bytes)) => Ok(RangeAnswer::Split { range, fingerprints: parts(&bytes)? }),
        Some(Told::Digests(bytes)) => Ok(RangeAnswer::Listed { range, digests: parts(&bytes)? }),
        None => Err(not_so("an answer tells nothing")),
    }
}

/// Message of an answer.
pub(crate) fn answer_message(answer: RangeAnswer) -> pb::RangeAnswer {
    let (prefix, told) = match answer {
        RangeAnswer::Split { range, fingerprints } => (range, Told::Fingerprints(fingerprints.concat())),
        RangeAnswer::Listed { range, digests } => (range, Told::Digests(digests.concat())),
    };
    pb::RangeAnswer { range: Some(range(prefix)), told: Some(told) }
}

/// Digests that bytes stand for.
///
/// # Errors
/// `INVALID_ARGUMENT`: some are left.
pub fn digests(bytes: &[u8]) -> Result<Vec<ShortDigest>, Fault> {
    parts(bytes)
}

fn parts(bytes: &[u8]) -> Result<Vec<RangeFingerprint>, Fault> {
    match bytes.as_chunks::<BYTES>() {
        (parts, []) => Ok(parts.to_vec()),
        (_, rest) => {
            Err(not_so(&format!("{} bytes are left of a fingerprint or digest of {BYTES}", rest.len())))
        }
    }
}

fn not_so(why: &str) -> Fault {
    Fault::invalid(format!("ranges cannot be compared: {why}"))
}
