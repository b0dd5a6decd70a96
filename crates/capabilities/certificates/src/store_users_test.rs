//! Users of the store on one that has none itself.

use std::sync::Arc;

use omnirelay_certificate_records::{AUTHORITY, CERTIFICATE, JOIN_POLICY, JOIN_TOKEN, record_of};
use omnirelay_core::spiffe::CertificateHolder;
use omnirelay_identity::trust::unix_now;
use omnirelay_pki::key::{Fingerprint, PrivateKey};
use omnirelay_scripted::{Faulty, Method, Moment, Users};
use omnirelay_store::{MemoryStore, RecordId, WritableKinds};
use omnirelay_wire::pb::omnirelay::store::v1::CertificateValue;
use prost::Message as _;

use super::join_tests::{Mesh, body, mesh_on, signed};
use super::pb;
use super::store_rights::{KnownRecordKinds, StoreRights};
use super::store_users::StoreUserKeeper;
use super::tests::{called, reason, remember, until};
use pb::enrollment_service_server::EnrollmentService as _;

fn store() -> Arc<Faulty> {
    let users = Users::hashed_by(|password| *Fingerprint::of(password).as_bytes());
    Faulty::with_users(Arc::new(MemoryStore::system()), users)
}

/// One whose daemon has credentials of the store of its own.
async fn mesh(store: &Arc<Faulty>, change: impl FnOnce(&mut pb::CreateJoinTokenRequest)) -> Mesh {
    mesh_on(store.clone(), |access| access.admission.as_mut().unwrap().is_own = true, change).await
}

/// Whether users can be made is found out by making one.
#[tokio::test]
async fn nothing_is_asked_of_the_store_for_whom_the_token_does_not_let_in() {
    let store = store();
    let mesh = mesh(&store, |asked| asked.nodes = vec!["b".into()]).await;
    let asks = |node: &str| signed(&mesh.token, &body(&mesh.token, node, &PrivateKey::make().unwrap()));
    let users = store.users.as_ref().unwrap();
    let before = users.asked();
    assert_eq!(reason(mesh.join(asks("c")).await), "JOIN_DENIED", "of another node");
    let forged = pb::JoinRequest { signature: vec![0; 64], ..asks("b") };
    assert_eq!(reason(mesh.join(forged).await), "JOIN_REFUSED");
    assert_eq!(users.asked(), before);
    mesh.join(asks("b")).await.unwrap();
    assert_eq!(users.asked(), before + 1);
    assert_eq!(reason(mesh.join(asks("b")).await), "JOIN_DENIED", "used as often as it may be");
    let revoked = pb::RevokeJoinTokenRequest { token_id: mesh.token.id().to_string(), ..Default::default() };
    mesh.enrollment.revoke_token(called(revoked)).await.unwrap();
    assert_eq!(reason(mesh.join(asks("b")).await), "JOIN_DENIED", "revoked");
    assert_eq!(users.asked(), before + 1);
}

fn record(node: &str) -> RecordId {
    record_of(&CertificateHolder::Node { cluster: "default".into(), role: String::new(), node: node.into() })
}

fn held(mesh: &Mesh, node: &str) -> CertificateValue {
    let found = mesh.node.served.registry.view().get(&record(node));
    (*found.unwrap().value::<CertificateValue>().unwrap()).clone()
}

fn kinds() -> KnownRecordKinds {
    KnownRecordKinds { signed: vec![AUTHORITY, JOIN_TOKEN, JOIN_POLICY], others: vec![CERTIFICATE] }
}

/// What makes users anew, on the daemon of the mesh.
fn restorer(mesh: &Mesh) -> StoreUserKeeper {
    let served = &mesh.node.served;
    StoreUserKeeper {
        registry: served.registry.clone(),
        signer: served.signer.clone(),
        cluster: "default".to_owned(),
        known: Default::default(),
        rights: StoreRights::of(kinds()),
    }
}

/// A mesh that `b` may join nine times.
async fn joined(store: &Arc<Faulty>) -> Mesh {
    let mesh = mesh(store, |asked| {
        (asked.nodes, asked.uses_max, asked.replace) = (vec!["b".into()], 9, true);
    })
    .await;
    join(&mesh).await;
    mesh
}

/// Has `b` join with a new key.
async fn join(mesh: &Mesh) {
    mesh.join(signed(&mesh.token, &body(&mesh.token, "b", &PrivateKey::make().unwrap()))).await.unwrap();
}

#[tokio::test]
async fn a_user_that_was_restored_while_its_host_joined_is_that_of_the_join() {
    let store = store();
    let mesh = joined(&store).await;
    let users = store.users.as_ref().unwrap();
    let before = users.password_of("b");
    // Whoever restores has found none, and makes the one before once the join has made its own.
    users.at(Moment::Admitted, move |passwords| {
        passwords.insert("b".into(), before);
    });
    join(&mesh).await;
    let now = users.password_of("b");
    assert_ne!(now, before);
    until("it is noted", || held(&mesh, "b").store_password_hash == now).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_restores_users_goes_by_what_was_noted_meanwhile() {
    let store = store();
    let mesh = joined(&store).await;
    let (users, restorer) = (store.users.as_ref().unwrap(), restorer(&mesh));
    until("it is noted", || held(&mesh, "b").store_password_hash == users.password_of("b")).await;
    users.forget_all();
    // A join comes between seeing that there is none and making it.
    let (joined, registry) = ([7; 32], mesh.node.served.registry.clone());
    let value = CertificateValue { store_password_hash: joined.to_vec(), ..held(&mesh, "b") };
    let handle = tokio::runtime::Handle::current();
    users.at(Moment::Missed, move |passwords| {
        passwords.insert("b".into(), joined);
        let noting = remember(&registry, record("b"), value.encode_to_vec());
        tokio::task::block_in_place(|| handle.block_on(noting));
    });
    restorer.restore().await.unwrap();
    assert_eq!(users.password_of("b"), joined);
    // A password that the store has, and the registry notes none of, is not noted over one that a join has noted meanwhile.
    restorer.note_first(&record("b"), [9; 32]).await.unwrap();
    assert_eq!(held(&mesh, "b").store_password_hash, joined);
}

#[tokio::test]
async fn a_node_that_was_forgotten_and_cannot_come_back_gets_no_user() {
    let store = store();
    let mesh = joined(&store).await;
    let (users, restorer) = (store.users.as_ref().unwrap(), restorer(&mesh));
    until("it is noted", || held(&mesh, "b").store_password_hash == users.password_of("b")).await;
    for (what, ended, expected) in
        [("it may join again", 3600, true), ("it needs a token", 4 * 86_400, false)]
    {
        let mut value = held(&mesh, "b");
        value.issued[0].not_after = unix_now() - ended;
        remember(&mesh.node.served.registry, record("b"), value.encode_to_vec()).await;
        until("the certificate has ended", || held(&mesh, "b") == value).await;
        users.forget_all();
        restorer.restore().await.unwrap();
        assert_eq!(users.passwords().contains_key("b"), expected, "{what}");
    }
}

/// A daemon of an earlier version does not know the field, and writes the record of a certificate without it.
#[tokio::test]
async fn a_record_that_an_earlier_version_has_written_takes_no_user_away() {
    let store = store();
    let mesh = joined(&store).await;
    let (users, restorer) = (store.users.as_ref().unwrap(), restorer(&mesh));
    let password = users.password_of("b");
    let is_noted = || held(&mesh, "b").store_password_hash == password;
    until("it is noted", is_noted).await;
    restorer.restore().await.unwrap();
    let written_without = async || {
        let value = CertificateValue { store_password_hash: Vec::new(), ..held(&mesh, "b") };
        remember(&mesh.node.served.registry, record("b"), value.encode_to_vec()).await;
        until("the record is written", || !is_noted()).await;
    };
    written_without().await;
    users.forget_all();
    restorer.restore().await.unwrap();
    assert_eq!(users.password_of("b"), password, "it is made anew");
    until("it is noted again", is_noted).await;
    // Whoever puts the node out takes it away: none is made, nor noted.
    for leaves in [true, false] {
        let out = pb::RevokeNodeRequest { node: "b".into(), leaves, ..Default::default() };
        mesh.enrollment.revoke_node(called(out)).await.unwrap();
        until("it is taken away", || held(&mesh, "b").store_password_hash.is_empty()).await;
        users.forget_all();
        restorer.restore().await.unwrap();
        assert!(users.passwords().is_empty(), "leaves: {leaves}");
        assert!(held(&mesh, "b").store_password_hash.is_empty(), "leaves: {leaves}");
        if leaves {
            join(&mesh).await;
            restorer.restore().await.unwrap();
        }
    }
}

/// It is mended as soon as it is seen, and nothing is asked of the store for it.
#[tokio::test]
async fn a_record_that_an_earlier_version_has_written_is_mended_at_once() {
    let store = store();
    let mesh = joined(&store).await;
    let password = store.users.as_ref().unwrap().password_of("b");
    let is_noted = || held(&mesh, "b").store_password_hash == password;
    until("it is noted", is_noted).await;
    let restorer = Arc::new(restorer(&mesh));
    let running = restorer.clone();
    let running = tokio::spawn(async move { running.run().await });
    until("it has looked", || !restorer.known.lock().is_empty()).await;
    let value = CertificateValue { store_password_hash: Vec::new(), ..held(&mesh, "b") };
    let commits = store.count(Method::Commit);
    remember(&mesh.node.served.registry, record("b"), value.encode_to_vec()).await;
    until("it is noted again", || store.count(Method::Commit) > commits + 1 && is_noted()).await;
    running.abort();
}

/// What the server says of each is asked once, until a user is another.
#[tokio::test]
async fn users_write_everything_while_records_need_no_signature() {
    let store = store();
    let mesh = joined(&store).await;
    let (users, restorer) = (store.users.as_ref().unwrap(), restorer(&mesh));
    until("it is noted", || held(&mesh, "b").store_password_hash == users.password_of("b")).await;
    assert_eq!(users.rights_of("b"), Some(WritableKinds::All), "it joined so");
    let few = WritableKinds::Only { kinds: vec![CERTIFICATE], never: Vec::new() };
    for (what, has_them, expected) in [
        ("whoever starts looks at all", false, &WritableKinds::All),
        ("what was looked at is not asked again", true, &few),
        ("a server that restarted may have forgotten it", false, &WritableKinds::All),
    ] {
        users.let_write("b", few.clone());
        restorer.bring(has_them).await.unwrap();
        assert_eq!(users.rights_of("b").as_ref(), Some(expected), "{what}");
    }
    users.let_write("b", few);
    join(&mesh).await;
    until("it is noted", || held(&mesh, "b").store_password_hash == users.password_of("b")).await;
    restorer.bring(true).await.unwrap();
    assert_eq!(users.rights_of("b"), Some(WritableKinds::All), "a user that was made anew is another one");
}
