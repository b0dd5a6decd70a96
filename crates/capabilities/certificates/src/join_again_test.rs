//! Joining once more: by a certificate that has ended, and by a token that was used.

use omnirelay_identity::caller::{Caller, Scopes};
use omnirelay_identity::trust::unix_now;
use omnirelay_pki::certificate::TlsNames;
use omnirelay_pki::key::PrivateKey;
use omnirelay_pki::request::CertificateRequest as Csr;
use prost::Message as _;
use tonic::Request;

use super::join_tests::{Mesh, body, mesh, signed};
use super::pb;
use super::tests::{called, judged, reason};
use pb::enrollment_service_server::EnrollmentService as _;

/// How often one key is issued something at once.
const AT_ONCE: usize = 60;

/// A certificate that has ended, of a node whose key this is, as the mesh remembers it.
async fn ended(mesh: &Mesh, key: &PrivateKey, ago: i64) -> Vec<Vec<u8>> {
    use omnirelay_pki::authority::ValidityPeriod;
    let registry = &mesh.node.served.registry;
    let (authority, now) = (super::tests::authority(&mesh.node), unix_now());
    let issuer = mesh.node.served.signer.issuer(&authority).unwrap();
    let holder = omnirelay_core::spiffe::CertificateHolder::Node {
        cluster: "default".into(),
        role: "worker".into(),
        node: "b".into(),
    };
    let id = omnirelay_core::spiffe::SpiffeId::new(issuer.trust_domain().clone(), holder.clone()).unwrap();
    let request = Csr::read(&Csr::make(key, None, &TlsNames::default()).unwrap()).unwrap();
    // The issuer is as young as the test.
    let validity = ValidityPeriod { not_before: now - 300, not_after: now - ago };
    let issued = issuer.issue(&request, &id, &TlsNames::default(), validity).unwrap();
    let leaf = omnirelay_pki::certificate::Certificate::read(&issued.der).unwrap();
    let remembered = super::holder::remembered(&leaf, "test", issuer.certificate(), Default::default());
    let value = super::lineage::remember_issued(None, remembered, None, |_| false, leaf.not_after)
        .unwrap()
        .encode_to_vec();
    super::tests::remember(registry, omnirelay_certificate_records::record_of(&holder), value).await;
    vec![issued.der.to_vec(), issuer.certificate().to_vec()]
}

fn again(chain: Vec<Vec<u8>>, by: &PrivateKey, next: &PrivateKey, at: i64) -> Request<pb::RejoinRequest> {
    let csr = Csr::make(next, None, &TlsNames::default()).unwrap();
    let body = pb::RejoinBody { chain, csr, at }.encode_to_vec();
    let signature = by.sign(super::rejoin::SIGNED, &body).unwrap();
    let mut request = Request::new(pb::RejoinRequest { body, signature });
    request.extensions_mut().insert(Caller { scopes: Scopes::NONE, ..Caller::of_tests("-") });
    request
}

#[tokio::test]
async fn a_node_whose_certificate_has_ended_proves_by_its_key_who_it_was() {
    let mesh = mesh(|_| {}).await;
    let [key, next, stranger] = [(); 3].map(|()| PrivateKey::make().unwrap());
    let chain = ended(&mesh, &key, 10).await;
    let now = unix_now();
    let cases = [
        ("of another key", again(chain.clone(), &stranger, &next, now)),
        ("signed long ago", again(chain.clone(), &key, &next, now - 3600)),
        ("nothing that leads to a root", again(chain[..1].to_vec(), &key, &next, now)),
        ("no certificate", again(vec![b"x".to_vec()], &key, &next, now)),
        ("nothing", again(Vec::new(), &key, &next, now)),
    ];
    for (what, asked) in cases {
        assert_eq!(reason(mesh.enrollment.rejoin(asked).await), "JOIN_REFUSED", "{what}");
    }
    let ask = |next: &PrivateKey| again(chain.clone(), &key, next, now);
    let issued = mesh.enrollment.rejoin(ask(&next)).await.unwrap().into_inner();
    judged(&mesh.node, &issued).unwrap();
    assert_eq!(issued.certificate.unwrap().id, "spiffe://mesh.local/mesh/default/worker/b");
    // The answer may have been lost; for another key what has ended proves nothing any more.
    mesh.enrollment.rejoin(ask(&next)).await.unwrap();
    assert_eq!(reason(mesh.enrollment.rejoin(ask(&PrivateKey::make().unwrap())).await), "JOIN_REFUSED");
    let revoke = pb::RevokeNodeRequest { node: "b".into(), ..Default::default() };
    mesh.enrollment.revoke_node(called(revoke)).await.unwrap();
    assert_eq!(reason(mesh.enrollment.rejoin(ask(&next)).await), "JOIN_REFUSED");
}

/// Each answer is a record of the trail.
#[tokio::test]
async fn a_node_joins_again_no_more_often_than_its_rate() {
    let mesh = mesh(|_| {}).await;
    let [key, next] = [(); 2].map(|()| PrivateKey::make().unwrap());
    let chain = ended(&mesh, &key, 10).await;
    let ask = |key: &PrivateKey| mesh.enrollment.rejoin(again(chain.clone(), key, &next, unix_now()));
    for _ in 0..=AT_ONCE {
        assert_eq!(reason(ask(&next).await), "JOIN_REFUSED", "what fails counts for nothing");
    }
    for _ in 0..AT_ONCE {
        ask(&key).await.unwrap();
    }
    assert_eq!(reason(ask(&key).await), "TOO_MANY_ISSUED");
}

#[tokio::test]
async fn a_token_that_was_used_lets_its_host_in_again_no_more_often_than_that() {
    let mesh = mesh(|_| {}).await;
    let request = signed(&mesh.token, &body(&mesh.token, "b", &PrivateKey::make().unwrap()));
    // The first is counted by the token.
    for _ in 0..=AT_ONCE {
        mesh.join(request.clone()).await.unwrap();
    }
    assert_eq!(reason(mesh.join(request).await), "TOO_MANY_ISSUED");
}
