//! `CertificateService` on the memory store, and the keeper of a node's own identity.

use omnirelay_registry::lab;
use std::time::Duration;

use omnirelay_certificate_records::{
    CERTIFICATE, JOIN_POLICY, JOIN_TOKEN, REVOCATION, revocation_id, revoked,
};
use omnirelay_core::spiffe::CertificateHolder;
use omnirelay_identity::caller::Caller;
use omnirelay_identity::node_identity::IdentityFiles;
use omnirelay_identity::trust::{CertificateRefusal, unix_now};
use omnirelay_pki::certificate::{Certificate, TlsNames};
use omnirelay_pki::key::PrivateKey;
use omnirelay_pki::request::CertificateRequest as Csr;
use omnirelay_pki::revocation::Revocations;
use omnirelay_pki::trust::ChainUsage;
use omnirelay_registry::follow::{follow_log, wait_for};
use omnirelay_store::{ManualClock, MemoryStore, Store, StoreConfig, StoreMember};
use omnirelay_wire::pb::omnirelay::store::v1::RevocationValue;
use prost::Message as _;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tonic::Request;

use super::*;
use crate::bindings::binding_id;
use crate::identity_keeper::IdentityKeeper;
pub(super) use omnirelay_node::lab::reason;

/// A node that serves certificates, and keeps its own.
pub(super) struct Node {
    pub(super) served: Arc<Certificates>,
    pub(super) trust: Arc<MeshTrust>,
    _tasks: tokio::task::JoinSet<()>,
}

/// Keeper of the identity of a node, which follows its store in a task of its own.
pub(super) async fn keeper(node_id: &str, store: Arc<dyn Store>, place: &std::path::Path) -> IdentityKeeper {
    let kinds = [AUTHORITY, CERTIFICATE, REVOCATION, JOIN_TOKEN, JOIN_POLICY, binding_id("").kind];
    let registry = Arc::new(lab::registry(node_id, store, &kinds));
    tokio::spawn(follow_log(registry.clone()));
    wait_for(registry.view(), omnirelay_store::Revision(0)).await;
    let secret = place.join("issuer-secret");
    let files = IdentityFiles::of(&place.join(node_id), Some(&secret));
    let trust = Arc::new(MeshTrust::default());
    let signer = Arc::new(Signer::new(files.clone(), trust.clone(), "default"));
    trust.update(|trusted| trusted.cluster = "default".to_owned());
    IdentityKeeper {
        registry: registry.clone(),
        signer: signer.clone(),
        trust: trust.clone(),
        files,
        provision: Default::default(),
        node: CertificateHolder::Node {
            cluster: "default".into(),
            role: "worker".into(),
            node: node_id.into(),
        }
        .into(),
        names: TlsNames { dns: vec!["localhost".into()], addresses: Vec::new() }.into(),
        others: Box::new(|_| Vec::new()),
        transport: None,
        is_entered: Box::new(|| true),
        makes_authority: false,
        join_policy: None,
        move_within: 0,
        tried: Default::default(),
        kept: Default::default(),
        lacking: Default::default(),
    }
}

pub(super) async fn node(node_id: &str, store: Arc<dyn Store>, place: &std::path::Path) -> Node {
    let keeper = keeper(node_id, store, place).await;
    let (registry, signer, trust) = (keeper.registry.clone(), keeper.signer.clone(), keeper.trust.clone());
    let mut tasks = tokio::task::JoinSet::new();
    keeper.load();
    tasks.spawn(async move { keeper.run().await });
    let served = Certificates {
        registry,
        signer,
        trust: trust.clone(),
        transport: None,
        cluster: "default".into(),
        store: Arc::new(StoreAccess {
            admission: StoreConfig::of_url("redis://10.0.0.1:1")
                .admission(&StoreMember { cluster: "default", node: "node-1" })
                .unwrap(),
            ..StoreAccess::of_this_host()
        }),
        end_session: Box::new(|_| Box::pin(std::future::ready(false))),
        policy: None,
        gate: EnrollmentGate::default(),
        issuing: IssuingGate::default(),
        joining: tokio::sync::Mutex::default(),
    };
    Node { served: Arc::new(served), trust, _tasks: tasks }
}

pub(super) fn called<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.extensions_mut().insert(Caller::of_tests("alice"));
    request
}

pub(super) fn called_with<T>(message: T, certificate: &Certificate) -> Request<T> {
    let mut request = Request::new(message);
    let certificate = Some(Arc::new(certificate.clone()));
    request.extensions_mut().insert(Caller { certificate, ..Caller::of_tests("node:b") });
    request
}

pub(super) fn csr(key: &PrivateKey, names: &TlsNames) -> String {
    let der = Csr::make(key, None, names).unwrap();
    let body = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, der);
    format!("-----BEGIN CERTIFICATE REQUEST-----\n{body}\n-----END CERTIFICATE REQUEST-----\n")
}

fn of_node(name: &str, key: &PrivateKey) -> pb::IssueCertificateRequest {
    pb::IssueCertificateRequest {
        node: name.into(),
        csr: csr(key, &TlsNames::default()),
        ..Default::default()
    }
}

pub(super) fn of_operator(name: &str, key: &PrivateKey) -> pb::IssueCertificateRequest {
    pb::IssueCertificateRequest { node: String::new(), operator: name.into(), ..of_node("", key) }
}

/// The authority of the node's mesh.
pub(super) fn authority(node: &Node) -> Arc<omnirelay_wire::pb::omnirelay::store::v1::AuthorityValue> {
    node.served.registry.view().get(&authority_id()).unwrap().value().unwrap()
}

/// Writes a record of the object as a daemon would.
pub(super) async fn remember(registry: &Registry, id: RecordId, value: Vec<u8>) {
    use omnirelay_registry::act::{DaemonAct, WriteAuthority};
    let act = DaemonAct::new("test.put", [id.kind.clone()], WriteAuthority::Unfenced);
    let write = omnirelay_store::Write::Put { id: id.clone(), value: value.into(), group: None };
    let put = async |reader: DecisionReader<'_>| {
        Ok::<_, omnirelay_store::CommitError>(Some((reader.plan().write([write.clone()]), ())))
    };
    registry.act(&act, put).await.unwrap();
}

/// A certificate of an operator, for a new key.
pub(super) async fn issued_to(node: &Node, operator: &str) -> pb::IssuedCertificate {
    let asked = called(of_operator(operator, &PrivateKey::make().unwrap()));
    node.served.issue(asked).await.unwrap().into_inner()
}

pub(super) fn chain(issued: &pb::IssuedCertificate) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(issued.chain_pem.as_bytes()).map(Result::unwrap).collect()
}

pub(super) fn leaf(issued: &pb::IssuedCertificate) -> Certificate {
    Certificate::read(&chain(issued)[0]).unwrap()
}

/// Waits for what the keeper does.
pub(super) async fn until(what: &str, is: impl Fn() -> bool) {
    for _ in 0..500 {
        if is() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never: {what}");
}

pub(super) async fn initialised(node: &Node) {
    node.served.init_authority(called(pb::InitAuthorityRequest::default())).await.unwrap();
    until("the node has an identity", || node.trust.current().own.is_some()).await;
}

pub(super) fn judged(node: &Node, issued: &pb::IssuedCertificate) -> Result<Certificate, CertificateRefusal> {
    node.trust.current().judge(&chain(issued), unix_now(), ChainUsage::Client)
}

#[tokio::test]
async fn what_is_issued_is_valid_now_although_store_time_is_ahead() {
    let place = tempfile::tempdir().unwrap();
    let ahead = Duration::from_secs(unix_now().unsigned_abs() + 30 * 3600);
    let clock = ManualClock::at(omnirelay_core::time::Millis(omnirelay_core::time::whole_ms(ahead)));
    let node = node("node-1", Arc::new(MemoryStore::new(clock)), place.path()).await;
    initialised(&node).await;
    assert_eq!(node.trust.current().own.clone().unwrap().not_begun(unix_now()), None);
    let bob = issued_to(&node, "bob").await;
    let shown = judged(&node, &bob).unwrap();
    // It lives for as long as was asked, by the clock that it is judged by.
    assert!((shown.not_after - unix_now() - i64::from(issue::LIFETIME)).abs() < 60, "{}", shown.not_after);
}

/// Nobody has revoked what has ended, and nobody is told so.
#[test]
fn a_certificate_that_has_ended_is_not_called_revoked() {
    let id: omnirelay_core::spiffe::SpiffeId = "spiffe://m/operator/ann".parse().unwrap();
    let now = unix_now();
    let shown = Certificate {
        serial: omnirelay_pki::certificate::CertificateSerial::of(&[7]),
        id,
        names: TlsNames::default(),
        not_before: now - 600,
        not_after: now - 60,
        key: PrivateKey::make().unwrap().fingerprint(),
    };
    let mut list = Revocations::default();
    let refused = issue::check_shown(&shown, &list, now).unwrap_err();
    assert_eq!(refused.reason, "CERTIFICATE_NEEDED");
    assert!(refused.message.contains("has ended"), "{}", refused.message);
    issue::check_shown(&shown, &list, now - 120).unwrap();
    list.revoke(omnirelay_pki::revocation::RevokedSubject::Serial(shown.serial.clone()), now, now + 9, "");
    assert_eq!(issue::check_shown(&shown, &list, now).unwrap_err().reason, "HOLDER_REVOKED");
}

#[tokio::test]
async fn an_authority_is_made_once_and_its_node_enrolled() {
    let place = tempfile::tempdir().unwrap();
    let node = node("node-1", Arc::new(MemoryStore::system()), place.path()).await;
    let ask = || called(pb::GetAuthorityRequest::default());
    assert!(node.served.get_authority(ask()).await.unwrap().into_inner().authority.is_none());
    let key = PrivateKey::make().unwrap();
    assert_eq!(reason(node.served.issue(called(of_node("b", &key))).await), "NO_AUTHORITY");
    let dry = pb::InitAuthorityRequest { dry_run: true, ..Default::default() };
    assert!(node.served.init_authority(called(dry)).await.unwrap().into_inner().changed);
    initialised(&node).await;
    let again = node.served.init_authority(called(pb::InitAuthorityRequest::default())).await;
    assert_eq!(reason(again), "AUTHORITY_EXISTS");
    let shown = node.served.get_authority(ask()).await.unwrap().into_inner();
    let authority = shown.authority.unwrap();
    assert!(shown.issues && authority.trust_domain == "mesh.local" && authority.version == 1);
    assert!(!format!("{authority:?}").contains("PRIVATE KEY"));
    let own = node.trust.current().own.clone().unwrap();
    assert_eq!(own.leaf.id.to_string(), "spiffe://mesh.local/mesh/default/worker/node-1");
    assert_eq!(own.leaf.names.dns, ["localhost", "node-1", "node-1.mesh"]);
}

#[tokio::test]
async fn what_is_asked_of_an_authority_is_checked() {
    let place = tempfile::tempdir().unwrap();
    let node = node("node-1", Arc::new(MemoryStore::system()), place.path()).await;
    let cases = [
        pb::InitAuthorityRequest { trust_domain: "Mesh".into(), ..Default::default() },
        pb::InitAuthorityRequest { root_days: 36_501, ..Default::default() },
        pb::InitAuthorityRequest { root_days: 10, issuer_days: 11, ..Default::default() },
        pb::InitAuthorityRequest { reason: "a\nb".into(), ..Default::default() },
    ];
    for asked in cases {
        let outcome = node.served.init_authority(called(asked.clone())).await;
        assert_eq!(reason(outcome), "INVALID_ARGUMENT", "{asked:?}");
    }
    initialised(&node).await;
    let key = PrivateKey::make().unwrap();
    let sound = of_node("b", &key);
    let wildcard = csr(&key, &TlsNames { dns: vec!["*.mesh".into()], addresses: Vec::new() });
    let cases = [
        pb::IssueCertificateRequest { node: String::new(), ..sound.clone() },
        pb::IssueCertificateRequest { operator: "ann".into(), ..sound.clone() },
        pb::IssueCertificateRequest { node: "B".into(), ..sound.clone() },
        pb::IssueCertificateRequest { role: "a/b".into(), ..sound.clone() },
        pb::IssueCertificateRequest { csr: String::new(), ..sound.clone() },
        pb::IssueCertificateRequest { csr: "x".into(), ..sound.clone() },
        pb::IssueCertificateRequest { csr: wildcard, ..sound.clone() },
        pb::IssueCertificateRequest { lifetime_seconds: 3599, ..sound.clone() },
        pb::IssueCertificateRequest { lifetime_seconds: 604_801, ..sound.clone() },
        pb::IssueCertificateRequest { role: "worker".into(), ..of_operator("ann", &key) },
    ];
    for asked in cases {
        assert_eq!(reason(node.served.issue(called(asked.clone())).await), "INVALID_ARGUMENT", "{asked:?}");
    }
}

#[tokio::test]
async fn what_is_issued_is_believed_until_it_is_revoked() {
    let place = tempfile::tempdir().unwrap();
    let node = node("node-1", Arc::new(MemoryStore::system()), place.path()).await;
    initialised(&node).await;
    let keys = [PrivateKey::make().unwrap(), PrivateKey::make().unwrap()];
    let issued = node.served.issue(called(of_node("b", &keys[0]))).await.unwrap().into_inner();
    let operator = node.served.issue(called(of_operator("ann", &keys[1]))).await.unwrap().into_inner();
    let believed = judged(&node, &issued).unwrap();
    assert_eq!((believed.key, believed.not_after - believed.not_before), (keys[0].fingerprint(), 86_700));
    assert_eq!(judged(&node, &operator).unwrap().id.to_string(), "spiffe://mesh.local/operator/ann");
    let other = PrivateKey::make().unwrap();
    assert_eq!(reason(node.served.issue(called(of_node("b", &other))).await), "HOLDER_HAS_A_CERTIFICATE");
    let gateway = pb::IssueCertificateRequest { role: "gateway".into(), ..of_node("b", &other) };
    assert_eq!(reason(node.served.issue(called(gateway)).await), "HOLDER_HAS_A_CERTIFICATE");
    let replaced = pb::IssueCertificateRequest { replace: true, ..of_node("b", &other) };
    let replaced = node.served.issue(called(replaced)).await.unwrap().into_inner();
    until("what was replaced is out", || judged(&node, &issued) == Err(CertificateRefusal::Revoked)).await;
    judged(&node, &replaced).unwrap();
    let revoked =
        pb::RevokeCertificateRequest { node: "b".into(), reason: "stolen".into(), ..Default::default() };
    let change = node.served.revoke(called(revoked.clone())).await.unwrap().into_inner();
    assert!(change.changed && change.changes.len() == 4, "{:?}", change.changes);
    until("it is out", || judged(&node, &replaced) == Err(CertificateRefusal::Revoked)).await;
    assert_eq!(judged(&node, &issued), Err(CertificateRefusal::Revoked));
    judged(&node, &operator).unwrap();
    assert!(!node.served.revoke(called(revoked)).await.unwrap().into_inner().changed, "it is so already");
    let fresh = PrivateKey::make().unwrap();
    assert_eq!(reason(node.served.issue(called(of_node("b", &fresh))).await), "HOLDER_REVOKED");
    let back = pb::ReinstateHolderRequest { node: "b".into(), ..Default::default() };
    assert!(node.served.reinstate(called(back)).await.unwrap().into_inner().changed);
    assert_eq!(reason(node.served.issue(called(of_node("b", &other))).await), "KEY_REVOKED");
    let fresh = node.served.issue(called(of_node("b", &fresh))).await.unwrap().into_inner();
    until("it is let back in", || judged(&node, &fresh).is_ok()).await;
    assert_eq!(judged(&node, &issued), Err(CertificateRefusal::Revoked));
}

#[tokio::test]
async fn a_certificate_is_renewed_by_whoever_holds_it_and_only_as_it_is() {
    let place = tempfile::tempdir().unwrap();
    let node = node("node-1", Arc::new(MemoryStore::system()), place.path()).await;
    initialised(&node).await;
    let key = PrivateKey::make().unwrap();
    let issued = node.served.issue(called(of_node("b", &key))).await.unwrap().into_inner();
    let before = leaf(&issued);
    let renewal = |names: &TlsNames| {
        let key = PrivateKey::make().unwrap();
        pb::RenewCertificateRequest { csr: csr(&key, names) }
    };
    assert_eq!(reason(node.served.renew(called(renewal(&TlsNames::default()))).await), "CERTIFICATE_NEEDED");
    let foreign = TlsNames { dns: vec!["other.mesh".into()], addresses: Vec::new() };
    assert_eq!(reason(node.served.renew(called_with(renewal(&foreign), &before)).await), "INVALID_ARGUMENT");
    let renewed = node.served.renew(called_with(renewal(&TlsNames::default()), &before)).await.unwrap();
    let renewed = leaf(&renewed.into_inner());
    assert_eq!((&renewed.id, &renewed.names), (&before.id, &before.names));
    assert!(renewed.key != before.key && renewed.serial != before.serial);
    let listed = |all| called(pb::ListCertificatesRequest { name: "b".into(), all, ..Default::default() });
    let shown = node.served.list(listed(true)).await.unwrap().into_inner().certificates;
    let statuses: Vec<i32> = shown.iter().map(|one| one.status).collect();
    assert_eq!(statuses, [pb::certificate::Status::Valid as i32, pb::certificate::Status::Superseded as i32]);
    assert_eq!(node.served.list(listed(false)).await.unwrap().into_inner().certificates.len(), 1);
    let serial = before.serial.to_string();
    let revoked = pb::RevokeCertificateRequest { serial, ..Default::default() };
    node.served.revoke(called(revoked)).await.unwrap();
    let late = node.served.renew(called_with(renewal(&TlsNames::default()), &before)).await;
    assert_eq!(reason(late), "HOLDER_REVOKED");
    // What was renewed from it goes with it, whoever has the key.
    let from_it = node.served.renew(called_with(renewal(&TlsNames::default()), &renewed)).await;
    assert_eq!(reason(from_it), "HOLDER_REVOKED");
}

#[tokio::test]
async fn a_holder_is_issued_no_more_than_its_rate_whatever_it_asks_for() {
    let place = tempfile::tempdir().unwrap();
    let node = node("node-1", Arc::new(MemoryStore::system()), place.path()).await;
    initialised(&node).await;
    let key = PrivateKey::make().unwrap();
    let mut newest = leaf(&node.served.issue(called(of_node("b", &key))).await.unwrap().into_inner());
    let request = || pb::RenewCertificateRequest { csr: csr(&key, &TlsNames::default()) };
    let mut renewed = 0;
    let refused = loop {
        match node.served.renew(called_with(request(), &newest)).await {
            Ok(issued) => newest = leaf(&issued.into_inner()),
            refused @ Err(_) => break refused,
        }
        renewed += 1;
        assert!(renewed < 100, "it is renewed for ever");
    };
    assert_eq!((renewed, reason(refused)), (60, "TOO_MANY_ISSUED".to_owned()));
    let of_c = leaf(
        &node.served.issue(called(of_node("c", &PrivateKey::make().unwrap()))).await.unwrap().into_inner(),
    );
    node.served.renew(called_with(request(), &of_c)).await.expect("another holder");
}

#[tokio::test]
async fn only_whoever_has_the_secret_issues() {
    let place = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(MemoryStore::system());
    let first = node("node-1", store.clone(), place.path()).await;
    initialised(&first).await;
    let elsewhere = tempfile::tempdir().unwrap();
    let second = node("node-2", store, elsewhere.path()).await;
    until("it trusts the authority", || {
        second.trust.has_authority() == omnirelay_identity::trust::HasAuthority::Yes
    })
    .await;
    let key = PrivateKey::make().unwrap();
    assert_eq!(reason(second.served.issue(called(of_node("b", &key))).await), "NOT_AN_ISSUER");
    let shown = second.served.get_authority(called(pb::GetAuthorityRequest::default())).await.unwrap();
    assert!(!shown.into_inner().issues && second.trust.current().own.is_none());
    std::fs::write(elsewhere.path().join("issuer-secret"), "another secret, as long as one has to be")
        .unwrap();
    let path = elsewhere.path().join("issuer-secret");
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    assert_eq!(reason(second.served.issue(called(of_node("b", &key))).await), "NOT_AN_ISSUER");
    std::fs::copy(place.path().join("issuer-secret"), &path).unwrap();
    second.served.issue(called(of_node("b", &key))).await.unwrap();
}

#[tokio::test]
async fn a_restart_without_the_store_believes_nobody_who_was_out() {
    let place = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(MemoryStore::system());
    let first = node("node-1", store, place.path()).await;
    initialised(&first).await;
    let keys = [PrivateKey::make().unwrap(), PrivateKey::make().unwrap()];
    let out = first.served.issue(called(of_node("b", &keys[0]))).await.unwrap().into_inner();
    let fine = first.served.issue(called(of_node("c", &keys[1]))).await.unwrap().into_inner();
    let revoked = pb::RevokeCertificateRequest { node: "b".into(), ..Default::default() };
    first.served.revoke(called(revoked)).await.unwrap();
    until("it is out", || judged(&first, &out) == Err(CertificateRefusal::Revoked)).await;
    let own = first.trust.current().own.clone().unwrap().leaf.serial.clone();
    drop(first);
    // An empty registry says nothing of an authority.
    let again = node("node-1", Arc::new(MemoryStore::system()), place.path()).await;
    judged(&again, &fine).unwrap();
    assert_eq!(judged(&again, &out), Err(CertificateRefusal::Revoked));
    assert_eq!(again.trust.current().own.clone().unwrap().leaf.serial, own, "it is the one that was kept");
    // Whoever changes what was kept has not the key that signs it.
    let kept = place.path().join("node-1/revocations");
    let mut bytes = std::fs::read(&kept).unwrap();
    bytes[10] ^= 1;
    std::fs::write(&kept, bytes).unwrap();
    let forged = node("node-1", Arc::new(MemoryStore::system()), place.path()).await;
    assert_eq!(forged.trust.current().revocations, Revocations::default());
}

#[tokio::test]
async fn a_registry_that_lost_revocations_gets_them_back() {
    let place = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(MemoryStore::system());
    let first = node("node-1", store.clone(), place.path()).await;
    initialised(&first).await;
    let key = PrivateKey::make().unwrap();
    let out = first.served.issue(called(of_node("b", &key))).await.unwrap().into_inner();
    let restored = first.served.registry.view().get(&revocation_id());
    assert!(restored.is_none(), "the copy that the store goes back to");
    let revoked = pb::RevokeCertificateRequest { node: "b".into(), ..Default::default() };
    first.served.revoke(called(revoked)).await.unwrap();
    until("it is out", || judged(&first, &out) == Err(CertificateRefusal::Revoked)).await;
    let list = first.trust.current().revocations.clone();
    // What a restored store looks like: the list is not there any more.
    put(&first, store.as_ref(), None).await;
    let back = || {
        let record = first.served.registry.view().get(&revocation_id());
        let value = record.and_then(|record| record.value::<RevocationValue>());
        value.and_then(|value| revoked::known(Some(&value)).ok())
    };
    until("the list is back", || back().is_some_and(|back| back.iter().eq(list.iter()))).await;
    assert!(back().unwrap().number() >= list.number());
    assert_eq!(judged(&first, &out), Err(CertificateRefusal::Revoked));
}

/// Another mesh may have the same name: what its authority signs is nothing here.
#[tokio::test]
async fn what_an_authority_of_the_same_name_signs_is_passed_over() {
    let place = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(MemoryStore::system());
    let first = node("node-1", store.clone(), place.path()).await;
    initialised(&first).await;
    let elsewhere = tempfile::tempdir().unwrap();
    let other = node("node-1", Arc::new(MemoryStore::system()), elsewhere.path()).await;
    initialised(&other).await;
    let key = PrivateKey::make().unwrap();
    let foreign = other.served.issue(called(of_node("b", &key))).await.unwrap().into_inner();
    assert!(matches!(judged(&first, &foreign), Err(CertificateRefusal::Untrusted(_))));
    let own = first.served.issue(called(of_node("b", &key))).await.unwrap().into_inner();
    let revoked = pb::RevokeCertificateRequest { node: "b".into(), ..Default::default() };
    other.served.revoke(called(revoked.clone())).await.unwrap();
    until("it is out there", || other.trust.current().revocations.number() > 0).await;
    let forged = other.served.registry.view().get(&revocation_id()).unwrap().record.value.clone();
    put(&first, store.as_ref(), Some(forged.clone())).await;
    until("it was read", || in_registry(&first) == Some(forged.clone())).await;
    judged(&first, &own).unwrap();
    assert_eq!(first.trust.current().revocations.number(), 0);

    // No decision is taken by it, and what is decided is not signed together with it.
    let again = first.served.issue(called(of_node("b", &key))).await.unwrap().into_inner();
    let other = issued_to(&first, "ann").await;
    let revoked_here = pb::RevokeCertificateRequest { operator: "ann".into(), ..Default::default() };
    first.served.revoke(called(revoked_here)).await.unwrap();
    until("it is out", || judged(&first, &other) == Err(CertificateRefusal::Revoked)).await;
    judged(&first, &again).unwrap();

    // And whoever can sign puts his own in its place.
    put(&first, store.as_ref(), Some(forged.clone())).await;
    until("it is replaced", || in_registry(&first).is_some_and(|there| there != forged)).await;
    let there = RevocationValue::decode(&*in_registry(&first).unwrap()).unwrap();
    let bundle = first.trust.current().bundle.clone().unwrap();
    let listed =
        omnirelay_certificate_records::revoked::signed_list(bundle.issuers_of("default"), &there).unwrap();
    assert!(listed.iter().eq(first.trust.current().revocations.iter()), "{listed:?}");
}

fn in_registry(node: &Node) -> Option<bytes::Bytes> {
    node.served.registry.view().get(&revocation_id()).map(|found| found.record.value.clone())
}

/// A later version may revoke what this one has no word for.
#[test]
fn what_is_revoked_in_an_unknown_way_is_kept_and_hides_nothing_else() {
    use omnirelay_wire::pb::omnirelay::store::v1::{RevocationList, RevokedValue, revoked_value::What};
    let entry = |what| RevokedValue { what, until: 9, ..Default::default() };
    let entries =
        vec![entry(None), entry(Some(What::Node("no cluster".into()))), entry(Some(What::Serial(vec![7])))];
    let body = RevocationList { number: 3, entries, ..Default::default() }.encode_to_vec();
    let list = revoked::known(Some(&RevocationValue { body, ..Default::default() })).unwrap();
    let later = list
        .iter()
        .filter(|(what, _)| matches!(what, omnirelay_pki::revocation::RevokedSubject::Later(_)))
        .count();
    assert_eq!((list.number(), later, list.iter().count()), (3, 2, 3));
}

/// Has the store hold something else in the place of the list.
async fn put(node: &Node, store: &dyn Store, value: Option<bytes::Bytes>) {
    let id = revocation_id();
    let write = match value {
        Some(value) => omnirelay_store::Write::Put { id, value, group: None },
        None => omnirelay_store::Write::Delete { id },
    };
    let commit = omnirelay_store::Commit {
        epoch: node.served.registry.view().head().epoch,
        preconditions: Vec::new(),
        writes: vec![write],
        leases: Vec::new(),
        fence: None,
        idempotency: None,
        writer: "somebody".into(),
    };
    store.commit(commit).await.unwrap();
}

#[tokio::test]
async fn a_node_that_the_mesh_has_issued_nothing_to_is_revoked_by_its_name() {
    let (store, place) = (Arc::new(MemoryStore::system()), tempfile::tempdir().unwrap());
    let node = node("node-1", store, place.path()).await;
    initialised(&node).await;
    let revoke = || called(pb::RevokeCertificateRequest { node: "b".into(), ..Default::default() });
    assert_eq!(reason(node.served.revoke(revoke()).await), "CERTIFICATE_NOT_FOUND", "nobody knows it");
    // Its certificate is from files.
    let bundle = node.trust.current().bundle.clone();
    node.trust.update(|trusted| trusted.provided = bundle);
    node.served.revoke(revoke()).await.unwrap();
    let is_out = |role: &str| {
        let id = format!("spiffe://corp.example/mesh/default/{role}/b").parse().unwrap();
        let holder =
            omnirelay_pki::revocation::RevokedSubject::node(omnirelay_core::spiffe::SpiffeId::holder(&id));
        node.trust.current().revocations.about(&holder.unwrap()).is_some()
    };
    until("it is out", || is_out("gateway")).await;
    assert!(is_out("worker"), "whatever its role");
    let key = PrivateKey::make().unwrap();
    assert_eq!(reason(node.served.issue(called(of_node("b", &key))).await), "HOLDER_REVOKED");
    let back = called(pb::ReinstateHolderRequest { node: "b".into(), ..Default::default() });
    node.served.reinstate(back).await.unwrap();
    node.served.issue(called(of_node("b", &key))).await.unwrap();
}

/// It says so, and takes it up once it can be read; nobody has to start it anew.
#[tokio::test]
async fn an_identity_that_cannot_be_read_is_looked_at_again() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(omnirelay_store::MemoryStore::system());
    let first = node("node-1", store.clone(), place.path()).await;
    initialised(&first).await;
    drop(first);
    let path = place.path().join("node-1/identity.pem");
    let mode = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    mode(0o640);
    // It cannot issue its own.
    std::fs::remove_file(place.path().join("issuer-secret")).unwrap();
    let keeper = keeper("node-1", store, place.path()).await;
    keeper.load();
    keeper.look_and_say().await;
    let why = keeper.lacking.unread().unwrap();
    assert!(why.contains("chmod 600") && why.contains("identity.pem"), "{why}");
    assert!(keeper.trust.current().own.is_none());
    let again = keeper.look_and_say().await.unwrap();
    assert!(again <= tokio::time::Instant::now() + omnirelay_identity::files::LOOK_EVERY, "it sleeps");
    mode(0o600);
    keeper.look_and_say().await;
    assert_eq!(keeper.lacking.unread(), None);
    assert!(keeper.trust.current().own.is_some(), "it is who it was");
}
