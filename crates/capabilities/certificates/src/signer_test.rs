//! Signer of an issuer: what it signs, and what counts of that.

use omnirelay_identity::trust::unix_now;
use omnirelay_pki::authority::{CertificateAuthority, ValidityPeriod};
use omnirelay_pki::revocation::Revocations;
use omnirelay_pki::trust::TrustBundle;
use omnirelay_store::MemoryStore;
use omnirelay_wire::pb::omnirelay::store::v1::RevocationValue;

use super::tests::{authority, initialised, node};
use super::*;

#[tokio::test]
async fn an_issuer_that_has_ended_signs_no_list_and_those_that_it_signed_hold() {
    let (store, place) = (Arc::new(MemoryStore::system()), tempfile::tempdir().unwrap());
    let node = node("node-1", store, place.path()).await;
    initialised(&node).await;
    let (list, year) = (Revocations::default(), 366 * 24 * 3600);
    let signed = |now| node.served.signer.signed(&authority(&node), &list, now);
    assert!(signed(unix_now()).is_ok());
    assert_eq!(signed(unix_now() + year).unwrap_err().reason, "AUTHORITY_ENDED");
    let life = |not_after| ValidityPeriod { not_before: unix_now() - 7200, not_after };
    let root = CertificateAuthority::root("m".parse().unwrap(), life(unix_now() + year)).unwrap();
    let issuer = root.intermediate("default", life(unix_now() - 3600)).unwrap();
    let body = omnirelay_certificate_records::revoked::encoded(issuer.trust_domain(), &list);
    let signature = issuer.sign(omnirelay_certificate_records::revoked::REVOCATIONS, &body).unwrap();
    let value = RevocationValue {
        body,
        signature,
        signer: issuer.certificate().to_vec(),
        unknown_fields: Default::default(),
    };
    let bundle = TrustBundle::of(vec![root.certificate().clone()]).unwrap();
    assert_eq!(
        omnirelay_certificate_records::revoked::signed_list(bundle.issuers_of("default"), &value),
        Some(list.clone())
    );
    let forged = RevocationValue { signature: Vec::new(), ..value };
    assert_eq!(
        omnirelay_certificate_records::revoked::signed_list(bundle.issuers_of("default"), &forged),
        None
    );
}
