//! What is renewed from a certificate goes with it, and renewals end.

use std::sync::Arc;

use omnirelay_core::spiffe::Holder;
use omnirelay_pki::certificate::{Certificate, Names};
use omnirelay_pki::key::Key;
use omnirelay_store::MemoryStore;

use super::lineage::{Lineage, OPERATOR_LINEAGE_MAX};
use super::tests::{
    Node, called, called_with, csr, initialised, issued_to, judged, leaf, node, of_operator, until,
};
use super::*;
use crate::daemon::identity::trust::Refused;

/// Whoever has this certificate renews it, for a key of their own.
async fn renewed(node: &Node, from: &Certificate) -> pb::IssuedCertificate {
    let asked = pb::RenewCertificateRequest { csr: csr(&Key::make().unwrap(), &Names::default()) };
    node.served.renew(called_with(asked, from)).await.unwrap().into_inner()
}

#[tokio::test]
async fn what_was_renewed_is_out_with_what_it_came_from() {
    let place = tempfile::tempdir().unwrap();
    let node = node("node-1", Arc::new(MemoryStore::system()), place.path()).await;
    initialised(&node).await;
    let (stolen, bob) = (issued_to(&node, "ann").await, issued_to(&node, "bob").await);
    // The thief goes over to a key of their own, twice; so does ann, from the one that she has as well.
    let thief = renewed(&node, &leaf(&stolen)).await;
    let again = renewed(&node, &leaf(&thief)).await;
    let asked =
        pb::RevokeCertificateRequest { serial: leaf(&stolen).serial.to_string(), ..Default::default() };
    let told = node.served.revoke(called(asked)).await.unwrap().into_inner();
    assert_eq!(told.changes.len(), 5, "{:?}", told.changes);
    for (name, issued) in
        [("the stolen one", &stolen), ("renewed from it", &thief), ("renewed from that", &again)]
    {
        until(name, || judged(&node, issued) == Err(Refused::Revoked)).await;
    }
    judged(&node, &bob).unwrap();
    let asked = pb::RenewCertificateRequest { csr: csr(&Key::make().unwrap(), &Names::default()) };
    let refused = node.served.renew(called_with(asked, &leaf(&again))).await;
    assert_eq!(super::tests::reason(refused), "HOLDER_REVOKED");
    // The operator is not barred, and what is issued anew comes of nothing.
    let anew =
        node.served.issue(called(of_operator("ann", &Key::make().unwrap()))).await.unwrap().into_inner();
    judged(&node, &anew).unwrap();
}

#[tokio::test]
async fn a_certificate_far_down_a_lineage_goes_with_the_first() {
    let place = tempfile::tempdir().unwrap();
    let node = node("node-1", Arc::new(MemoryStore::system()), place.path()).await;
    initialised(&node).await;
    let first = issued_to(&node, "ann").await;
    let mut last = first.clone();
    for _ in 0..40 {
        last = renewed(&node, &leaf(&last)).await;
    }
    let asked =
        pb::RevokeCertificateRequest { serial: leaf(&first).serial.to_string(), ..Default::default() };
    node.served.revoke(called(asked)).await.unwrap();
    until("the last is out", || judged(&node, &last) == Err(Refused::Revoked)).await;
}

#[test]
fn renewals_of_operators_end_some_day_and_those_of_nodes_do_not() {
    let ann = Holder::Operator("ann".into());
    let node = Holder::Node { cluster: "default".into(), role: "worker".into(), node: "a".into() };
    let of = |since| Lineage { renewed_from: vec![vec![1]], since };
    let (now, limit) = (100_000_000, OPERATOR_LINEAGE_MAX);
    let cases = [
        ("issued anew", &ann, Lineage::default(), true),
        ("renewed to the limit", &ann, of(now - limit), true),
        ("renewed beyond it", &ann, of(now - limit - 1), false),
        ("of a node", &node, of(now - limit - 1), true),
    ];
    for (name, holder, lineage, may) in cases {
        let checked = lineage.check(holder, now);
        assert_eq!(checked.is_ok(), may, "{name}");
        if let Err(refused) = checked {
            assert_eq!(refused.reason, "RENEWALS_ENDED");
        }
    }
}
