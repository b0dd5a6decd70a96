//! What is revoked: the list as the registry keeps it, which counts for what the authority has signed.

use omnirelay_core::spiffe::TrustDomain;
use omnirelay_pki::certificate::{Serial, key_of, validity_of};
use omnirelay_pki::key::Fingerprint;
use omnirelay_pki::revocation::{Revocation, Revocations, Revoked};
use omnirelay_pki::trust::Bundle;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::store::v1::revoked_value::What;
use omnirelay_wire::pb::omnirelay::store::v1::{RevocationList, RevocationValue, RevokedValue};
use omnirelay_wire::reasons;
use prost::Message as _;
use rustls::pki_types::CertificateDer;

/// As what lists of revocations are signed.
pub const REVOCATIONS: &str = "revocations 1";

/// The list as it is signed and kept.
pub fn encoded(domain: &TrustDomain, list: &Revocations) -> Vec<u8> {
    let entries = list.iter().map(|(what, revocation)| RevokedValue {
        what: Some(match what {
            Revoked::Serial(serial) => What::Serial(serial.as_bytes().to_vec()),
            Revoked::Key(key) => What::Key(key.as_bytes().to_vec()),
            Revoked::Holder(id) => What::Holder(id.to_string()),
            Revoked::Node { cluster, node } => What::Node(format!("{cluster}/{node}")),
        }),
        since: revocation.since,
        until: revocation.until,
        reason: revocation.reason.clone(),
        reinstated: revocation.reinstated,
    });
    let (trust_domain, entries) = (domain.to_string(), entries.collect());
    RevocationList { trust_domain, number: list.number(), entries }.encode_to_vec()
}

/// The list that was kept, whoever wrote it; an empty one where there is none. Of what a later version revokes and this one
/// does not know how, nothing is in it.
///
/// # Errors
/// `AUTHORITY_UNREADABLE`, when it is none.
pub fn known(value: Option<&RevocationValue>) -> Result<Revocations, Fault> {
    let Some(value) = value else { return Ok(Revocations::default()) };
    let list = RevocationList::decode(&*value.body).map_err(|_| {
        let message = "the registry holds something that is no list of revocations";
        Fault::new(reasons::AUTHORITY_UNREADABLE, message)
    })?;
    Ok(Revocations::new(list.number, list.entries.into_iter().filter_map(entry)))
}

fn entry(value: RevokedValue) -> Option<(Revoked, Revocation)> {
    let RevokedValue { what, since, until, reason, reinstated } = value;
    let what = match what? {
        What::Serial(bytes) => Revoked::Serial(Serial::of(&bytes)),
        What::Key(bytes) => Revoked::Key(Fingerprint::from_bytes(&bytes)?),
        What::Holder(id) => Revoked::Holder(id.parse().ok()?),
        What::Node(node) => {
            let (cluster, node) = node.split_once('/')?;
            Revoked::Node { cluster: cluster.to_owned(), node: node.to_owned() }
        }
    };
    Some((what, Revocation { since, until, reason, reinstated }))
}

/// The list, if the authority signed it. Until when its signer was valid does not matter: it signs none once it has ended,
/// and what was revoked does not come back with its end.
pub fn signed_list(bundle: &Bundle, value: &RevocationValue) -> Option<Revocations> {
    let begun = validity_of(&value.signer).ok()?.0;
    let signer = [CertificateDer::from(value.signer.as_slice())];
    bundle.verify_signed(REVOCATIONS, &value.body, &value.signature, &signer, begun).ok()?;
    known(Some(value)).ok()
}

/// The list of the registry, if it is signed by an authority that is not revoked by what is enforced already.
pub fn sound_list(
    bundle: &Bundle,
    value: Option<&RevocationValue>,
    enforced: &Revocations,
) -> Option<Revocations> {
    let Some(value) = value else { return Some(Revocations::default()) };
    let is_sound = key_of(&value.signer).is_ok_and(|key| enforced.about(&Revoked::Key(key)).is_none());
    signed_list(bundle, value).filter(|_| is_sound)
}

/// What a decision goes by: the list of the registry, if it is sound, and in any case what this node enforces, at the second
/// `now`. Whoever writes to the store and cannot sign adds nothing to it, and takes nothing away.
pub fn believed(
    bundle: impl FnOnce() -> Option<Bundle>,
    value: Option<&RevocationValue>,
    enforced: &Revocations,
    now: i64,
) -> Revocations {
    // Signatures take longer than the rest of a decision, and the list is seldom news.
    if known(value).is_ok_and(|said| said == *enforced) {
        return enforced.clone();
    }
    let sound = bundle().and_then(|bundle| sound_list(&bundle, value, enforced));
    let mut list = sound.unwrap_or_default();
    list.unite(enforced, now);
    list
}
