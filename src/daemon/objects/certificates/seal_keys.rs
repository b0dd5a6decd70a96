//! Keys by which a node seals its audit records, as an issuer vouches for them: a host that was set up anew has another key, and
//! nothing else says that it is the node's.

use omnirelay_core::spiffe::Holder;
use omnirelay_pki::certificate::validity_of;
use omnirelay_pki::trust::Bundle;
use omnirelay_wire::pb::omnirelay::store::v1::{CertificateValue, SealKeyValue};
use rustls::pki_types::CertificateDer;

use super::holder::record_of;
use crate::core::audit_seal::fingerprint;
use crate::daemon::registry::view::View;

/// As what issuers sign that a key is a node's.
const SEAL_KEY: &str = "seal key 1";
/// How many keys of a node are remembered.
pub const REMEMBERED: usize = 16;
/// How long a key is, in bytes: Ed25519.
pub const KEY_BYTES: usize = 32;

/// What is signed of a key.
fn claim(cluster: &str, node: &str, key: &[u8]) -> Vec<u8> {
    [cluster.as_bytes(), b"/", node.as_bytes(), b"\0", key].concat()
}

/// A key of a node, vouched for by `issuer`.
///
/// # Errors
/// When the operating system has no randomness.
pub fn vouched(
    issuer: &omnirelay_pki::authority::Authority,
    (cluster, node): (&str, &str),
    key: &[u8],
) -> Result<SealKeyValue, omnirelay_pki::authority::AuthorityError> {
    let signature = issuer.sign(SEAL_KEY, &claim(cluster, node, key))?;
    let (key, signer) = (key.to_vec(), issuer.certificate().to_vec());
    Ok(SealKeyValue { key, signature, signer, unknown_fields: Default::default() })
}

/// The record with these keys, the newest first.
pub fn with(mut held: CertificateValue, keys: Vec<SealKeyValue>) -> CertificateValue {
    for key in keys.into_iter().rev() {
        held.seal_keys.retain(|known| known.key != key.key);
        held.seal_keys.insert(0, key);
    }
    held.seal_keys.truncate(REMEMBERED);
    held
}

/// The fingerprints of the keys that an authority of the mesh vouches for to be this node's, the newest first.
pub fn of_node(view: &View, bundle: Option<&Bundle>, cluster: &str, node: &str) -> Vec<String> {
    let holder = Holder::Node { cluster: cluster.to_owned(), role: String::new(), node: node.to_owned() };
    let held = view.get(&record_of(&holder)).and_then(|held| held.value::<CertificateValue>());
    let (Some(held), Some(bundle)) = (held, bundle) else { return Vec::new() };
    let is_vouched = |key: &&SealKeyValue| {
        // Until when its signer was valid does not matter: what it said stays so.
        validity_of(&key.signer).is_ok_and(|(begun, _)| {
            let signer = [CertificateDer::from(key.signer.as_slice())];
            bundle
                .verify_signed(SEAL_KEY, &claim(cluster, node, &key.key), &key.signature, &signer, begun)
                .is_ok()
        })
    };
    let keys = held.seal_keys.iter().take(REMEMBERED).filter(is_vouched);
    keys.map(|key| fingerprint(&key.key)).collect()
}
