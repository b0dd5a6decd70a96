//! Clusters of one trust domain: for whom the issuer of each vouches, and what it signs.

use omnirelay_core::spiffe::TrustDomain;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType};

use super::*;
use crate::authority::{AuthorityError, CertificateAuthority, ValidityPeriod};
use crate::certificate::TlsNames;
use crate::key::PrivateKey;
use crate::request::CertificateRequest;
use crate::trust::{ChainTrustError, ChainUsage, TrustBundle};

const NOW: i64 = 1_795_000_000;
const LIFE: ValidityPeriod = ValidityPeriod { not_before: NOW, not_after: NOW + 86_400 };

fn domain() -> TrustDomain {
    "mesh.example".parse().unwrap()
}

fn id(path: &str) -> SpiffeId {
    format!("spiffe://mesh.example/{path}").parse().unwrap()
}

fn node_of(cluster: &str) -> SpiffeId {
    id(&format!("mesh/{cluster}/worker/node-1"))
}

fn request() -> CertificateRequest {
    let der = CertificateRequest::make(&PrivateKey::make().unwrap(), None, &TlsNames::default()).unwrap();
    CertificateRequest::read(&der).unwrap()
}

fn bundle(root: &CertificateAuthority) -> TrustBundle {
    TrustBundle::new(domain(), vec![root.certificate().clone()]).unwrap()
}

/// An authority that the key of `root` has certified with a subject of `units`, as a program of before or another one does.
fn certified_elsewhere(
    root: &CertificateAuthority,
    subject: impl FnOnce(&mut DistinguishedName),
) -> CertificateAuthority {
    let key = PrivateKey::make().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "issuer made elsewhere");
    subject(&mut params.distinguished_name);
    params.subject_alt_names = vec![SanType::URI("spiffe://mesh.example".try_into().unwrap())];
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let at = |seconds| time::OffsetDateTime::from_unix_timestamp(seconds).unwrap();
    (params.not_before, params.not_after) = (at(NOW), at(LIFE.not_after));
    let by = Issuer::from_ca_cert_der(root.certificate(), KeyPair::from_pem(&root.key_pem()).unwrap());
    let made = params.signed_by(key.pair(), &by.unwrap()).unwrap().der().clone();
    CertificateAuthority::kept(domain(), made, key).unwrap()
}

/// A root as it was made before issuers named their cluster.
fn root_of_before() -> CertificateAuthority {
    let key = PrivateKey::make().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "mesh.example root");
    params.subject_alt_names = vec![SanType::URI("spiffe://mesh.example".try_into().unwrap())];
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(2));
    let at = |seconds| time::OffsetDateTime::from_unix_timestamp(seconds).unwrap();
    (params.not_before, params.not_after) = (at(NOW), at(LIFE.not_after));
    let made = params.self_signed(key.pair()).unwrap().der().clone();
    CertificateAuthority::kept(domain(), made, key).unwrap()
}

/// A chain of a leaf that `issuer` has issued, whatever it should not have.
fn chain(issuer: &CertificateAuthority, id: &SpiffeId) -> Vec<CertificateDer<'static>> {
    let issued = issuer.issue(&request(), id, &TlsNames::default(), LIFE).unwrap();
    vec![issued.der, issuer.certificate().clone()]
}

/// The same by an issuer whose program asks nothing.
fn forged(issuer: &CertificateAuthority, id: &SpiffeId) -> Vec<CertificateDer<'static>> {
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::URI(id.to_string().try_into().unwrap())];
    let at = |seconds| time::OffsetDateTime::from_unix_timestamp(seconds).unwrap();
    (params.not_before, params.not_after) = (at(NOW), at(LIFE.not_after));
    let by = Issuer::from_ca_cert_der(issuer.certificate(), KeyPair::from_pem(&issuer.key_pem()).unwrap());
    let leaf = params.signed_by(&KeyPair::generate().unwrap(), &by.unwrap()).unwrap().der().clone();
    vec![leaf, issuer.certificate().clone()]
}

fn vouched(trusted: &TrustBundle, chain: &[CertificateDer]) -> Result<IssuerCluster, ChainTrustError> {
    trusted.verify_vouched(chain, NOW, ChainUsage::Client).map(|leaf| leaf.by)
}

fn named(cluster: &str) -> IssuerCluster {
    IssuerCluster::Named(cluster.to_owned())
}

#[test]
fn an_issuer_vouches_for_nodes_of_its_cluster_alone() {
    let root = CertificateAuthority::root(domain(), LIFE).unwrap();
    let [east, west] = ["east", "west"].map(|cluster| root.intermediate(cluster, LIFE).unwrap());
    let trusted = bundle(&root);
    assert_eq!(vouched(&trusted, &chain(&east, &node_of("east"))), Ok(named("east")));
    assert_eq!(vouched(&trusted, &chain(&west, &node_of("west"))), Ok(named("west")));
    let refused = west.issue(&request(), &node_of("east"), &TlsNames::default(), LIFE);
    assert!(matches!(refused, Err(AuthorityError::OtherCluster { .. })), "it does not issue such a one");
    let of_east_by_west = forged(&west, &node_of("east"));
    let refused = Err(ChainTrustError::OtherCluster { named: "west".to_owned() });
    assert_eq!(vouched(&trusted, &of_east_by_west), refused, "and nobody believes it");
    let with_east = [of_east_by_west, vec![east.certificate().clone()]].concat();
    assert_eq!(vouched(&trusted, &with_east), refused, "whoever else is sent along");
}

#[test]
fn an_operator_is_of_the_cluster_whose_issuer_vouches_and_of_none_that_is_sent_along() {
    let root = CertificateAuthority::root(domain(), LIFE).unwrap();
    let [east, west] = ["east", "west"].map(|cluster| root.intermediate(cluster, LIFE).unwrap());
    let by_west = chain(&west, &id("operator/ann"));
    let (east_first, mut with_east) = (east.certificate().clone(), by_west.clone());
    with_east.insert(1, east_first);
    for shown in [by_west, with_east] {
        assert_eq!(vouched(&bundle(&root), &shown), Ok(named("west")));
    }
}

#[test]
fn an_issuer_without_a_cluster_counts_under_a_root_of_before_alone() {
    let (of_now, of_before) = (CertificateAuthority::root(domain(), LIFE).unwrap(), root_of_before());
    let nameless = certified_elsewhere(&of_now, |_| {});
    let ann = id("operator/ann");
    assert_eq!(vouched(&bundle(&of_now), &chain(&nameless, &ann)), Err(ChainTrustError::UnnamedCluster));
    let by_root = forged(&of_now, &ann);
    assert_eq!(vouched(&bundle(&of_now), &by_root), Ok(IssuerCluster::Unnamed), "whoever has the root's key");
    let kept = certified_elsewhere(&of_before, |_| {});
    for holder in [ann.clone(), node_of("east"), node_of("west")] {
        assert_eq!(vouched(&bundle(&of_before), &chain(&kept, &holder)), Ok(IssuerCluster::Unnamed));
    }
    // The next root demands names, also from those who know the root before it alone.
    let across = of_before.certify_root(&of_now).unwrap();
    let led = |issuer| [chain(issuer, &ann), vec![across.clone()]].concat();
    assert_eq!(vouched(&bundle(&of_before), &led(&nameless)), Err(ChainTrustError::UnnamedCluster));
    let east = of_now.intermediate("east", LIFE).unwrap();
    assert_eq!(vouched(&bundle(&of_before), &led(&east)), Ok(named("east")));
}

/// Somebody who has the key of a root can have certified what they like: what no cluster is called is of none.
#[test]
fn a_name_that_no_cluster_has_is_of_none() {
    let root = CertificateAuthority::root(domain(), LIFE).unwrap();
    let of = |subject: &dyn Fn(&mut DistinguishedName)| {
        let issuer = certified_elsewhere(&root, |of| {
            of.push(DnType::OrganizationName, OF_CLUSTER);
            subject(of);
        });
        vouched(&bundle(&root), &chain(&issuer, &id("operator/ann")))
    };
    for name in ["East", "", "east/west", "../east", "east "] {
        let found = of(&|of| of.push(DnType::OrganizationalUnitName, name));
        assert_eq!(found, Ok(named("")), "{name}");
    }
    assert_eq!(of(&|_| {}), Ok(named("")));
    assert!(CertificateAuthority::root(domain(), LIFE).unwrap().intermediate("East", LIFE).is_err());
    let long = "a".repeat(63);
    assert_eq!(of(&|of| of.push(DnType::OrganizationalUnitName, long.as_str())), Ok(named(&long)));
}

#[test]
fn what_an_issuer_signs_is_of_its_cluster_alone() {
    let root = CertificateAuthority::root(domain(), LIFE).unwrap();
    let [east, west] = ["east", "west"].map(|cluster| root.intermediate(cluster, LIFE).unwrap());
    let trusted = bundle(&root);
    let signed = |by: &CertificateAuthority, cluster: &str| {
        let (signature, signer) = (by.sign("list", b"message").unwrap(), [by.certificate().clone()]);
        trusted.issuers_of(cluster).verify_signed("list", b"message", &signature, &signer, NOW)
    };
    assert_eq!((signed(&east, "east"), signed(&west, "west")), (Ok(()), Ok(())));
    let refused = ChainTrustError::OtherCluster { named: "west".to_owned() };
    assert_eq!(signed(&west, "east"), Err(refused));
    assert_eq!(signed(&root, "east"), Err(ChainTrustError::NoAuthority));
    let nameless = certified_elsewhere(&root, |_| {});
    assert_eq!(signed(&nameless, "east"), Err(ChainTrustError::UnnamedCluster));
}

/// What a client believes a server for that has only the roots.
#[test]
fn a_server_is_of_the_cluster_that_was_expected_and_whose_issuer_has_signed_it() {
    let root = CertificateAuthority::root(domain(), LIFE).unwrap();
    let [east, west] = ["east", "west"].map(|cluster| root.intermediate(cluster, LIFE).unwrap());
    let nameless = certified_elsewhere(&root_of_before(), |_| {});
    let expected = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let check =
        |chain: &[CertificateDer<'_>], names: &[&str]| check_server(&chain[0], &expected(names)).is_ok();
    let (ours, theirs) = (chain(&east, &node_of("east")), chain(&west, &node_of("west")));
    for (what, shown, names, is_fine) in [
        ("ours", &ours, &["east"][..], true),
        ("whichever", &ours, &[][..], true),
        ("either", &theirs, &["east", "west"][..], true),
        ("theirs", &theirs, &["east"][..], false),
        ("of east by west", &forged(&west, &node_of("east")), &[][..], false),
        ("a service", &chain(&east, &id("service/billing")), &["east"][..], false),
        ("a service, where nothing is expected", &chain(&east, &id("service/billing")), &[][..], true),
        ("by an issuer of before", &chain(&nameless, &node_of("east")), &["east"][..], true),
    ] {
        assert_eq!(check(shown, names), is_fine, "{what}");
    }
}

/// The plant: an issuer certifies one of another cluster, which its certificate does not let it.
#[test]
fn an_issuer_certifies_no_issuer() {
    let root = CertificateAuthority::root(domain(), LIFE).unwrap();
    let west = root.intermediate("west", LIFE).unwrap();
    let fake = certified_elsewhere(&west, |subject| name_cluster(subject, "east"));
    let (signature, chain) =
        (fake.sign("list", b"message").unwrap(), [fake.certificate().clone(), west.certificate().clone()]);
    let trusted = bundle(&root);
    let refused = trusted.issuers_of("east").verify_signed("list", b"message", &signature, &chain, NOW);
    assert_eq!(refused, Err(ChainTrustError::UnknownIssuer));
    assert!(trusted.verify_authority(&chain, NOW).is_err());
    assert!(vouched(&trusted, &[forged(&fake, &node_of("east")), chain[1..].to_vec()].concat()).is_err());
    // Nor is its certificate one by which a root follows another.
    assert!(!crate::authority::is_across(west.certificate()));
    let next = CertificateAuthority::root(domain(), LIFE).unwrap();
    assert!(crate::authority::is_across(&root.certify_root(&next).unwrap()));
}
