//! Another issuer, another root, and a root whose key is elsewhere.

use omnirelay_core::spiffe::TrustDomain;
use omnirelay_identity::trust::{CertificateRefusal, unix_now};
use omnirelay_pki::authority::{CertificateAuthority, ValidityPeriod};
use omnirelay_pki::certificate::{TlsNames, to_pem};
use omnirelay_pki::key::PrivateKey;
use omnirelay_pki::request::CertificateRequest as Csr;
use omnirelay_pki::trust::{ChainUsage, TrustBundle};
use omnirelay_store::{MemoryStore, Store};

use super::tests::{Node, authority, called, chain, initialised, issued_to, judged, node, reason, until};
use super::*;

async fn one() -> (Node, tempfile::TempDir) {
    let (node, _, place) = with_store().await;
    (node, place)
}

async fn with_store() -> (Node, Arc<dyn Store>, tempfile::TempDir) {
    let (store, place) = (Arc::new(MemoryStore::system()), tempfile::tempdir().unwrap());
    (node("node-1", store.clone(), place.path()).await, store, place)
}

async fn rotated(node: &Node, asked: pb::RotateAuthorityRequest) -> pb::Authority {
    node.served.rotate_authority(called(asked)).await.unwrap().into_inner().authority.unwrap()
}

fn new_root() -> pb::RotateAuthorityRequest {
    pb::RotateAuthorityRequest { root: true, ..Default::default() }
}

fn retired(fingerprint: &str, force: bool) -> tonic::Request<pb::RetireRootRequest> {
    called(pb::RetireRootRequest { fingerprint: fingerprint.to_owned(), force, ..Default::default() })
}

fn bundle(pems: &[&str]) -> TrustBundle {
    use rustls::pki_types::pem::PemObject as _;
    let der = |pem: &&str| rustls::pki_types::CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    TrustBundle::of(pems.iter().map(der).collect()).unwrap()
}

#[tokio::test]
async fn whoever_knows_one_root_believes_what_is_issued_until_the_other_is_retired() {
    let (node, _place) = one().await;
    initialised(&node).await;
    let before = issued_to(&node, "ann").await;
    let first = rotated(&node, pb::RotateAuthorityRequest::default()).await;
    assert_eq!((first.roots.len(), first.issuers.len()), (1, 2));
    assert!(first.issuers[0].key_in_registry && !first.issuers[1].key_in_registry, "{first:?}");
    let second = rotated(&node, new_root()).await;
    let [newest, older] = &second.roots[..] else { panic!("{second:?}") };
    assert!(newest.key_in_registry && !older.key_in_registry);
    let after = issued_to(&node, "bob").await;
    for trusted in [bundle(&[&newest.pem]), bundle(&[&older.pem])] {
        trusted.verify(&chain(&after), unix_now(), ChainUsage::Client).unwrap();
    }
    until("the node goes over to the new root", || {
        let own = node.trust.current().own.clone().unwrap();
        bundle(&[&newest.pem]).verify(&own.chain[..2], unix_now(), ChainUsage::Server).is_ok()
    })
    .await;
    assert!(judged(&node, &before).is_ok() && judged(&node, &after).is_ok());
    assert_eq!(reason(node.served.rotate_authority(called(new_root())).await), "AUTHORITY_ROTATING");
    assert_eq!(reason(node.served.retire_root(retired(&newest.fingerprint, true)).await), "ROOT_IN_USE");
    assert_eq!(reason(node.served.retire_root(retired("00", false)).await), "ROOT_NOT_FOUND");
    let refused = node.served.retire_root(retired(&older.fingerprint, false)).await.unwrap_err();
    assert!(refused.message().contains("/operator/ann"), "{}", refused.message());
    node.served.retire_root(retired(&older.fingerprint, true)).await.unwrap();
    until("the root is trusted no more", || judged(&node, &before).is_err()).await;
    judged(&node, &after).unwrap();
    assert_eq!(chain(&issued_to(&node, "eve").await).len(), 2, "nothing leads across any more");
}

/// The list of revocations leads to a root that is trusted, whatever was retired.
#[tokio::test]
async fn what_was_revoked_stays_so_through_a_new_root() {
    let (node, store, place) = with_store().await;
    initialised(&node).await;
    let stolen = issued_to(&node, "bob").await;
    let revoke = pb::RevokeCertificateRequest { operator: "bob".into(), ..Default::default() };
    node.served.revoke(called(revoke)).await.unwrap();
    let older = rotated(&node, new_root()).await.roots[1].fingerprint.clone();
    node.served.retire_root(retired(&older, true)).await.unwrap();
    // A daemon that has never seen the root before judges by the list.
    let other = super::tests::node("node-2", store, place.path()).await;
    until("node-2 has the list", || other.trust.current().revocations.number() > 0).await;
    assert!(judged(&other, &stolen).is_err());
}

#[tokio::test]
async fn a_stolen_issuer_is_out_with_all_that_it_has_issued() {
    let (node, _place) = one().await;
    initialised(&node).await;
    let before = issued_to(&node, "ann").await;
    let own = || node.trust.current().own.clone().unwrap().leaf.serial.clone();
    let first = own();
    let issuer_alone = pb::RotateAuthorityRequest { revoke_before: true, ..Default::default() };
    let refused = node.served.rotate_authority(called(issuer_alone)).await;
    assert_eq!(reason(refused), "INVALID_ARGUMENT", "the root's key is sealed with the same secret");
    rotated(&node, pb::RotateAuthorityRequest { revoke_before: true, ..new_root() }).await;
    until("it is out", || judged(&node, &before) == Err(CertificateRefusal::Revoked)).await;
    judged(&node, &issued_to(&node, "bob").await).unwrap();
    until("the node that issues has another certificate", || own() != first).await;
}

/// A root as it is kept elsewhere, and its issuer.
fn elsewhere(csr: &str, domain: &str) -> (String, String) {
    let domain: TrustDomain = domain.parse().unwrap();
    let life = ValidityPeriod { not_before: unix_now() - 300, not_after: unix_now() + 86_400 };
    let root = CertificateAuthority::root(domain, life).unwrap();
    let issuer = root.certify_issuer(&Csr::from_pem(csr).unwrap(), "default", life).unwrap();
    (to_pem(root.certificate()), to_pem(&issuer))
}

async fn prepared(node: &Node) -> String {
    let asked = called(pb::PrepareIssuerRequest::default());
    node.served.prepare_issuer(asked).await.unwrap().into_inner().csr_pem
}

#[tokio::test]
async fn a_root_whose_key_is_elsewhere_certifies_the_issuer() {
    let (node, _place) = one().await;
    let (root_pem, issuer_pem) = elsewhere(&prepared(&node).await, "mesh.example");
    let init = |root_pem: &str, issuer_pem: &str| {
        let (root_pem, issuer_pem) = (root_pem.to_owned(), issuer_pem.to_owned());
        called(pb::InitAuthorityRequest { root_pem, issuer_pem, ..Default::default() })
    };
    let foreign = PrivateKey::make().unwrap();
    let foreign = Csr::make(&foreign, None, &TlsNames::default()).unwrap();
    let foreign = elsewhere(&omnirelay_pki::request::to_pem(&foreign), "mesh.example");
    let cases = [
        ("no root", init("", &issuer_pem), "INVALID_ARGUMENT"),
        ("no issuer", init(&root_pem, ""), "INVALID_ARGUMENT"),
        ("an issuer of another root", init(&foreign.0, &issuer_pem), "INVALID_ARGUMENT"),
        ("a key that was not prepared", init(&foreign.0, &foreign.1), "ISSUER_NOT_PREPARED"),
        ("an issuer for a root", init(&issuer_pem, &issuer_pem), "INVALID_ARGUMENT"),
        ("a root for an issuer", init(&root_pem, &root_pem), "ISSUER_NOT_PREPARED"),
    ];
    for (what, asked, expected) in cases {
        assert_eq!(reason(node.served.init_authority(asked).await), expected, "{what}");
    }
    let made = node.served.init_authority(init(&root_pem, &issuer_pem)).await.unwrap().into_inner();
    let authority = made.authority.unwrap();
    assert_eq!(
        (authority.trust_domain.as_str(), authority.roots[0].key_in_registry),
        ("mesh.example", false)
    );
    until("the node has an identity", || node.trust.current().own.is_some()).await;
    let alone = node.served.rotate_authority(called(pb::RotateAuthorityRequest::default())).await;
    assert_eq!(reason(alone), "ROOT_KEY_ELSEWHERE");
    let old = issuer_pem;
    let csr = prepared(&node).await;
    let asked = |issuer_pem: &str| {
        called(pb::RotateAuthorityRequest { issuer_pem: issuer_pem.to_owned(), ..Default::default() })
    };
    assert_eq!(reason(node.served.rotate_authority(asked(&old)).await), "ISSUER_NOT_PREPARED");
    let other = elsewhere(&csr, "mesh.example");
    let wrong = node.served.rotate_authority(asked(&other.1)).await;
    assert_eq!(reason(wrong), "INVALID_ARGUMENT", "of a root that is not trusted");
    let root = pb::RotateAuthorityRequest {
        root: true,
        root_pem: other.0,
        issuer_pem: other.1,
        ..Default::default()
    };
    let authority = rotated(&node, root).await;
    assert_eq!((authority.roots.len(), authority.issuers.len()), (2, 2));
    let issued = issued_to(&node, "ann").await;
    until("the new root is trusted", || judged(&node, &issued).is_ok()).await;
}

#[tokio::test]
async fn a_node_without_the_secret_rotates_nothing() {
    let (node, store, _place) = with_store().await;
    initialised(&node).await;
    let elsewhere = tempfile::tempdir().unwrap();
    let other = super::tests::node("node-2", store, elsewhere.path()).await;
    until("node-2 trusts the authority", || other.trust.current().bundle.is_some()).await;
    let asked = || called(pb::RotateAuthorityRequest::default());
    assert_eq!(reason(other.served.rotate_authority(asked()).await), "NOT_AN_ISSUER");
    let asked = called(pb::PrepareIssuerRequest::default());
    assert_eq!(reason(other.served.prepare_issuer(asked).await), "NOT_AN_ISSUER");
}

/// The secret of the issuer is lost, or is to be another: a node that has not the one of before has a root that is elsewhere
/// certify another issuer.
#[tokio::test]
async fn a_root_that_is_elsewhere_gives_the_mesh_another_secret() {
    let (node, store, _place) = with_store().await;
    let domain: TrustDomain = "mesh.example".parse().unwrap();
    let life = ValidityPeriod { not_before: unix_now() - 300, not_after: unix_now() + 86_400 };
    let root = CertificateAuthority::root(domain, life).unwrap();
    let certified =
        |csr: &str| to_pem(&root.certify_issuer(&Csr::from_pem(csr).unwrap(), "default", life).unwrap());
    let (root_pem, issuer_pem) = (to_pem(root.certificate()), certified(&prepared(&node).await));
    let init = pb::InitAuthorityRequest { root_pem, issuer_pem, ..Default::default() };
    node.served.init_authority(called(init)).await.unwrap();
    let before = issued_to(&node, "ann").await;
    let revoke = pb::RevokeCertificateRequest { operator: "bob".into(), ..Default::default() };
    let stolen = issued_to(&node, "bob").await;
    node.served.revoke(called(revoke)).await.unwrap();

    let elsewhere = tempfile::tempdir().unwrap();
    let other = super::tests::node("node-2", store, elsewhere.path()).await;
    until("node-2 has the list", || other.trust.current().revocations.number() > 0).await;
    let asked = |new_secret| called(pb::PrepareIssuerRequest { new_secret, ..Default::default() });
    assert_eq!(reason(other.served.prepare_issuer(asked(false)).await), "NOT_AN_ISSUER");
    let known = node.served.prepare_issuer(asked(false)).await.unwrap().into_inner();
    assert!(!known.signature.is_empty(), "who issues vouches for the next issuer");
    let made = other.served.prepare_issuer(asked(true)).await.unwrap().into_inner();
    assert!(made.signature.is_empty(), "nobody can");
    let shown = other.served.get_authority(called(pb::GetAuthorityRequest::default())).await.unwrap();
    assert_eq!(shown.into_inner().prepared_key_fingerprint, made.key_fingerprint);
    let issuer_pem = certified(&made.csr_pem);
    rotated(&other, pb::RotateAuthorityRequest { issuer_pem, ..Default::default() }).await;

    until("the first one issues no more", || !node.served.signer.can_issue(&authority(&node))).await;
    judged(&other, &before).unwrap();
    judged(&node, &issued_to(&other, "eve").await).unwrap();
    assert_eq!(judged(&other, &stolen), Err(CertificateRefusal::Revoked), "what was revoked stays so");
    let keys = authority(&other).token_keys.clone();
    assert!(other.served.signer.token_key(&authority(&other)).is_ok(), "it is of the new secret");
    assert!(
        keys.len() > 1 && keys[1..].iter().all(|key| key.sealed_key.is_empty()),
        "nobody signs by those before"
    );
    until("tokens of before hold", || other.trust.current().token_keys.len() == keys.len()).await;
}
