//! Issuers of other clusters: when a root certifies them, and what they sign that is not theirs.

use omnirelay_certificate_records::revoked::{REVOCATIONS, encoded};
use omnirelay_pki::authority::{CertificateAuthority, ValidityPeriod};
use omnirelay_pki::certificate::{CertificateSerial, TlsNames, key_of};
use omnirelay_pki::key::PrivateKey;
use omnirelay_pki::request::CertificateRequest as Csr;
use omnirelay_pki::revocation::{Revocations, RevokedSubject};
use omnirelay_pki::trust::TrustBundle;
use omnirelay_registry::view::RecordIssuers as _;
use omnirelay_store::MemoryStore;
use omnirelay_wire::pb::omnirelay::store::v1::{
    AuthorityValue, BindingValue, ClusterTrustValue, RecordSigning, RevocationValue, SigningValue,
    TokenKeyValue,
};
use prost::Message as _;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::cluster_trust::{digest_of, judged};
use super::protect_tests::lab::{authority_of, mesh, signed_by};
use super::record_issuers::MeshIssuers;
use super::tests::{Node, called, csr, initialised, issued_to, node, reason};
use super::*;
use crate::bindings::binding_id;

fn life() -> ValidityPeriod {
    let now = omnirelay_identity::trust::unix_now();
    ValidityPeriod { not_before: now - 300, not_after: now + 86_400 }
}

/// What one who believes an authority makes of another that somebody wrote: the keys that sign from then on.
fn judged_by(
    believer: &Certificates,
    before: &AuthorityValue,
    next: &AuthorityValue,
) -> Result<Vec<Vec<u8>>, String> {
    let (cluster, signer) = ("default".into(), believer.signer.clone());
    let issuers = MeshIssuers { cluster, trust: believer.trust.clone(), signer };
    let followed = issuers.follow(Some(&before.encode_to_vec().into()), &next.encode_to_vec().into())?;
    let signers = followed.signers.into_iter().flat_map(|signers| signers.keys.clone());
    Ok(signers.map(|key| key.fingerprint().as_bytes().to_vec()).collect())
}

fn asked(cluster: &str) -> pb::CertifySiblingRequest {
    let csr_pem = csr(&PrivateKey::make().unwrap(), &TlsNames::default());
    pb::CertifySiblingRequest { cluster: cluster.to_owned(), csr_pem, ..Default::default() }
}

async fn certified(node: &Node, cluster: &str) -> pb::SiblingIssuer {
    node.served.certify_sibling(called(asked(cluster))).await.unwrap().into_inner()
}

#[tokio::test]
async fn a_root_certifies_issuers_of_other_clusters_and_is_not_retired_while_one_leads_to_it_alone() {
    let (store, place) = (Arc::new(MemoryStore::system()), tempfile::tempdir().unwrap());
    let node = node("node-1", store, place.path()).await;
    assert_eq!(reason(node.served.certify_sibling(called(asked("west"))).await), "NO_AUTHORITY");
    initialised(&node).await;
    for (what, wrong) in [
        ("its own cluster", asked("default")),
        ("no name", asked("")),
        ("a name that no cluster has", asked("West")),
        ("no request", pb::CertifySiblingRequest { csr_pem: "west".into(), ..asked("west") }),
        ("longer than its root", pb::CertifySiblingRequest { issuer_days: 40_000, ..asked("west") }),
    ] {
        assert_eq!(reason(node.served.certify_sibling(called(wrong)).await), "INVALID_ARGUMENT", "{what}");
    }
    let dry = pb::CertifySiblingRequest { dry_run: true, ..asked("west") };
    let dry = node.served.certify_sibling(called(dry)).await.unwrap().into_inner();
    assert!(dry.issuer_pem.is_empty() && !dry.changes.is_empty());
    let west = certified(&node, "west").await;
    let der = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    let issuer = [der(&west.issuer_pem)];
    let bundle = TrustBundle::of(vec![der(&west.root_pem)]).unwrap();
    let now = omnirelay_identity::trust::unix_now();
    assert!(bundle.issuers_of("west").verify(&issuer, now).is_ok());
    assert!(bundle.issuers_of("default").verify(&issuer, now).is_err());
    let shown = node.served.get_authority(called(pb::GetAuthorityRequest::default())).await.unwrap();
    let named = |shown: pb::GetAuthorityResponse| -> Vec<String> {
        shown.authority.unwrap().sibling_issuers.into_iter().map(|one| one.cluster).collect()
    };
    assert_eq!(named(shown.into_inner()), ["west"]);

    let rotate = pb::RotateAuthorityRequest { root: true, ..Default::default() };
    let rotated = node.served.rotate_authority(called(rotate)).await.unwrap().into_inner();
    let older = rotated.authority.unwrap().roots[1].fingerprint.clone();
    let retire = || called(pb::RetireRootRequest { fingerprint: older.clone(), ..Default::default() });
    issued_to(&node, "ann").await;
    let refused = node.served.retire_root(retire()).await.unwrap_err();
    assert!(
        refused.message().contains("of other clusters") && refused.message().contains("west"),
        "{refused}"
    );
    let again = certified(&node, "west").await;
    assert!(!again.across_pem.is_empty(), "whoever trusts the root before is led to the new one");
    node.served.retire_root(retire()).await.unwrap();
}

/// The plant: whoever has the issuer of another cluster writes to the store of this one.
#[tokio::test]
async fn an_issuer_of_another_cluster_signs_no_record_of_this_one() {
    let place = tempfile::tempdir().unwrap();
    let (attacker, a, b) = mesh(place.path()).await;
    let authority = authority_of(&a);
    let key = PrivateKey::make().unwrap();
    let request = Csr::read(&Csr::make(&key, None, &TlsNames::default()).unwrap()).unwrap();
    let issuer = a.served.signer.certify_sibling(&authority, &request, ("west", life())).unwrap();
    let west = CertificateAuthority::kept("mesh.local".parse().unwrap(), issuer.clone().into(), key).unwrap();
    let signing = key_of(west.certificate()).unwrap().as_bytes().to_vec();
    let mut forged = (*authority).clone();
    forged.issuers.insert(0, SigningValue { certificate: issuer, ..Default::default() });
    let keys = forged.record_signing.clone().unwrap_or_default().keys;
    forged.record_signing =
        Some(RecordSigning { keys: [vec![signing.clone()], keys.clone()].concat(), ..Default::default() });
    assert_eq!(
        judged_by(&a.served, &authority, &forged),
        Ok(keys),
        "all that sign, and not that of the west"
    );
    for _ in 0..2 {
        let value = signed_by(&west, &authority_id(), &forged.encode_to_vec(), 1000);
        attacker.put(&authority_id(), value).await;
        let eve = BindingValue { scopes: vec!["mesh.admin".into()], ..Default::default() };
        let eve = signed_by(&west, &binding_id("operator:eve"), &eve.encode_to_vec(), 1);
        attacker.put(&binding_id("operator:eve"), eve).await;
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        for of in [&a, &b] {
            assert!(of.view().get(&binding_id("operator:eve")).is_none());
            let known = authority_of(of);
            assert!(known.issuers.iter().all(|one| signing != key_of(&one.certificate).unwrap().as_bytes()));
        }
        // Also where the authority's record is its own again, and only the binding is not.
    }
}

/// The plant: the issuer of another cluster is a root of its own, as which the root of this mesh seems to have certified it.
#[tokio::test]
async fn the_certificate_of_an_issuer_makes_no_root_of_its_key() {
    let place = tempfile::tempdir().unwrap();
    let (attacker, a, b) = mesh(place.path()).await;
    let authority = authority_of(&a);
    let key = PrivateKey::make().unwrap();
    let request = Csr::read(&Csr::make(&key, None, &TlsNames::default()).unwrap()).unwrap();
    let across = a.served.signer.certify_sibling(&authority, &request, ("west", life())).unwrap();
    // A root that signs itself by the key of that issuer, and an issuer of this cluster under it.
    let mut params = rcgen::CertificateParams::default();
    params.subject_alt_names = vec![rcgen::SanType::URI("spiffe://mesh.local".try_into().unwrap())];
    params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Constrained(2));
    let pair = rcgen::KeyPair::from_pem(&key.to_pem()).unwrap();
    let own = params.self_signed(&pair).unwrap().der().clone();
    let root = CertificateAuthority::kept("mesh.local".parse().unwrap(), own.clone(), key).unwrap();
    // It begins after the issuer of now, as one that follows it.
    let now = omnirelay_identity::trust::unix_now();
    let life = ValidityPeriod { not_before: now, not_after: now + 3600 };
    let issuer = root.intermediate("default", life).unwrap();
    let mut forged = (*authority).clone();
    forged.roots.insert(0, SigningValue { certificate: own.to_vec(), across, ..Default::default() });
    forged
        .issuers
        .insert(0, SigningValue { certificate: issuer.certificate().to_vec(), ..Default::default() });
    let key = key_of(issuer.certificate()).unwrap().as_bytes().to_vec();
    forged.record_signing = Some(RecordSigning { keys: vec![key.clone()], ..Default::default() });
    // The same of a root that has really been certified is followed: nothing else is wrong with it.
    let mut followed = forged.clone();
    followed.roots[0].across = a.served.signer.across(&authority, &own).unwrap();
    assert_eq!(judged_by(&a.served, &authority, &followed), Ok(vec![key]));
    let refused = judged_by(&a.served, &authority, &forged).unwrap_err();
    assert!(refused.contains("none of those has certified it"), "{refused}");
    attacker.put(&authority_id(), signed_by(&issuer, &authority_id(), &forged.encode_to_vec(), 1000)).await;
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    for of in [&a, &b] {
        assert!(authority_of(of).roots.iter().all(|known| known.certificate != own.to_vec()));
    }
}

fn list_by(issuer: &CertificateAuthority, list: &Revocations) -> RevocationValue {
    let body = encoded(issuer.trust_domain(), list);
    let signature = issuer.sign(REVOCATIONS, &body).unwrap();
    RevocationValue { body, signature, signer: issuer.certificate().to_vec(), ..Default::default() }
}

#[test]
fn what_a_cluster_tells_counts_as_its_own_issuer_has_signed_it() {
    let root = CertificateAuthority::root("mesh.local".parse().unwrap(), life()).unwrap();
    let [east, west] = ["east", "west"].map(|cluster| root.intermediate(cluster, life()).unwrap());
    let bundle = TrustBundle::of(vec![root.certificate().clone()]).unwrap();
    let mut list = Revocations::default();
    list.revoke(RevokedSubject::Serial(CertificateSerial::of(&[1])), 1, i64::MAX, "stolen");
    let sealing = omnirelay_identity::node_identity::sealing_key_of(&[7; 32]).unwrap();
    let key_by = |issuer: &CertificateAuthority| {
        let key = token_keys::make(&sealing, issuer).unwrap();
        TokenKeyValue { sealed_key: Vec::new(), ..key }
    };
    let told = |list_by: RevocationValue, keys: Vec<TokenKeyValue>| ClusterTrustValue {
        revocations: Some(list_by),
        token_keys: keys,
        ..Default::default()
    };
    let nothing = Revocations::default();
    let of_west = |told: &ClusterTrustValue| judged(bundle.issuers_of("west"), &nothing, told);
    let sound = told(list_by(&west, &list), vec![key_by(&west)]);
    let trust = of_west(&sound).unwrap();
    assert_eq!((trust.revocations.iter().count(), trust.token_keys.len()), (1, 1));
    assert!(of_west(&told(list_by(&east, &list), Vec::new())).is_none(), "another cluster has signed it");
    assert!(of_west(&told(list_by(&root, &list), Vec::new())).is_none(), "nor has the root");
    assert!(of_west(&ClusterTrustValue::default()).is_none(), "nobody has signed nothing");
    let mut changed = list_by(&west, &list);
    changed.body = encoded(west.trust_domain(), &nothing);
    assert!(of_west(&told(changed, Vec::new())).is_none(), "somebody else has changed it");
    let by_east = told(list_by(&west, &list), vec![key_by(&east), key_by(&west)]);
    assert_eq!(of_west(&by_east).unwrap().token_keys.len(), 1, "east vouches for no key of west");
    let mut revoked = Revocations::default();
    let key = key_of(west.certificate()).unwrap();
    revoked.revoke(RevokedSubject::Key(key), 1, i64::MAX, "its key was stolen");
    assert!(judged(bundle.issuers_of("west"), &revoked, &sound).is_none(), "its issuer is out here");
    let keys_out = told(list_by(&west, &list), vec![key_by(&root.intermediate("west", life()).unwrap())]);
    let mut signer_out = Revocations::default();
    let signer = key_of(&keys_out.token_keys[0].signer).unwrap();
    signer_out.revoke(RevokedSubject::Key(signer), 1, i64::MAX, "its key was stolen");
    let trust = judged(bundle.issuers_of("west"), &signer_out, &keys_out).unwrap();
    assert!(trust.token_keys.is_empty(), "who has vouched for the key is out here");
    let again = told(list_by(&west, &list), sound.token_keys.clone());
    assert_eq!(digest_of(&again), digest_of(&sound), "the same, signed another time, is no news");
    assert_ne!(digest_of(&by_east), digest_of(&sound));
}
