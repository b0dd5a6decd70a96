//! Tests of other clusters of the trust domain: who their holders are here, and for how long.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use omnirelay_core::spiffe::SpiffeId;
use omnirelay_pki::authority::{CertificateAuthority, ValidityPeriod};
use omnirelay_pki::certificate::{Certificate, TlsNames, key_of};
use omnirelay_pki::key::PrivateKey;
use omnirelay_pki::request::CertificateRequest;
use omnirelay_pki::revocation::{Revocations, RevokedSubject};
use omnirelay_pki::trust::{ChainTrustError, ChainUsage, TrustBundle};
use rcgen::{CertificateParams, Issuer, KeyPair, SanType};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};

use super::*;
use crate::client::{ClientCertificate, LiveTlsClient, ServerTrust};

const NOW: i64 = 1_795_000_000;
const LIFE: ValidityPeriod = ValidityPeriod { not_before: NOW - 60, not_after: NOW + 86_400 };
const ANN: &str = "operator/ann";

/// Two clusters of one trust domain, and what `east` judges by: it has heard what `west` has revoked.
struct Siblings {
    east: CertificateAuthority,
    west: CertificateAuthority,
    north: CertificateAuthority,
    trusted: TrustSnapshot,
}

fn siblings() -> Siblings {
    let root = CertificateAuthority::root("mesh.example".parse().unwrap(), LIFE).unwrap();
    let [east, west, north] =
        ["east", "west", "north"].map(|cluster| root.intermediate(cluster, LIFE).unwrap());
    let bundle = TrustBundle::of(vec![root.certificate().clone()]).unwrap();
    let heard = |is_heard: bool| SiblingTrust { heard: is_heard.then(HeardTrust::default) };
    let heard = BTreeMap::from([("west".to_owned(), heard(true)), ("north".to_owned(), heard(false))]);
    let trusted = TrustSnapshot {
        bundle: Some(bundle),
        cluster: "east".to_owned(),
        siblings: Arc::new(heard),
        ..TrustSnapshot::default()
    };
    Siblings { east, west, north, trusted }
}

fn id(path: &str) -> SpiffeId {
    format!("spiffe://mesh.example/{path}").parse().unwrap()
}

/// What a holder shows whom this issuer certifies, be it that it should not.
fn shown(issuer: &CertificateAuthority, path: &str) -> Vec<CertificateDer<'static>> {
    let (key, names) = (PrivateKey::make().unwrap(), TlsNames::default());
    let request = CertificateRequest::read(&CertificateRequest::make(&key, None, &names).unwrap()).unwrap();
    let leaf = match issuer.issue(&request, &id(path), &names, LIFE) {
        Ok(issued) => issued.der,
        Err(_) => {
            let by = KeyPair::from_pem(&issuer.key_pem()).unwrap();
            let by = Issuer::from_ca_cert_der(issuer.certificate(), by).unwrap();
            let mut leaf = CertificateParams::default();
            leaf.subject_alt_names = vec![SanType::URI(id(path).to_string().try_into().unwrap())];
            leaf.signed_by(&KeyPair::generate().unwrap(), &by).unwrap().der().clone()
        }
    };
    vec![leaf, issuer.certificate().clone()]
}

fn sibling(cluster: &str) -> HolderStanding {
    HolderStanding::Sibling(cluster.into())
}

/// The plant: the issuer of another cluster names one of our operators.
#[test]
fn whom_another_cluster_vouches_for_is_of_that_cluster_and_nobody_of_ours() {
    let Siblings { east, west, north, trusted } = siblings();
    let node = |cluster: &str| format!("mesh/{cluster}/worker/n1");
    let other = |named: &str| {
        Err(CertificateRefusal::Untrusted(ChainTrustError::OtherCluster { named: named.to_owned() }))
    };
    let unheard = Err(CertificateRefusal::UnheardSibling("north".to_owned()));
    let of_west = Err(CertificateRefusal::OtherIssuer("west".to_owned()));
    type Case<'a> = (
        &'a CertificateAuthority,
        String,
        Result<HolderStanding, CertificateRefusal>,
        Result<(), CertificateRefusal>,
    );
    let cases: [Case<'_>; 8] = [
        (&east, ANN.into(), Ok(HolderStanding::Member), Ok(())),
        (&west, ANN.into(), Ok(sibling("west")), of_west.clone()),
        (&west, "service/ads".into(), Ok(sibling("west")), of_west),
        (&north, ANN.into(), unheard.clone(), unheard.map(drop)),
        (&east, node("east"), Ok(HolderStanding::Member), Ok(())),
        (
            &west,
            node("west"),
            Ok(HolderStanding::SiblingNode("west".into())),
            Err(CertificateRefusal::Cluster),
        ),
        // Its nodes are let in before that: by them it is heard what it has revoked.
        (
            &north,
            node("north"),
            Ok(HolderStanding::SiblingNode("north".into())),
            Err(CertificateRefusal::Cluster),
        ),
        (&west, node("east"), other("west"), other("west").map(|_: HolderStanding| ())),
    ];
    for (by, path, at_control_port, as_member) in cases {
        let chain = shown(by, &path);
        let judged = trusted.judge_exchange(&chain, NOW, ChainUsage::Client);
        let standing = judged.clone().map(|(_, standing)| standing);
        assert_eq!(standing, at_control_port, "{path}");
        let is_member = as_member.is_ok();
        assert_eq!(trusted.judge(&chain, NOW, ChainUsage::Client).map(drop), as_member, "{path}");
        // Also with the issuer of this cluster sent along, in whatever order.
        let along = [vec![chain[0].clone(), east.certificate().clone()], chain[1..].to_vec()].concat();
        let (leaf, at) = (Certificate::read(&chain[0]).unwrap(), (NOW, ChainUsage::Client));
        if let Ok((_, standing)) = judged {
            let found = [&chain, &along].map(|chain| trusted.standing(&leaf, chain, at));
            assert_eq!(found, [Some(standing.clone()), Some(standing)], "{path}");
        }
        // Among nodes nobody of another cluster is let in.
        let among = trusted.judge_node(&chain, NOW, ChainUsage::Client).is_ok();
        assert_eq!(among, path == node("east") && is_member, "{path}");
    }
}

#[test]
fn each_cluster_revokes_whom_it_vouches_for_and_nobody_else() {
    let Siblings { east, west, trusted, .. } = siblings();
    let revoking = |subject: RevokedSubject| {
        let mut list = Revocations::default();
        list.revoke(subject, NOW - 10, NOW + 86_400, "");
        list
    };
    let (ours, theirs) = (shown(&east, ANN), shown(&west, ANN));
    let leaf = |chain: &[CertificateDer<'_>]| Certificate::read(&chain[0]).unwrap();
    let holder = || RevokedSubject::Holder(id(ANN));
    let serial = |chain: &[CertificateDer<'_>]| RevokedSubject::Serial(leaf(chain).serial);
    let issuer = |by: &CertificateAuthority| RevokedSubject::Key(key_of(by.certificate()).unwrap());
    // What is revoked, then whether ours and theirs are out by our list, and by theirs.
    let cases = [
        ("ann", holder(), [true, false], [false, true]),
        ("our certificate", serial(&ours), [true, false], [false, false]),
        ("their certificate", serial(&theirs), [false, true], [false, true]),
        ("our issuer", issuer(&east), [true, false], [false, false]),
        ("their issuer", issuer(&west), [false, true], [false, true]),
    ];
    let is_out = |trusted: &TrustSnapshot, chain: &[CertificateDer<'static>]| {
        trusted.judge_caller(chain, NOW, ChainUsage::Client) == Err(CertificateRefusal::Revoked)
    };
    for (what, subject, by_ours, by_theirs) in cases {
        let own = TrustSnapshot { revocations: revoking(subject.clone()), ..trusted.clone() };
        let west = HeardTrust { revocations: revoking(subject), ..HeardTrust::default() };
        let west = SiblingTrust { heard: Some(west) };
        let siblings = Arc::new(BTreeMap::from([("west".to_owned(), west)]));
        let sibling = TrustSnapshot { siblings, ..trusted.clone() };
        assert_eq!([&ours, &theirs].map(|chain| is_out(&own, chain)), by_ours, "{what}, by our list");
        assert_eq!([&ours, &theirs].map(|chain| is_out(&sibling, chain)), by_theirs, "{what}, by theirs");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_under_way_ends_once_the_cluster_that_vouches_revokes_it() {
    let Siblings { west, trusted, .. } = siblings();
    let life = ValidityPeriod { not_before: unix_now() - 60, not_after: unix_now() + 3600 };
    let root = CertificateAuthority::root("mesh.example".parse().unwrap(), life).unwrap();
    let by = root.intermediate("west", life).unwrap();
    drop(west);
    let trust = MeshTrust::default();
    trust.update(|of| {
        *of = trusted.clone();
        of.bundle = Some(TrustBundle::of(vec![root.certificate().clone()]).unwrap());
    });
    let (key, names) = (PrivateKey::make().unwrap(), TlsNames::default());
    let request = CertificateRequest::read(&CertificateRequest::make(&key, None, &names).unwrap()).unwrap();
    let issued = by.issue(&request, &id(ANN), &names, life).unwrap();
    let (chain, leaf) =
        (vec![issued.der.clone(), by.certificate().clone()], Certificate::read(&issued.der).unwrap());
    let revoke = |list: &mut Revocations| list.revoke(RevokedSubject::Holder(id(ANN)), NOW, i64::MAX, "");
    for (what, is_over) in [("ours", false), ("theirs", true), ("unheard", true)] {
        let before = trust.current();
        trust.update(|of| match what {
            "ours" => revoke(&mut of.revocations),
            "theirs" => {
                let mut west = HeardTrust::default();
                revoke(&mut west.revocations);
                let west = SiblingTrust { heard: Some(west) };
                of.siblings = Arc::new(BTreeMap::from([("west".to_owned(), west)]));
            }
            _ => of.siblings = Arc::default(),
        });
        let standing = sibling("west");
        let ended = trust.ended(before, &leaf, (&chain, &standing), ChainUsage::Client);
        let ended = tokio::time::timeout(Duration::from_secs(60), ended).await;
        assert_eq!(ended.is_ok(), is_over, "{what}: {ended:?}");
    }
}

#[test]
fn a_node_of_another_cluster_is_called_by_its_id_or_by_its_name() {
    let Siblings { east, west, mut trusted, .. } = siblings();
    trusted.own = None;
    let trust = Arc::new(MeshTrust::default());
    trust.update(|current| *current = trusted);
    let node = |cluster: &str, node: &str| format!("mesh/{cluster}/worker/{node}");
    let (theirs, ours) = (shown(&west, &node("west", "n1")), shown(&east, &node("east", "n1")));
    let service = shown(&west, "service/ads");
    // None of them has the name by which it is called.
    let cases = [
        ("the one that was called", &theirs, "west", Some("n1"), true),
        ("another one of that cluster", &theirs, "west", Some("n2"), false),
        ("that of another cluster", &theirs, "north", Some("n1"), false),
        ("one of ours with that id", &ours, "west", Some("n1"), false),
        ("a service with that id", &service, "west", Some("ads"), false),
        ("whichever is there, under another name", &theirs, "west", None, false),
    ];
    let (name, at) = (ServerName::try_from("n1.west").unwrap(), Duration::from_secs(NOW.unsigned_abs()));
    for (what, chain, cluster, node, expected) in cases {
        let believes = ServerTrust::Sibling { cluster: cluster.to_owned(), node: node.map(str::to_owned) };
        let client = LiveTlsClient::new(believes, ClientCertificate::Nothing, trust.clone());
        let at = UnixTime::since_unix_epoch(at);
        let judged = client.verify((&chain[0], &chain[1..]), &name, at);
        assert_eq!(judged.is_ok(), expected, "{what}: {judged:?}");
    }
}
