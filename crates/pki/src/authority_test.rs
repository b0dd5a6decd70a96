//! Authorities: what they certify and issue, and what is believed of it.

use super::*;
use crate::certificate::{Certificate, CertificateError};
use crate::trust::{ChainTrustError, ChainUsage, TrustBundle};

const DAY: i64 = 86_400;
const EAST: &str = "default";
const NOW: i64 = 1_795_000_000;

fn domain() -> TrustDomain {
    "mesh.example".parse().unwrap()
}

fn days(days: i64) -> ValidityPeriod {
    ValidityPeriod { not_before: NOW, not_after: NOW + days * DAY }
}

fn id(text: &str) -> SpiffeId {
    text.parse().unwrap()
}

fn one<'a>(certificate: &'a CertificateDer<'static>) -> &'a [CertificateDer<'static>] {
    std::slice::from_ref(certificate)
}

fn request() -> CertificateRequest {
    CertificateRequest::read(
        &CertificateRequest::make(&PrivateKey::make().unwrap(), None, &TlsNames::default()).unwrap(),
    )
    .unwrap()
}

fn node() -> SpiffeId {
    id("spiffe://mesh.example/mesh/default/worker/node-1")
}

#[test]
fn a_chain_leads_through_its_leaf_its_issuer_and_its_root_and_through_nothing_that_is_sent_along() {
    let root = CertificateAuthority::root(domain(), days(3650)).unwrap();
    let [issuer, other] = [(), ()].map(|()| root.intermediate(EAST, days(365)).unwrap());
    let leaf = issuer.issue(&request(), &node(), &TlsNames::default(), days(1)).unwrap().der;
    let bundle = TrustBundle::new(domain(), vec![root.certificate().clone()]).unwrap();
    let chain = [leaf.clone(), issuer.certificate().clone(), other.certificate().clone()];
    assert!(bundle.verify(&chain, NOW, ChainUsage::Client).is_ok(), "what is sent along does no harm");
    let leads =
        |to: &CertificateDer<'_>| bundle.leads_through(&chain, NOW, ChainUsage::Client, |one| one == to);
    assert!([&leaf, issuer.certificate(), root.certificate()].into_iter().all(leads));
    assert!(!leads(other.certificate()));
}

#[test]
fn a_leaf_leads_to_its_root_and_to_no_other() {
    let root = CertificateAuthority::root(domain(), days(3650)).unwrap();
    let issuer = root.intermediate(EAST, days(365)).unwrap();
    let names = TlsNames { dns: vec!["node-1.mesh".into()], addresses: vec!["10.0.0.1".parse().unwrap()] };
    let request = request();
    let issued = issuer.issue(&request, &node(), &names, days(1)).unwrap();
    let chain = [issued.der.clone(), issuer.certificate().clone()];
    let bundle =
        |root: &CertificateAuthority| TrustBundle::new(domain(), vec![root.certificate().clone()]).unwrap();
    let own = bundle(&root);
    for usage in [ChainUsage::Client, ChainUsage::Server] {
        let leaf = own.verify(&chain, NOW, usage).unwrap();
        assert_eq!((leaf.id, leaf.names, leaf.key), (node(), names.clone(), request.key));
        assert_eq!((leaf.serial, leaf.not_after), (issued.serial.clone(), NOW + DAY));
    }
    let verify =
        |bundle: &TrustBundle, now| bundle.verify(&chain, now, ChainUsage::Client).map(|leaf| leaf.id);
    assert_eq!(verify(&own, NOW - 1), Err(ChainTrustError::NotYet));
    assert_eq!(verify(&own, NOW + DAY + 1), Err(ChainTrustError::Expired));
    let other = CertificateAuthority::root(domain(), days(3650)).unwrap();
    assert_eq!(verify(&bundle(&other), NOW), Err(ChainTrustError::UnknownIssuer));
    assert_eq!(own.verify(&chain[..1], NOW, ChainUsage::Client), Err(ChainTrustError::UnknownIssuer));
    assert_eq!(own.verify(&[], NOW, ChainUsage::Client), Err(ChainTrustError::Empty));
    for leaf_or_issuer in &chain {
        let refused = TrustBundle::new(domain(), vec![leaf_or_issuer.clone()]);
        assert_eq!(refused, Err(CertificateError::NoRoot));
    }
    let elsewhere = TrustBundle::new("other".parse().unwrap(), own.roots().to_vec()).unwrap();
    assert!(matches!(verify(&elsewhere, NOW), Err(ChainTrustError::TrustDomain { .. })));
}

#[test]
fn whoever_trusts_one_root_believes_what_leads_to_the_next_one_too() {
    let root = CertificateAuthority::root(domain(), days(3650)).unwrap();
    let next = CertificateAuthority::root(domain(), days(3650)).unwrap();
    let issuer = next.intermediate(EAST, days(365)).unwrap();
    let issued = issuer.issue(&request(), &node(), &TlsNames::default(), days(1)).unwrap();
    let across = root.certify_root(&next).unwrap();
    let chain = [issued.der.clone(), issuer.certificate().clone(), across.clone()];
    let bundle = |roots: &[&CertificateAuthority]| {
        let roots = roots.iter().map(|root| root.certificate().clone()).collect();
        TrustBundle::new(domain(), roots).unwrap()
    };
    let signature = issuer.sign("list", b"message").unwrap();
    for trusted in [bundle(&[&root]), bundle(&[&next]), bundle(&[&next, &root])] {
        trusted.verify(&chain, NOW, ChainUsage::Client).unwrap();
        trusted.issuers_of(EAST).verify_signed("list", b"message", &signature, &chain[1..], NOW).unwrap();
    }
    let before = bundle(&[&root]);
    assert_eq!(before.verify(&chain[..2], NOW, ChainUsage::Client), Err(ChainTrustError::UnknownIssuer));
    let alone = before.issuers_of(EAST).verify_signed("list", b"message", &signature, &chain[1..2], NOW);
    assert_eq!(alone, Err(ChainTrustError::UnknownIssuer));
    // What certifies across is no root, and nothing that nobody trusts is led to by it.
    assert_eq!(TrustBundle::new(domain(), vec![across]), Err(CertificateError::NoRoot));
    let stranger = CertificateAuthority::root(domain(), days(3650)).unwrap();
    let forged = [chain[0].clone(), chain[1].clone(), stranger.certify_root(&next).unwrap()];
    assert_eq!(before.verify(&forged, NOW, ChainUsage::Client), Err(ChainTrustError::UnknownIssuer));
    let by_stranger =
        before.issuers_of(EAST).verify_signed("list", b"message", &signature, &forged[1..], NOW);
    assert_eq!(by_stranger, Err(ChainTrustError::UnknownIssuer));
}

#[test]
fn an_issuer_whose_key_is_elsewhere_is_certified_for_its_request() {
    let root = CertificateAuthority::root(domain(), days(3650)).unwrap();
    let key = PrivateKey::make().unwrap();
    let asked =
        CertificateRequest::read(&CertificateRequest::make(&key, None, &TlsNames::default()).unwrap())
            .unwrap();
    let certificate = root.certify_issuer(&asked, EAST, days(365)).unwrap();
    let issuer = CertificateAuthority::kept(domain(), certificate.clone(), key).unwrap();
    let issued = issuer.issue(&request(), &node(), &TlsNames::default(), days(1)).unwrap();
    let bundle = TrustBundle::new(domain(), vec![root.certificate().clone()]).unwrap();
    bundle.verify(&[issued.der, certificate.clone()], NOW, ChainUsage::Client).unwrap();
    bundle.verify_authority(&[certificate], NOW).unwrap();
}

/// Whoever comes by the key of a root that has ended signs what lives longer.
#[test]
fn a_root_that_has_ended_is_trusted_no_more() {
    let mut root = CertificateAuthority::root(domain(), days(30)).unwrap();
    root.validity = days(365);
    let issuer = root.intermediate(EAST, days(365)).unwrap();
    let issued = issuer.issue(&request(), &node(), &TlsNames::default(), days(365)).unwrap();
    let chain = [issued.der, issuer.certificate().clone()];
    let bundle = TrustBundle::new(domain(), vec![root.certificate().clone()]).unwrap();
    let verify = |now| bundle.verify(&chain, now, ChainUsage::Client).map(drop);
    assert_eq!(verify(NOW + 30 * DAY), Ok(()));
    assert_eq!(verify(NOW + 31 * DAY), Err(ChainTrustError::UnknownIssuer));
    let signature = issuer.sign("list", b"message").unwrap();
    let late = NOW + 31 * DAY;
    let refused = bundle.issuers_of(EAST).verify_signed(
        "list",
        b"message",
        &signature,
        one(issuer.certificate()),
        late,
    );
    assert_eq!(refused, Err(ChainTrustError::UnknownIssuer));
}

#[test]
fn an_authority_issues_within_its_domain_and_its_life() {
    let root = CertificateAuthority::root(domain(), days(30)).unwrap();
    let issuer = root.intermediate(EAST, days(365)).unwrap();
    assert_eq!(issuer.validity().not_after, NOW + 30 * DAY);
    let issue = |id: &SpiffeId, validity| issuer.issue(&request(), id, &TlsNames::default(), validity);
    assert_eq!(issue(&node(), days(40)).unwrap().validity, days(30));
    let foreign = id("spiffe://other.example/operator/alice");
    assert!(matches!(issue(&foreign, days(1)), Err(AuthorityError::TrustDomain { .. })));
    let before = ValidityPeriod { not_before: NOW - 2, not_after: NOW - 1 };
    assert!(matches!(issue(&node(), before), Err(AuthorityError::Ended)));
    for name in ["*.mesh", "a..b", "Node", "node.", "10.0.0.1"] {
        let names = TlsNames { dns: vec![name.to_owned()], ..TlsNames::default() };
        let refused = issuer.issue(&request(), &node(), &names, days(1));
        assert!(matches!(refused, Err(AuthorityError::DnsName(_))), "{name}");
    }
    let late = ValidityPeriod { not_before: NOW + 31 * DAY, not_after: NOW + 32 * DAY };
    assert!(matches!(issue(&node(), late), Err(AuthorityError::Ended)));
}

#[test]
fn an_authority_is_the_same_after_it_was_kept() {
    let root = CertificateAuthority::root(domain(), days(30)).unwrap();
    let issuer = root.intermediate(EAST, days(30)).unwrap();
    let key = PrivateKey::from_pem(&issuer.key_pem()).unwrap();
    let kept = CertificateAuthority::kept(domain(), issuer.certificate().clone(), key).unwrap();
    assert_eq!(kept.validity(), issuer.validity());
    let issued = kept.issue(&request(), &node(), &TlsNames::default(), days(1)).unwrap();
    let bundle = TrustBundle::new(domain(), vec![root.certificate().clone()]).unwrap();
    let chain = [issued.der.clone(), kept.certificate().clone()];
    bundle.verify(&chain, NOW, ChainUsage::Client).unwrap();
    let key = PrivateKey::from_pem(&issuer.key_pem()).unwrap();
    let elsewhere = CertificateAuthority::kept("staging".parse().unwrap(), issuer.certificate().clone(), key);
    assert!(matches!(elsewhere, Err(AuthorityError::Mismatch)));
    let another =
        CertificateAuthority::kept(domain(), issuer.certificate().clone(), PrivateKey::make().unwrap());
    assert!(matches!(another, Err(AuthorityError::Mismatch)));
    let key = PrivateKey::from_pem(&issuer.key_pem()).unwrap();
    assert!(matches!(CertificateAuthority::kept(domain(), issued.der, key), Err(AuthorityError::Mismatch)));
}

/// A leaf that signs another: what it signed leads nowhere.
#[test]
fn a_leaf_is_no_authority() {
    let root = CertificateAuthority::root(domain(), days(30)).unwrap();
    let issuer = root.intermediate(EAST, days(30)).unwrap();
    let below = issuer.intermediate(EAST, days(30)).unwrap();
    let issued = below.issue(&request(), &node(), &TlsNames::default(), days(1)).unwrap();
    let chain = [issued.der, below.certificate().clone(), issuer.certificate().clone()];
    let bundle = TrustBundle::new(domain(), vec![root.certificate().clone()]).unwrap();
    let refused = bundle.verify(&chain, NOW, ChainUsage::Client);
    assert!(matches!(refused, Err(ChainTrustError::Invalid(_))), "{refused:?}");
}

#[test]
fn what_an_authority_signs_is_known_as_its_own() {
    let root = CertificateAuthority::root(domain(), days(30)).unwrap();
    let issuer = root.intermediate(EAST, days(10)).unwrap();
    let bundle = TrustBundle::new(domain(), vec![root.certificate().clone()]).unwrap();
    let signature = issuer.sign("list", b"message").unwrap();
    let verify = |what: &str, message: &[u8], by: &CertificateAuthority, now| {
        bundle.issuers_of(EAST).verify_signed(what, message, &signature, one(by.certificate()), now)
    };
    assert_eq!(verify("list", b"message", &issuer, NOW), Ok(()));
    assert_eq!(verify("token", b"message", &issuer, NOW), Err(ChainTrustError::Signature));
    assert_eq!(verify("list", b"massage", &issuer, NOW), Err(ChainTrustError::Signature));
    assert_eq!(verify("list", b"message", &root, NOW), Err(ChainTrustError::NoAuthority));
    assert_eq!(verify("list", b"message", &issuer, NOW + 11 * DAY), Err(ChainTrustError::Expired));
    let stranger =
        CertificateAuthority::root(domain(), days(30)).unwrap().intermediate(EAST, days(30)).unwrap();
    let by_stranger = stranger.sign("list", b"message").unwrap();
    let refused = bundle.issuers_of(EAST).verify_signed(
        "list",
        b"message",
        &by_stranger,
        one(stranger.certificate()),
        NOW,
    );
    assert_eq!(refused, Err(ChainTrustError::UnknownIssuer));
    // A node signs with its own key, and is no authority.
    let key = PrivateKey::make().unwrap();
    let request =
        CertificateRequest::read(&CertificateRequest::make(&key, None, &TlsNames::default()).unwrap())
            .unwrap();
    let leaf = issuer.issue(&request, &node(), &TlsNames::default(), days(1)).unwrap();
    let forged = key.pair().sign(&to_be_signed("list", &domain(), b"message")).unwrap();
    let refused = bundle.issuers_of(EAST).verify_signed("list", b"message", &forged, one(&leaf.der), NOW);
    assert_eq!(refused, Err(ChainTrustError::NoAuthority));
}

#[test]
fn no_two_serial_numbers_are_alike() {
    let issuer =
        CertificateAuthority::root(domain(), days(30)).unwrap().intermediate(EAST, days(30)).unwrap();
    let request = request();
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..200 {
        let issued = issuer.issue(&request, &node(), &TlsNames::default(), days(1)).unwrap();
        assert_eq!(Certificate::read(&issued.der).unwrap().serial, issued.serial);
        assert_eq!(issued.serial.as_bytes().len(), 16);
        assert!(seen.insert(issued.serial));
    }
}
