//! The proof that a node has the secret of the mesh's issuer: that issuer's signature over its name, in the record of its certificates.
//! Whatever else says that a node issues can be written by anybody who can write certificates.

use bytes::Bytes;
use omnirelay_certificate_records::CERTIFICATE;
use omnirelay_certificate_records::record_of_node;
use omnirelay_pki::certificate::{key_of, validity_of};
use omnirelay_registry::Registry;
use omnirelay_registry::act::{OwnChange, put};
use omnirelay_registry::view::View;
use omnirelay_store::{RecordId, Write};
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::store::v1::{
    AuthorityValue, CertificateValue, IssuerProofValue, SigningValue,
};
use prost::Message as _;
use rustls::pki_types::CertificateDer;

use super::authority::bundle_of;
use super::signer::{Signer, not_made};
use super::{authority_in, held_in};
use crate::identity_keeper::KeepError;

/// As what issuers sign that a node has their secret.
const ISSUER_PROOF: &str = "issuer proof 1";

/// What is signed of a node.
fn claim(cluster: &str, node: &str) -> Vec<u8> {
    [cluster.as_bytes(), b"/", node.as_bytes()].concat()
}

/// Whether a node has proven that it has the secret of an issuer whose signatures count.
pub(crate) fn is_proven(view: &View, authority: &AuthorityValue, cluster: &str, node: &str) -> bool {
    let held = view.get(&record_of_node(cluster, node)).and_then(|held| held.value::<CertificateValue>());
    held.is_some_and(|held| signer_of(authority, &held, cluster, node).is_some())
}

/// The issuer by whose secret a node has proven that it issues; `None`: it has not, or nothing counts that this one signs.
fn signer_of<'a>(
    authority: &'a AuthorityValue,
    held: &CertificateValue,
    cluster: &str,
    node: &str,
) -> Option<&'a SigningValue> {
    let proof = held.issuer_proof.as_ref().filter(|_| !held.barred)?;
    let issuer = authority.issuers.iter().find(|issuer| issuer.certificate == proof.signer)?;
    let key = key_of(&issuer.certificate).ok()?;
    // Of an issuer that was followed by another nobody knows who has read its secret.
    let counts = authority.record_signing.as_ref()?.keys.iter().any(|signing| signing == key.as_bytes());
    let (roots, (begun, _)) =
        (bundle_of(&authority.roots).ok()?, validity_of(&proof.signer).ok().filter(|_| counts)?);
    let signer = [CertificateDer::from(proof.signer.as_slice())];
    roots
        .issuers_of(cluster)
        .verify_signed(ISSUER_PROOF, &claim(cluster, node), &proof.signature, &signer, begun)
        .is_ok()
        .then_some(issuer)
}

/// Has this node prove it in its own record, where records are signed, it has a user of its own in the store, and has not done so.
///
/// # Errors
/// `NOT_AN_ISSUER`; those of the store.
pub(crate) async fn prove_own(registry: &Registry, signer: &Signer, cluster: &str) -> Result<(), KeepError> {
    let (node, record) = (registry.node_id(), record_of_node(cluster, registry.node_id()));
    let written = registry.change_own("certificates.prove-issuer", [CERTIFICATE], |reader| {
        let authority = authority_in(reader)?;
        let is_by_newest = |held: &CertificateValue| {
            signer_of(&authority, held, cluster, node).is_some_and(|by| authority.issuers.first() == Some(by))
        };
        let is_signing = authority.record_signing.is_some();
        let held = held_in(reader, &record).filter(|held| {
            is_signing && !held.barred && !held.store_password_hash.is_empty() && !is_by_newest(held)
        });
        let Some(held) = held else { return Ok(None) };
        let proof = made(signer, &authority, cluster, node)?;
        let value = CertificateValue { issuer_proof: Some(proof), ..(*held).clone() };
        let changes = vec!["has the secret of the issuer".to_owned()];
        Ok(Some(OwnChange::of(put(record.clone(), &value), changes)))
    });
    written.await.map(drop)
}

fn made(
    signer: &Signer,
    authority: &AuthorityValue,
    cluster: &str,
    node: &str,
) -> Result<IssuerProofValue, Fault> {
    let issuer = signer.issuer(authority)?;
    let signature = issuer.sign(ISSUER_PROOF, &claim(cluster, node)).map_err(|error| not_made(&error))?;
    let signer = issuer.certificate().to_vec();
    Ok(IssuerProofValue { signature, signer, unknown_fields: Default::default() })
}

/// Takes the proof out of what is written of a node that joins: its host has another data directory.
///
/// # Errors
/// When somebody else wrote the record.
pub(crate) fn forget(writes: &mut [Write], record: &RecordId) -> Result<(), Fault> {
    for write in writes {
        if let Write::Put { id, value, .. } = write
            && id == record
        {
            let held = CertificateValue::decode(value.clone()).map_err(|_| super::unreadable())?;
            *value = Bytes::from(CertificateValue { issuer_proof: None, ..held }.encode_to_vec());
        }
    }
    Ok(())
}
