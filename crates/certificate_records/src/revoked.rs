//! Revocation list as the registry keeps it, which counts for what the authority has signed.

use std::sync::Arc;

use omnirelay_core::spiffe::TrustDomain;
use omnirelay_pki::certificate::{CertificateSerial, key_of, validity_of};
use omnirelay_pki::key::Fingerprint;
use omnirelay_pki::revocation::{Revocation, Revocations, RevokedSubject};
use omnirelay_pki::trust::{ClusterIssuers, TrustBundle};
use omnirelay_registry::view::ViewRecord;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::store::v1::revoked_value::What;
use omnirelay_wire::pb::omnirelay::store::v1::{RevocationList, RevocationValue, RevokedValue};
use omnirelay_wire::reasons;
use omnirelay_wire::unknown_fields::UnknownFields;
use prost::Message as _;
use rustls::pki_types::CertificateDer;

/// As what lists of revocations are signed.
pub const REVOCATIONS: &str = "revocations 1";

/// The list as it is signed and kept.
pub fn encoded(domain: &TrustDomain, list: &Revocations) -> Vec<u8> {
    let entries = list.iter().map(|(what, revocation)| {
        let named = |what| RevokedValue {
            what: Some(what),
            unknown_fields: UnknownFields::from(revocation.unknown_fields.clone()),
            ..RevokedValue::default()
        };
        let named = match what {
            RevokedSubject::Serial(serial) => named(What::Serial(serial.as_bytes().to_vec())),
            RevokedSubject::Key(key) => named(What::Key(key.as_bytes().to_vec())),
            RevokedSubject::Holder(id) => named(What::Holder(id.to_string())),
            RevokedSubject::Node { cluster, node } => named(What::Node(format!("{cluster}/{node}"))),
            // It was read before it was kept.
            RevokedSubject::Later(written) => RevokedValue::decode(written.as_slice()).unwrap_or_default(),
        };
        RevokedValue {
            since: revocation.since,
            until: revocation.until,
            reason: revocation.reason.clone(),
            reinstated: revocation.reinstated,
            ..named
        }
    });
    let (trust_domain, entries) = (domain.to_string(), entries.collect());
    let unknown_fields = UnknownFields::from(list.unknown_fields().to_vec());
    RevocationList { trust_domain, number: list.number(), entries, unknown_fields }.encode_to_vec()
}

/// The list that was kept, whoever wrote it; an empty one where there is none. What a later version revokes in a way that
/// this one does not know is in it as [`RevokedSubject::Later`].
///
/// # Errors
/// `AUTHORITY_UNREADABLE`, when it is none.
pub fn known(value: Option<&RevocationValue>) -> Result<Revocations, Fault> {
    let Some(value) = value else { return Ok(Revocations::default()) };
    let list = RevocationList::decode(&*value.body).map_err(|_| {
        let message = "the registry holds something that is no list of revocations";
        Fault::new(reasons::AUTHORITY_UNREADABLE, message)
    })?;
    let unknown_fields = list.unknown_fields.as_bytes().to_vec();
    Ok(Revocations::new(list.number, list.entries.into_iter().map(entry)).with_unknown_fields(unknown_fields))
}

/// The list of a record as [`known`] reads it, once for each version of the record; an empty one where it is none.
pub fn list_of(record: Option<&ViewRecord>) -> Arc<Revocations> {
    let read = |record: &ViewRecord| known(record.value::<RevocationValue>().as_deref()).unwrap_or_default();
    record.and_then(|record| record.made(read)).unwrap_or_default()
}

fn entry(value: RevokedValue) -> (RevokedSubject, Revocation) {
    let RevokedValue { what, since, until, reason, reinstated, unknown_fields } = value;
    let revocation = |unknown_fields| Revocation { since, until, reason, reinstated, unknown_fields };
    match what.as_ref().and_then(revoked) {
        Some(known) => (known, revocation(unknown_fields.as_bytes().to_vec())),
        None => {
            let written = RevokedValue { what, unknown_fields, ..RevokedValue::default() };
            (RevokedSubject::Later(written.encode_to_vec()), revocation(Vec::new()))
        }
    }
}

/// What an entry is about; `None`: this version does not know it so.
fn revoked(what: &What) -> Option<RevokedSubject> {
    Some(match what {
        What::Serial(bytes) => RevokedSubject::Serial(CertificateSerial::of(bytes)),
        What::Key(bytes) => RevokedSubject::Key(Fingerprint::from_bytes(bytes)?),
        What::Holder(id) => RevokedSubject::Holder(id.parse().ok()?),
        What::Node(node) => {
            let (cluster, node) = node.split_once('/')?;
            RevokedSubject::Node { cluster: cluster.to_owned(), node: node.to_owned() }
        }
    })
}

/// The list, if one of these issuers signed it. Until when its signer was valid does not matter: it signs none once it has ended,
/// and what was revoked does not come back with its end.
pub fn signed_list(issuers: ClusterIssuers<'_>, value: &RevocationValue) -> Option<Revocations> {
    let begun = validity_of(&value.signer).ok()?.0;
    let signer = [CertificateDer::from(value.signer.as_slice())];
    issuers.verify_signed(REVOCATIONS, &value.body, &value.signature, &signer, begun).ok()?;
    known(Some(value)).ok()
}

/// The list of the registry, if it is signed by an issuer that is not revoked by what is enforced already.
pub fn sound_list(
    issuers: ClusterIssuers<'_>,
    value: Option<&RevocationValue>,
    enforced: &Revocations,
) -> Option<Revocations> {
    let Some(value) = value else { return Some(Revocations::default()) };
    let is_sound = key_of(&value.signer).is_ok_and(|key| enforced.about(&RevokedSubject::Key(key)).is_none());
    signed_list(issuers, value).filter(|_| is_sound)
}

/// Revocations that a decision of a daemon of `cluster` goes by at the second `now`: the list of the registry, if it is sound, and always what
/// this node enforces. Whoever writes to the store and cannot sign adds nothing, and takes nothing away.
pub fn believed(
    cluster: &str,
    bundle: impl FnOnce() -> Option<TrustBundle>,
    value: Option<&RevocationValue>,
    enforced: &Revocations,
    now: i64,
) -> Revocations {
    // Signatures take longer than the rest of a decision, and the list is seldom news.
    if known(value).is_ok_and(|said| said == *enforced) {
        return enforced.clone();
    }
    let sound = bundle().and_then(|bundle| sound_list(bundle.issuers_of(cluster), value, enforced));
    let mut list = sound.unwrap_or_default();
    list.unite(enforced, now);
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A list of a later version: one entry is about something new, one has a new field, and so has the list.
    fn later() -> RevocationValue {
        let unknown = |number: u8| UnknownFields::from(vec![number << 3, 1]);
        let node = What::Node("default/node-1".to_owned());
        let entries = vec![
            RevokedValue { since: 5, until: 1 << 40, unknown_fields: unknown(9), ..RevokedValue::default() },
            RevokedValue { what: Some(node), unknown_fields: unknown(10), ..RevokedValue::default() },
        ];
        let list = RevocationList { number: 7, entries, unknown_fields: unknown(11), ..Default::default() };
        RevocationValue { body: list.encode_to_vec(), ..RevocationValue::default() }
    }

    #[test]
    fn what_a_later_version_revoked_outlives_each_change_of_the_list() {
        let domain: TrustDomain = "m".parse().unwrap();
        let read = known(Some(&later())).unwrap();
        let mut changed = read.clone();
        changed.revoke(RevokedSubject::Serial(CertificateSerial::of(&[1])), 10, 1 << 40, "stolen");
        changed.prune(20);
        let mut united = Revocations::default();
        united.unite(&changed, 20);
        for list in [changed, united] {
            let written = RevocationList::decode(encoded(&domain, &list).as_slice()).unwrap();
            let before = RevocationList::decode(&*later().body).unwrap();
            assert_eq!(written.unknown_fields, before.unknown_fields);
            assert!(before.entries.iter().all(|entry| written.entries.contains(entry)), "{written:?}");
            assert_eq!(written.entries.len(), 3);
        }
    }
}
