//! Certificate that is the last by which an administrator comes in.

use omnirelay_certificate_records::{revocation_id, revoked};
use omnirelay_pki::revocation::{Revocations, RevokedSubject};
use omnirelay_store::MemoryStore;
use omnirelay_wire::pb::omnirelay::store::v1::{BindingValue, RevocationValue};
use pb::binding_service_server::BindingService as _;
use prost::Message as _;

use super::tests::{called, initialised, issued_to, leaf, node, reason, remember, until};
use super::*;
use crate::bindings::{Bindings, binding_id};

fn by_name(operator: &str) -> pb::RevokeCertificateRequest {
    pb::RevokeCertificateRequest { operator: operator.into(), ..Default::default() }
}

#[tokio::test]
async fn the_last_certificate_of_an_administrator_is_revoked_only_when_somebody_says_so() {
    let place = tempfile::tempdir().unwrap();
    let node = node("node-1", Arc::new(MemoryStore::system()), place.path()).await;
    initialised(&node).await;
    let give = async |principal: &str| {
        let value = BindingValue { scopes: vec!["mesh.admin".to_owned()], ..Default::default() };
        remember(&node.served.registry, binding_id(principal), value.encode_to_vec()).await;
        until("it is given", || node.served.registry.view().get(&binding_id(principal)).is_some()).await;
    };
    let ann = issued_to(&node, "ann").await;
    give("operator:ann").await;
    // Who has no certificate cannot come in, whatever a binding gives.
    give("operator:carol").await;
    assert_eq!(reason(node.served.revoke(called(by_name("ann"))).await), "LAST_ADMINISTRATOR");
    let one = pb::RevokeCertificateRequest { serial: leaf(&ann).serial.to_string(), ..Default::default() };
    assert_eq!(reason(node.served.revoke(called(one.clone())).await), "LAST_ADMINISTRATOR", "by its number");

    // A list that nobody has signed stops nobody, and is no reason why she would not come in anyhow.
    let bindings = Bindings::new(node.served.registry.clone(), node.trust.clone(), 1);
    let mut forged = Revocations::default();
    forged.revoke(RevokedSubject::Serial(leaf(&ann).serial), 0, i64::from(u32::MAX), "forged");
    let domain = "m".parse().unwrap();
    for (what, body) in [("garbage", vec![255; 9]), ("a forged list", revoked::encoded(&domain, &forged))] {
        let list = RevocationValue { body, ..Default::default() }.encode_to_vec();
        remember(&node.served.registry, revocation_id(), list).await;
        // It may be put right before it is seen.
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        assert_eq!(reason(node.served.revoke(called(by_name("ann"))).await), "LAST_ADMINISTRATOR", "{what}");
        let taken = pb::DeleteBindingRequest { principal: "operator:ann".into(), ..Default::default() };
        assert_eq!(reason(bindings.delete(called(taken)).await), "LAST_ADMINISTRATOR", "{what}");
    }

    // Whom no binding makes one goes, and so does who is not the last.
    issued_to(&node, "bob").await;
    node.served.revoke(called(by_name("bob"))).await.unwrap();
    issued_to(&node, "carol").await;
    node.served.revoke(called(one)).await.unwrap();
    let said = pb::RevokeCertificateRequest { last_administrator: true, ..by_name("carol") };
    let gone = node.served.revoke(called(said)).await.unwrap().into_inner();
    let line = "administrators: the last one -> nobody";
    assert!(gone.changes.iter().any(|change| change == line), "{:?}", gone.changes);
}
