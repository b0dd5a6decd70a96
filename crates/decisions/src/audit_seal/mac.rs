//! The MAC by which a node knows its own audit records from those that others write in its name.

use std::fmt;

use omnirelay_wire::pb::omnirelay::store::v1::AuditValue;
use prost::Message;
use ring::hmac;

use super::StoredRecord;

/// How much of the HMAC is kept, in bytes.
pub const MAC_BYTES: usize = 16;

/// What a key is derived for, and what a MAC is of.
const KEY_DOMAIN: &[u8] = b"omnirelay audit mac key v1\0";
const MAC_DOMAIN: &[u8] = b"omnirelay audit record mac v1\0";
/// What stands before a MAC in an encoded `AuditValue`: the key of its field, 1000, and its length.
const FIELD: [u8; 3] = [0xC2, 0x3E, MAC_BYTES as u8];

/// The key of a node's MACs. Cheap to clone; it does not show itself.
#[derive(Clone)]
pub struct MacKey(hmac::Key);

impl MacKey {
    /// The key that belongs to a secret, always the same.
    pub fn derive(secret: &[u8]) -> Self {
        let secret = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let derived = hmac::sign(&secret, KEY_DOMAIN);
        Self(hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref()))
    }

    /// Returns an audit record as it is stored under this key: its value with the MAC behind it.
    pub fn mark(&self, key: &str, value: AuditValue) -> Vec<u8> {
        let bare = AuditValue { mac: Vec::new(), ..value };
        let mut stored = Vec::with_capacity(bare.encoded_len() + FIELD.len() + MAC_BYTES);
        bare.encode_raw(&mut stored);
        let mac = self.mac(key, &stored);
        // The MAC has the highest number of all fields, so that it stands last in any encoding.
        stored.extend_from_slice(&FIELD);
        stored.extend_from_slice(&mac);
        stored
    }

    /// Whether a record is as [`MacKey::mark`] made it, and nobody has written it again since.
    pub fn made(&self, record: &StoredRecord<'_>) -> bool {
        let Some((before, mac)) = record.value.split_last_chunk::<MAC_BYTES>() else { return false };
        let Some(body) = before.strip_suffix(&FIELD) else { return false };
        record.version == 1 && are_equal(&self.mac(record.key, body), mac)
    }

    fn mac(&self, key: &str, body: &[u8]) -> [u8; MAC_BYTES] {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(MAC_DOMAIN);
        for part in [key.as_bytes(), body] {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        let mut mac = [0; MAC_BYTES];
        mac.copy_from_slice(&context.sign().as_ref()[..MAC_BYTES]);
        mac
    }
}

impl fmt::Debug for MacKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MacKey")
    }
}

/// Compares in a time that does not tell where they differ.
fn are_equal(a: &[u8], b: &[u8]) -> bool {
    let differing = a.iter().zip(b).fold(0, |differing, (a, b)| differing | (a ^ b));
    a.len() == b.len() && differing == 0
}
