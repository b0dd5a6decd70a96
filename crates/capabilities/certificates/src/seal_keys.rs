//! Keys by which a node seals its audit records, as an issuer vouches for them: a host that was set up anew has another key, and
//! nothing else says that it is the node's.

use std::collections::BTreeSet;
use std::sync::Arc;

use omnirelay_certificate_records::record_of_node;
use omnirelay_certificate_records::{CERTIFICATE, current_authority};
use omnirelay_decisions::audit_seal::fingerprint;
use omnirelay_pki::certificate::{key_of, validity_of};
use omnirelay_pki::revocation::{Revocations, RevokedSubject};
use omnirelay_pki::trust::TrustBundle;
use omnirelay_registry::Registry;
use omnirelay_registry::act::{OwnChange, put};
use omnirelay_registry::view::{View, ViewRecord};
use omnirelay_store::RecordId;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::store::v1::{AuthorityValue, CertificateValue, SealKeyValue};
use rustls::pki_types::CertificateDer;
use tracing::warn;

use super::authority::bundle_of;
use super::signer::{Signer, not_made};
use super::{authority_in, held_in};
use crate::identity_keeper::KeepError;

/// As what issuers sign that a key is a node's.
const SEAL_KEY: &str = "seal key 1";
/// How many keys of a node are remembered.
pub const REMEMBERED: usize = 16;
/// How long a key is, in bytes: Ed25519.
pub const KEY_BYTES: usize = 32;
/// Of how many nodes the keys are vouched for anew in one commit.
const AT_ONCE: usize = 16;

/// What is signed of a key.
fn claim(cluster: &str, node: &str, key: &[u8]) -> Vec<u8> {
    [cluster.as_bytes(), b"/", node.as_bytes(), b"\0", key].concat()
}

/// A key of a node, vouched for by `issuer`.
///
/// # Errors
/// When the operating system has no randomness.
pub fn vouched(
    issuer: &omnirelay_pki::authority::CertificateAuthority,
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

/// The fingerprints of the keys that an authority of the mesh vouches for to be this node's, the newest first. What an issuer has
/// said that is revoked counts for nothing.
pub fn of_node(
    view: &View,
    bundle: Option<&TrustBundle>,
    revoked: &Revocations,
    cluster: &str,
    node: &str,
) -> Vec<String> {
    let held = view.get(&record_of_node(cluster, node)).and_then(|held| held.value::<CertificateValue>());
    let (Some(held), Some(bundle)) = (held, bundle) else { return Vec::new() };
    let keys = held.seal_keys.iter().take(REMEMBERED);
    let keys = keys.filter(|key| is_vouched(bundle, revoked, (cluster, node), key));
    keys.map(|key| fingerprint(&key.key)).collect()
}

fn is_vouched(
    bundle: &TrustBundle,
    revoked: &Revocations,
    (cluster, node): (&str, &str),
    key: &SealKeyValue,
) -> bool {
    let signer = [CertificateDer::from(key.signer.as_slice())];
    let is_out = key_of(&signer[0]).map_or(true, |of| revoked.about(&RevokedSubject::Key(of)).is_some());
    // Until when its signer was valid does not matter: what it said stays so.
    let Some((begun, _)) = validity_of(&key.signer).ok().filter(|_| !is_out) else { return false };
    let claim = claim(cluster, node, &key.key);
    bundle.issuers_of(cluster).verify_signed(SEAL_KEY, &claim, &key.signature, &signer, begun).is_ok()
}

/// Signers of seals whose word is taken over by the issuer of now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrustedSealSigners {
    /// That of all who lead to a root.
    Rooted,
    /// That of issuers that the authority knows: a root whose key was stolen certifies others.
    Known,
}

/// Has the issuer of now vouch for the keys that those before it have vouched for, so that they are known to be their nodes' when
/// a root is trusted no more.
///
/// # Errors
/// `NOT_AN_ISSUER` where there is something to vouch for that this node cannot; those of the store.
pub(super) async fn vouch_anew(
    registry: &Registry,
    signer: &Signer,
    signers: TrustedSealSigners,
) -> Result<(), KeepError> {
    let mut last = BTreeSet::new();
    loop {
        let outdated = outdated(registry, signer, signers).await?;
        // What was written is not read before long, and is decided on once.
        let outdated: Vec<RecordId> = outdated.into_iter().filter(|id| last.insert(id.clone())).collect();
        if outdated.is_empty() {
            return Ok(());
        }
        for some in outdated.chunks(AT_ONCE) {
            vouch_for(registry, signer, signers, some).await?;
        }
    }
}

/// The same before the issuer is followed by another, which does not wait for it: what was vouched for counts for as long as its
/// root, and the secret of the issuer may be lost.
pub(super) async fn vouch_before_another(registry: &Registry, signer: &Signer) {
    if let Err(error) = vouch_anew(registry, signer, TrustedSealSigners::Rooted).await {
        let error = &error as &dyn std::error::Error;
        warn!(error, "keys that seal audit records not vouched for by the issuer that is to be followed");
    }
}

/// The records with a key that is vouched for, but not by the issuer of now.
async fn outdated(
    registry: &Registry,
    signer: &Signer,
    signers: TrustedSealSigners,
) -> Result<Vec<RecordId>, Fault> {
    let view = registry.view();
    let Some(authority) = current_authority(view) else { return Ok(Vec::new()) };
    let judge = SealKeyJudge::of(&authority, signer.revoked(|id| view.get(id)), signers)?;
    let records = view.list(&CERTIFICATE).records;
    let is_outdated = |record: &&Arc<ViewRecord>| {
        let held = record.value::<CertificateValue>();
        held.zip(node_of(&record.record.id))
            .is_some_and(|(held, of)| held.seal_keys.iter().any(|key| judge.is_outdated(of, key)))
    };
    let mut found = Vec::new();
    for some in records.chunks(AT_ONCE) {
        found.extend(some.iter().filter(is_outdated).map(|record| record.record.id.clone()));
        // Each signature takes its time.
        tokio::task::yield_now().await;
    }
    Ok(found)
}

/// Judge of seal keys: knows by whom they are vouched for, and by whom they are to be.
struct SealKeyJudge {
    bundle: TrustBundle,
    revoked: Revocations,
    /// The certificates of issuers, that of now first.
    issuers: Vec<Vec<u8>>,
    signers: TrustedSealSigners,
}

impl SealKeyJudge {
    fn of(
        authority: &AuthorityValue,
        revoked: Revocations,
        signers: TrustedSealSigners,
    ) -> Result<Self, Fault> {
        let issuers = authority.issuers.iter().map(|issuer| issuer.certificate.clone()).collect();
        Ok(Self { bundle: bundle_of(&authority.roots)?, revoked, issuers, signers })
    }

    fn is_outdated(&self, of: (&str, &str), key: &SealKeyValue) -> bool {
        let is_known = || self.signers == TrustedSealSigners::Rooted || self.issuers.contains(&key.signer);
        let is_of_now = self.issuers.first() == Some(&key.signer);
        !is_of_now && is_known() && is_vouched(&self.bundle, &self.revoked, of, key)
    }
}

/// The cluster and the node of a record of what was issued; `None`: it is no node's.
fn node_of(id: &RecordId) -> Option<(&str, &str)> {
    id.key.strip_prefix("node/")?.split_once('/')
}

async fn vouch_for(
    registry: &Registry,
    signer: &Signer,
    signers: TrustedSealSigners,
    records: &[RecordId],
) -> Result<(), KeepError> {
    let action = "certificates.vouch-for-seal-keys";
    let written = registry.change_own::<_, KeepError>(action, [CERTIFICATE], |reader| {
        let authority = authority_in(reader)?;
        let issuer = signer.issuer(&authority)?;
        let judge = SealKeyJudge::of(&authority, signer.revoked(|id| reader.get(id)), signers)?;
        let (mut writes, mut changes) = (Vec::new(), Vec::new());
        for id in records {
            let (Some(of), Some(held)) = (node_of(id), held_in(reader, id)) else { continue };
            let (mut held, mut has_changed) = ((*held).clone(), false);
            for key in held.seal_keys.iter_mut().filter(|key| judge.is_outdated(of, key)) {
                let anew = vouched(&issuer, of, &key.key).map_err(|error| not_made(&error))?;
                (key.signature, key.signer) = (anew.signature, anew.signer);
                has_changed = true;
                changes.push(format!("{}: seals by {}", of.1, fingerprint(&key.key)));
            }
            // Another issuer may have been faster.
            if has_changed {
                writes.push(put(id.clone(), &held));
            }
        }
        let first = writes.first().map(|write| write.id().to_string());
        Ok(first.map(|object| OwnChange { object, writes, changes, answer: () }))
    });
    written.await.map(drop)
}
