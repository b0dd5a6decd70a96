//! Users of the store on one that has none itself.

use std::sync::Arc;

use omnirelay_pki::key::{Fingerprint, Key};
use omnirelay_scripted::{Faulty, Users};
use omnirelay_store::MemoryStore;

use super::join_tests::{Mesh, body, mesh_on, signed};
use super::pb;
use super::tests::{called, reason};
use pb::enrollment_service_server::EnrollmentService as _;

fn store() -> Arc<Faulty> {
    let users = Users::hashed_by(|password| *Fingerprint::of(password).as_bytes());
    Faulty::with_users(Arc::new(MemoryStore::system()), users)
}

/// One whose daemon has credentials of the store of its own.
async fn mesh(store: &Arc<Faulty>, change: impl FnOnce(&mut pb::CreateJoinTokenRequest)) -> Mesh {
    mesh_on(store.clone(), |access| access.is_own = true, change).await
}

/// Whether users can be made is found out by making one.
#[tokio::test]
async fn nothing_is_asked_of_the_store_for_whom_the_token_does_not_let_in() {
    let store = store();
    let mesh = mesh(&store, |asked| asked.nodes = vec!["b".into()]).await;
    let asks = |node: &str| signed(&mesh.token, &body(&mesh.token, node, &Key::make().unwrap()));
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
