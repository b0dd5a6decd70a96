//! Signers of the records of who may do what: the issuers that the authority's record names, under trusted roots.

use std::sync::Arc;

use bytes::Bytes;
use omnirelay_certificate_records::{JOIN_TOKEN, authority_id};
use omnirelay_decisions::signed_record::{RECORD, RecordName, RecordSigners, message};
use omnirelay_identity::trust::{MeshTrust, unix_now};
use omnirelay_pki::authority::is_across;
use omnirelay_pki::certificate::{key_of, validity_of};
use omnirelay_pki::issuer_key::IssuerKey;
use omnirelay_pki::key::Fingerprint;
use omnirelay_pki::revocation::RevokedSubject;
use omnirelay_pki::trust::TrustBundle;
use omnirelay_registry::view::{AuthoritySuccession, RecordIssuers, RecordSigning};
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::store::v1::{AuthorityValue, RecordSignature, SigningValue};
use prost::Message as _;
use rustls::pki_types::CertificateDer;

use super::authority::bundle_of;
use super::sibling::SIBLING_ISSUERS_MAX;
use super::signer::{Signer, not_made};
use super::{pending_id, tokens, unreadable};

/// How many roots, issuers and keys an authority has at most.
const OF_EACH_MAX: usize = 16;

/// Judges whose signatures count, and signs where this node can.
pub struct MeshIssuers {
    /// The cluster of the daemon.
    pub cluster: String,
    pub trust: Arc<MeshTrust>,
    pub signer: Arc<Signer>,
}

impl MeshIssuers {
    /// Signing by which the view is to judge signed records.
    pub fn signing(self) -> RecordSigning {
        RecordSigning { authority: authority_id(), exempt: pending_id(), issuers: Arc::new(self) }
    }

    /// The roots that another authority has to lead to; `None`: whoever comes first is believed.
    fn trusted(&self, before: Option<&AuthorityValue>) -> Option<TrustBundle> {
        match before {
            Some(before) => bundle_of(&before.roots).ok(),
            // What this host has kept, or was given when it joined.
            None => self.trust.current().bundle.clone(),
        }
    }

    /// The keys of those who sign, the newest first, as far as they lead to the roots and are not revoked.
    fn keys(
        &self,
        authority: &AuthorityValue,
        roots: &TrustBundle,
    ) -> Result<Option<Arc<RecordSigners>>, String> {
        let Some(signing) = &authority.record_signing else { return Ok(None) };
        let revocations = &self.trust.current().revocations;
        let issuers: Vec<(Fingerprint, &SigningValue)> = authority
            .issuers
            .iter()
            .filter_map(|issuer| Some((key_of(&issuer.certificate).ok()?, issuer)))
            .collect();
        let key = |fingerprint: &Vec<u8>| {
            let fingerprint = Fingerprint::from_bytes(fingerprint)?;
            let (_, issuer) = issuers.iter().find(|(key, _)| *key == fingerprint)?;
            let chain = [CertificateDer::from(issuer.certificate.as_slice())];
            // Until when it was valid does not matter: what it signed stays, and is signed anew by the one that follows.
            let (begun, _) = validity_of(&chain[0]).ok()?;
            // Whoever writes to the store may have named the issuer of another cluster.
            roots.issuers_of(&self.cluster).verify(&chain, begun).ok()?;
            let counts = revocations.about(&RevokedSubject::Key(fingerprint)).is_none();
            if counts { IssuerKey::of(&chain[0], roots.trust_domain().clone()).ok() } else { None }
        };
        let keys: Vec<IssuerKey> = signing.keys.iter().filter_map(key).collect();
        if keys.is_empty() {
            return Err("none of the issuers that it names leads to a root that is trusted".to_owned());
        }
        let (cluster, unsigned_counts) = (self.cluster.clone(), signing.unsigned_counts);
        Ok(Some(Arc::new(RecordSigners { cluster, keys, unsigned_counts })))
    }
}

impl RecordIssuers for MeshIssuers {
    fn follow(&self, before: Option<&Bytes>, next: &Bytes) -> Result<AuthoritySuccession, String> {
        let next = decoded(next).ok_or("it is no certificate authority")?;
        let before = before.and_then(decoded);
        check_size(&next)?;
        if let Some(trusted) = self.trusted(before.as_ref()) {
            check_roots(&trusted, &next)?;
        }
        let roots = bundle_of(&next.roots).map_err(|_| "its roots are none of one trust domain")?;
        let signers = self.keys(&next, &roots)?;
        let newest = signers.as_ref().and_then(|signers| signers.keys.first());
        let is_by_new_issuer =
            newest.is_some_and(|key| before.as_ref().is_none_or(|before| is_new(key, before, &next)));
        Ok(AuthoritySuccession { signers, is_by_new_issuer })
    }

    fn check_may_sign(&self, authority: &Bytes) -> Result<(), Fault> {
        let authority = decoded(authority).ok_or_else(unreadable)?;
        self.signer.issuer(&authority).map(drop)
    }

    fn has_ended(&self, name: RecordName<'_>, payload: &Bytes) -> bool {
        name.kind == JOIN_TOKEN.0 && tokens::has_ended(payload, unix_now())
    }

    fn sign(
        &self,
        authority: &Bytes,
        name: RecordName<'_>,
        payload: &[u8],
        mut signature: RecordSignature,
    ) -> Result<RecordSignature, Fault> {
        let issuer = self.signer.issuer(&decoded(authority).ok_or_else(unreadable)?)?;
        let key = key_of(issuer.certificate()).map_err(|_| unreadable())?;
        signature.key = key.as_bytes().to_vec();
        let message = message(&self.cluster, name, payload, &signature);
        signature.signature = issuer.sign(RECORD, &message).map_err(|error| not_made(&error))?;
        Ok(signature)
    }
}

fn decoded(value: &Bytes) -> Option<AuthorityValue> {
    AuthorityValue::decode(value.clone()).ok()
}

/// That an authority has no more of anything than one can have: what somebody else wrote is not looked at for long.
fn check_size(authority: &AuthorityValue) -> Result<(), String> {
    let keys = authority.record_signing.as_ref().map_or(0, |signing| signing.keys.len());
    let sizes = [
        ("roots", authority.roots.len(), OF_EACH_MAX),
        ("issuers", authority.issuers.len(), OF_EACH_MAX),
        ("keys that sign", keys, OF_EACH_MAX),
        ("issuers of other clusters", authority.sibling_issuers.len(), SIBLING_ISSUERS_MAX),
    ];
    match sizes.iter().find(|(_, count, max)| count > max) {
        Some((what, count, max)) => {
            Err(format!("it has {count} {what}, and no authority has more than {max}"))
        }
        None => Ok(()),
    }
}

/// Whether an issuer is none that an authority knew, and begins with or after the newest of those.
fn is_new(key: &IssuerKey, before: &AuthorityValue, next: &AuthorityValue) -> bool {
    let is_it = |one: &&SigningValue| key_of(&one.certificate).is_ok_and(|known| known == key.fingerprint());
    let validity = |one: &SigningValue| validity_of(&one.certificate).ok();
    let newest = before.issuers.first().and_then(validity).map_or(i64::MIN, |(begin, _)| begin);
    let own = next.issuers.iter().find(is_it).and_then(validity);
    let lives = own.is_some_and(|(begin, end)| begin >= newest && end >= unix_now());
    lives && !before.issuers.iter().any(|one| is_it(&one))
}

/// That each root of an authority is trusted, or certified by one that is.
fn check_roots(trusted: &TrustBundle, next: &AuthorityValue) -> Result<(), String> {
    let is_trusted = |root: &SigningValue| {
        trusted.roots().iter().any(|known| known.as_ref() == root.certificate) || is_certified(trusted, root)
    };
    match next.roots.iter().find(|root| !is_trusted(root)) {
        None => Ok(()),
        Some(root) => Err(format!(
            "its root {} is none that is trusted here, and none of those has certified it",
            Fingerprint::of(&root.certificate)
        )),
    }
}

/// Whether a root that is trusted has certified the key of another one.
fn is_certified(trusted: &TrustBundle, root: &SigningValue) -> bool {
    let across = CertificateDer::from(root.across.as_slice());
    let is_of_root = key_of(&across).is_ok_and(|key| key_of(&root.certificate).is_ok_and(|root| key == root));
    // As of when it did: it may have ended since.
    let begun = validity_of(&across).map_or(0, |(begin, _)| begin);
    // An issuer of another cluster is certified by the root as well, and no root for that.
    is_of_root && is_across(&across) && trusted.verify_authority(&[across], begun).is_ok()
}
