//! Seals of the audit trail: what a node signs of its own records, so that a change of any is found.
//!
//! A seal names records by their hashes and the seal before it by its own, so that the newest seal stands for
//! the whole chain of its node. [`check`] follows a chain, [`trail`] checks records against chains.

pub mod check;
pub mod mac;
pub mod trail;

#[cfg(test)]
mod audit_seal_test;
#[cfg(test)]
mod mac_test;

use omnirelay_core::text::{from_hex, hex};
use std::fmt;

use omnirelay_wire::pb::omnirelay::store::v1::{AuditLeaf, AuditSeal, AuditSealValue};
use prost::Message;
use ring::signature::{ED25519, Ed25519KeyPair, UnparsedPublicKey};
use sha2::{Digest, Sha256};

/// The most records of one seal; the records of one commit are never torn apart.
pub const LEAVES_MAX: usize = 512;
/// The length of an Ed25519 public key in bytes.
pub const PUBLIC_KEY_BYTES: usize = 32;

/// What a hash or a signature is of, so that none can pass for one of another thing.
const LEAF_DOMAIN: &[u8] = b"omnirelay audit record v1\0";
const SEAL_DOMAIN: &[u8] = b"omnirelay audit seal v1\0";
const KEY_DOMAIN: &[u8] = b"omnirelay audit key v1\0";
/// How many bytes of a key's hash name it.
const FINGERPRINT_BYTES: usize = 16;

/// A SHA-256 hash; shown in hex.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest256(pub [u8; 32]);

/// A record as it is stored: everything that a seal protects.
#[derive(Clone, Copy, Debug)]
pub struct StoredRecord<'a> {
    pub key: &'a str,
    pub value: &'a [u8],
    pub version: u64,
    pub revision: u64,
    pub created_at_ms: u64,
    pub updated_at_ms: u64,
    pub writer: &'a str,
}

/// The seals of one node under one key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChainId {
    pub node_id: String,
    /// [`fingerprint`] of the public key.
    pub fingerprint: String,
}

/// The newest seal of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealHead {
    pub sequence: u64,
    pub hash: Digest256,
    /// Every record of the node up to this revision is sealed.
    pub through: u64,
}

/// A seal whose signature is that of the key it names.
#[derive(Clone, Debug, PartialEq)]
pub struct VerifiedSeal {
    pub seal: AuditSeal,
    pub hash: Digest256,
}

/// Reason why stored bytes are no seal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotASeal {
    #[error("it cannot be read as a seal")]
    Unreadable,
    #[error("its signature is not that of its key")]
    Signature,
}

/// Hash of the leaf of an audit record.
pub fn leaf_hash(record: &StoredRecord<'_>) -> Digest256 {
    let mut hash = Sha256::new_with_prefix(LEAF_DOMAIN);
    for part in [record.key.as_bytes(), record.value, record.writer.as_bytes()] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    for number in [record.version, record.revision, record.created_at_ms, record.updated_at_ms] {
        hash.update(number.to_be_bytes());
    }
    Digest256(hash.finalize().into())
}

/// The leaf that seals a record.
pub fn leaf(record: &StoredRecord<'_>) -> AuditLeaf {
    let hash = leaf_hash(record).0.to_vec();
    AuditLeaf {
        key: record.key.to_owned(),
        revision: record.revision,
        hash,
        foreign: false,
        of_before: false,
        unknown_fields: Default::default(),
    }
}

/// Names a public key in 32 hex digits.
pub fn fingerprint(public_key: &[u8]) -> String {
    let hash = Sha256::new_with_prefix(KEY_DOMAIN).chain_update(public_key).finalize();
    hash.get(..FINGERPRINT_BYTES).map(hex).unwrap_or_default()
}

/// Signs a seal as it is.
pub fn sign(key: &Ed25519KeyPair, seal: &AuditSeal) -> AuditSealValue {
    let body = seal.encode_to_vec();
    let signature = key.sign(&signed(&body)).as_ref().to_vec();
    AuditSealValue { body, signature, unknown_fields: Default::default() }
}

/// The hash by which the next seal names the one with this body.
pub fn seal_hash(body: &[u8]) -> Digest256 {
    Digest256(Sha256::new_with_prefix(SEAL_DOMAIN).chain_update(body).finalize().into())
}

/// Reads a stored seal and checks that it is signed by the key it names.
///
/// # Errors
/// [`NotASeal`]. Whose key it is, is not looked at.
pub fn open(value: &[u8]) -> Result<VerifiedSeal, NotASeal> {
    let stored = value;
    let value = AuditSealValue::decode(stored).map_err(|_| NotASeal::Unreadable)?;
    // There is one way to write a seal: bytes beside those that are signed are no part of it.
    if value.encode_to_vec() != stored {
        return Err(NotASeal::Unreadable);
    }
    let seal = AuditSeal::decode(value.body.as_slice()).map_err(|_| NotASeal::Unreadable)?;
    UnparsedPublicKey::new(&ED25519, &seal.public_key)
        .verify(&signed(&value.body), &value.signature)
        .map_err(|_| NotASeal::Signature)?;
    Ok(VerifiedSeal { hash: seal_hash(&value.body), seal })
}

fn signed(body: &[u8]) -> Vec<u8> {
    [SEAL_DOMAIN, body].concat()
}

impl VerifiedSeal {
    /// The head of a chain that ends with this seal.
    pub fn head(&self) -> SealHead {
        SealHead { sequence: self.seal.sequence, hash: self.hash, through: self.seal.through }
    }

    /// The chain that this seal belongs to.
    pub fn chain(&self) -> ChainId {
        ChainId::of(&self.seal.node_id, &self.seal.public_key)
    }
}

impl ChainId {
    /// The chain of a node under a public key.
    pub fn of(node_id: &str, public_key: &[u8]) -> Self {
        Self { node_id: node_id.to_owned(), fingerprint: fingerprint(public_key) }
    }

    /// The key of a seal's record: those of a chain sort by their sequence.
    pub fn key(&self, sequence: u64) -> String {
        format!("{}{sequence:020}", self.prefix())
    }

    /// Prefix of the keys of all seals of the chain.
    pub fn prefix(&self) -> String {
        format!("{}/{}/", self.node_id, self.fingerprint)
    }

    /// Reads the key of a seal's record; `None` when it is none.
    pub fn parse(key: &str) -> Option<(Self, u64)> {
        let (chain, sequence) = key.rsplit_once('/')?;
        let (node_id, fingerprint) = chain.split_once('/')?;
        let id = Self { node_id: node_id.to_owned(), fingerprint: fingerprint.to_owned() };
        let sequence: u64 = sequence.parse().ok()?;
        // One key for each seal: no other way of writing the number is taken.
        (id.key(sequence) == key).then_some((id, sequence))
    }
}

impl fmt::Display for ChainId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.node_id, self.fingerprint)
    }
}

impl fmt::Display for Digest256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Digest256 {
    /// Reads 64 hex digits.
    pub fn from_hex(text: &str) -> Option<Self> {
        from_hex(text).map(Self)
    }
}

/// Number of leaves, at most `max`, that go into the next seal: those of one revision stay together.
///
/// A single revision with more than `max` leaves goes whole.
pub fn batch(leaves: &[AuditLeaf], max: usize) -> usize {
    if leaves.len() <= max {
        return leaves.len();
    }
    let torn = leaves[max].revision;
    match leaves[..max].iter().rposition(|leaf| leaf.revision != torn) {
        Some(last) => last + 1,
        None => leaves.iter().take_while(|leaf| leaf.revision == torn).count(),
    }
}
