//! Tests of trust in other meshes: who is believed, and for how long.

use std::time::SystemTime;

use omnirelay_pki::authority::{CertificateAuthority, ValidityPeriod};
use omnirelay_pki::certificate::to_pem;
use omnirelay_pki::revocation::RevokedSubject;
use omnirelay_pki::trust::{ChainTrustError, ChainUsage, TrustBundle};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair, SanType};
use rustls::pki_types::CertificateDer;

use super::*;
use crate::trust::{CertificateRefusal, HolderStanding, TrustSnapshot};

const DAY: i64 = 24 * 3600;
const EAST: &str = "spiffe://east.example/mesh/east/worker/a";
const WEST: &str = "spiffe://west.example/mesh/west/worker/a";

fn days(from: i64, to: i64) -> ValidityPeriod {
    ValidityPeriod { not_before: unix_now() + from * DAY, not_after: unix_now() + to * DAY }
}

fn authority(domain: &str) -> CertificateAuthority {
    CertificateAuthority::root(domain.parse().unwrap(), days(-10, 100)).unwrap()
}

fn bundle(domain: &str, root: &CertificateAuthority) -> TrustBundle {
    TrustBundle::new(domain.parse().unwrap(), vec![root.certificate().clone()]).unwrap()
}

/// What a holder shows whom whoever has the key of this root certifies for a day. Nobody asks whether it should.
fn shown(root: &CertificateAuthority, id: &str) -> Vec<CertificateDer<'static>> {
    let signer = KeyPair::from_pem(&root.key_pem()).unwrap();
    let issuer = Issuer::from_ca_cert_der(root.certificate(), signer).unwrap();
    let mut leaf = CertificateParams::default();
    leaf.subject_alt_names = vec![SanType::URI(id.try_into().unwrap())];
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
    let day = Duration::from_secs(24 * 3600);
    (leaf.not_before, leaf.not_after) = ((SystemTime::now() - day).into(), (SystemTime::now() + day).into());
    let key = KeyPair::generate().unwrap();
    vec![leaf.signed_by(&key, &issuer).unwrap().der().clone()]
}

/// Two meshes, and what east judges by.
struct Meshes {
    east: CertificateAuthority,
    west: CertificateAuthority,
    trusted: TrustSnapshot,
}

fn meshes() -> Meshes {
    let (east, west) = (authority("east.example"), authority("west.example"));
    let federated =
        vec![FederatedClusterTrust { cluster: "west".to_owned(), bundle: bundle("west.example", &west) }];
    let (own, cluster) = (Some(bundle("east.example", &east)), "east".to_owned());
    Meshes {
        trusted: TrustSnapshot { bundle: own, federated, cluster, ..TrustSnapshot::default() },
        east,
        west,
    }
}

fn standing(
    trusted: &TrustSnapshot,
    chain: &[CertificateDer<'static>],
) -> Result<HolderStanding, CertificateRefusal> {
    trusted.judge_exchange(chain, unix_now(), ChainUsage::Client).map(|(_, standing)| standing)
}

#[test]
fn a_leaf_is_believed_by_the_roots_of_its_own_mesh_and_by_no_others() {
    let Meshes { east, west, trusted } = meshes();
    type Case<'a> = (&'a str, &'a CertificateAuthority, &'a str, Result<HolderStanding, CertificateRefusal>);
    let unknown = || Err(CertificateRefusal::Untrusted(ChainTrustError::UnknownIssuer));
    let elsewhere = |id: &str| {
        let (id, trusted) = (id.parse().unwrap(), "east.example".parse().unwrap());
        Err(CertificateRefusal::Untrusted(ChainTrustError::TrustDomain { id, trusted }))
    };
    let north = "spiffe://north.example/mesh/west/worker/a";
    let (operator, service) = ("spiffe://west.example/operator/ann", "spiffe://west.example/service/ads");
    let cases: [Case<'_>; 10] = [
        ("one of ours", &east, EAST, Ok(HolderStanding::Member)),
        ("one of west", &west, WEST, Ok(HolderStanding::Federated)),
        ("of west by our root", &east, WEST, unknown()),
        ("one of ours by the root of west", &west, EAST, unknown()),
        (
            "of our domain and their cluster",
            &east,
            "spiffe://east.example/mesh/west/worker/a",
            Err(CertificateRefusal::Cluster),
        ),
        (
            "of their domain and our cluster",
            &west,
            "spiffe://west.example/mesh/east/worker/a",
            Err(CertificateRefusal::Cluster),
        ),
        (
            "of their domain and another cluster",
            &west,
            "spiffe://west.example/mesh/south/worker/a",
            Err(CertificateRefusal::Cluster),
        ),
        ("of another domain", &west, north, elsewhere(north)),
        ("their operator", &west, operator, elsewhere(operator)),
        ("their service", &west, service, elsewhere(service)),
    ];
    for (what, root, id, expected) in cases {
        let chain = shown(root, id);
        assert_eq!(standing(&trusted, &chain), expected, "{what}");
        // Beyond the exchange nobody of another mesh is anybody.
        let beyond = trusted.judge(&chain, unix_now(), ChainUsage::Client).is_ok();
        assert_eq!(beyond, expected == Ok(HolderStanding::Member), "{what}");
    }
}

#[test]
fn roots_that_have_ended_let_nobody_in() {
    let Meshes { west, mut trusted, .. } = meshes();
    let ended = CertificateAuthority::root("west.example".parse().unwrap(), days(-10, -1)).unwrap();
    trusted.federated[0].bundle = bundle("west.example", &ended);
    let unknown = Err(CertificateRefusal::Untrusted(ChainTrustError::UnknownIssuer));
    for root in [&ended, &west] {
        assert_eq!(standing(&trusted, &shown(root, WEST)), unknown);
    }
}

#[test]
fn two_clusters_of_one_domain_are_each_believed_by_their_own_roots() {
    let Meshes { west, mut trusted, .. } = meshes();
    let south = authority("west.example");
    let of = FederatedClusterTrust { cluster: "south".to_owned(), bundle: bundle("west.example", &south) };
    trusted.federated.push(of);
    let id = "spiffe://west.example/mesh/south/worker/a";
    assert_eq!(standing(&trusted, &shown(&south, id)), Ok(HolderStanding::Federated));
    assert_eq!(standing(&trusted, &shown(&west, WEST)), Ok(HolderStanding::Federated));
    assert!(
        standing(&trusted, &shown(&west, id)).is_err() && standing(&trusted, &shown(&south, WEST)).is_err()
    );
}

#[test]
fn a_cluster_of_our_own_domain_is_named_and_believed_by_our_own_roots() {
    let Meshes { east, west, mut trusted } = meshes();
    let id = "spiffe://east.example/mesh/north/worker/a";
    let (ours, theirs) = (shown(&east, id), shown(&west, id));
    assert_eq!(standing(&trusted, &ours), Err(CertificateRefusal::Cluster), "it is not named");
    trusted.federated =
        vec![FederatedClusterTrust { cluster: "north".to_owned(), bundle: bundle("east.example", &west) }];
    assert_eq!(standing(&trusted, &ours), Ok(HolderStanding::Federated));
    assert!(
        standing(&trusted, &theirs).is_err(),
        "roots that are said to be of our domain count for nothing"
    );
    assert_eq!(trusted.roots_of("north"), [east.certificate().clone()]);
}

#[tokio::test(start_paused = true)]
async fn what_is_under_way_ends_with_the_federation_and_by_revocation() {
    let Meshes { west, trusted, .. } = meshes();
    let (chain, now) = (shown(&west, WEST), unix_now());
    type Change = fn(&mut TrustSnapshot, RevokedSubject);
    let other: Change = |of, _| of.federated[0].bundle = of.bundle.clone().unwrap();
    let revoke: Change = |of, what| of.revocations.revoke(what, 1, i64::MAX, "");
    let cases: [(&str, Change, Option<&str>); 4] = [
        ("another is federated too", |of, _| of.federated.push(of.federated[0].clone()), None),
        ("it is dropped", |of, _| of.federated.clear(), Some("not trusted any more")),
        ("it has other roots", other, Some("not trusted any more")),
        ("its key is revoked here", revoke, Some("revoked")),
    ];
    for (what, change, expected) in cases {
        let trust = MeshTrust::default();
        trust.update(|of| *of = trusted.clone());
        let (before, (leaf, _)) =
            (trust.current(), trusted.judge_exchange(&chain, now, ChainUsage::Client).unwrap());
        trust.update(|of| change(of, RevokedSubject::Key(leaf.key)));
        let ended = trust.ended(before, &leaf, (&chain, &HolderStanding::Federated), ChainUsage::Client);
        let ended = tokio::time::timeout(Duration::from_secs(60), ended).await.ok();
        assert_eq!(ended.is_some(), expected.is_some(), "{what}: {ended:?}");
        assert!(ended.unwrap_or_default().contains(expected.unwrap_or_default()), "{what}: {ended:?}");
    }
}

/// A file with the roots of west, and what keeps to it.
struct Kept {
    place: tempfile::TempDir,
    trust: Arc<MeshTrust>,
    federation: FederatedClusters,
    federations: Arc<FederationKeeper>,
    keeping: tokio::task::JoinHandle<()>,
}

fn named(place: &tempfile::TempDir, cluster: &str) -> NamedCluster {
    let bundle = place.path().join(format!("{cluster}.pem"));
    NamedCluster {
        cluster: cluster.to_owned(),
        trust_domain: "west.example".parse().unwrap(),
        bundle,
        seeds: Vec::new(),
    }
}

impl Kept {
    fn of(pem: &str) -> Self {
        let (place, trust) = (tempfile::tempdir().unwrap(), Arc::new(MeshTrust::default()));
        std::fs::write(place.path().join("west.pem"), pem).unwrap();
        let federation = FederatedClusters::of(vec![named(&place, "west")]);
        let federations = Arc::new(FederationKeeper::open(federation.clone(), trust.clone()));
        let keeping = tokio::spawn(federations.clone().run());
        Self { place, trust, federation, federations, keeping }
    }

    fn roots(&self) -> Vec<CertificateDer<'static>> {
        self.trust.current().roots_of("west")
    }

    async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        for _ in 0..1000 {
            if holds(self) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("never: {what}; {:?}", self.federations.trouble());
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.keeping.abort();
    }
}

fn pem(root: &CertificateAuthority) -> String {
    to_pem(root.certificate())
}

#[tokio::test]
async fn roots_are_read_again_and_half_a_file_takes_nobody_out() {
    let (old, new) = (authority("west.example"), authority("west.example"));
    let kept = Kept::of(&pem(&old));
    let path = kept.place.path().join("west.pem");
    assert_eq!((kept.roots(), kept.federations.trouble()), (vec![old.certificate().clone()], None));
    let text = pem(&new);
    std::fs::write(&path, &text[..text.len() / 2]).unwrap();
    kept.until("half a file is told of", |kept| kept.federations.trouble().is_some()).await;
    let told = kept.federations.trouble().unwrap();
    assert!(told.contains("cluster west") && told.contains("the old ones go on"), "{told}");
    assert_eq!(kept.roots(), [old.certificate().clone()]);
    std::fs::write(&path, pem(&new) + &pem(&old)).unwrap();
    kept.until("both are taken over", |kept| kept.roots().len() == 2).await;
    assert_eq!(kept.federations.trouble(), None);
    // Of another domain than is said.
    std::fs::write(&path, pem(&authority("north.example"))).unwrap();
    kept.until("others are told of", |kept| kept.federations.trouble().is_some()).await;
    assert_eq!(kept.roots().len(), 2);
}

#[tokio::test]
async fn whoever_is_named_no_longer_is_out_whatever_else_is_wrong() {
    let kept = Kept::of(&pem(&authority("west.example")));
    kept.federation.choose(vec![named(&kept.place, "north")]);
    kept.until("west is out", |kept| kept.roots().is_empty()).await;
    kept.until("north is told of", |kept| kept.federations.trouble().is_some()).await;
    let told = kept.federations.trouble().unwrap();
    assert!(told.contains("cluster north is not let in"), "{told}");
    std::fs::write(kept.place.path().join("north.pem"), pem(&authority("west.example"))).unwrap();
    kept.until("north is in", |kept| !kept.trust.current().roots_of("north").is_empty()).await;
    assert_eq!(kept.federations.trouble(), None);
}

#[test]
fn the_end_of_roots_is_told_before() {
    let cases = [(30, None), (3, Some("ends in")), (-1, Some("have ended"))];
    for (left, expected) in cases {
        let (place, trust) = (tempfile::tempdir().unwrap(), Arc::new(MeshTrust::default()));
        let root = CertificateAuthority::root("west.example".parse().unwrap(), days(-10, left)).unwrap();
        std::fs::write(place.path().join("west.pem"), pem(&root)).unwrap();
        let federations = FederationKeeper::open(FederatedClusters::of(vec![named(&place, "west")]), trust);
        let told = federations.trouble();
        assert_eq!(told.is_some(), expected.is_some(), "{left} days: {told:?}");
        assert!(told.unwrap_or_default().contains(expected.unwrap_or_default()), "{left} days");
    }
}

#[test]
fn roots_that_do_not_count_are_told_of() {
    let Meshes { east, trusted, .. } = meshes();
    let (place, trust) = (tempfile::tempdir().unwrap(), Arc::new(MeshTrust::default()));
    trust.update(|of| *of = TrustSnapshot { federated: Vec::new(), ..trusted });
    let own = |cluster: &str, root: &CertificateAuthority| {
        let named = NamedCluster { trust_domain: "east.example".parse().unwrap(), ..named(&place, cluster) };
        std::fs::write(&named.bundle, pem(root)).unwrap();
        FederationKeeper::open(FederatedClusters::of(vec![named]), trust.clone()).trouble()
    };
    assert_eq!(own("north", &east), None);
    let told = own("west", &authority("east.example")).unwrap();
    assert!(told.contains("trust domain of this mesh"), "{told}");
}

#[test]
fn a_file_that_cannot_be_used_keeps_its_cluster_out_and_no_daemon_from_starting() {
    let (place, trust) = (tempfile::tempdir().unwrap(), Arc::new(MeshTrust::default()));
    let federations =
        FederationKeeper::open(FederatedClusters::of(vec![named(&place, "west")]), trust.clone());
    let told = federations.trouble().unwrap();
    assert!(told.contains("cluster west is not let in") && told.contains("west.pem"), "{told}");
    assert!(trust.current().federated.is_empty());
}
