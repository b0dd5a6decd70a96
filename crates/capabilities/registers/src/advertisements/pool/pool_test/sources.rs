//! Sources whose advertisements count: once there is an authority, nobody's who has no certificate of the mesh.

use futures_util::StreamExt as _;
use omnirelay_certificate_records::{AUTHORITY, CERTIFICATE, REVOCATION};
use omnirelay_core::text::chain;
use omnirelay_identity::trust::unix_now;
use omnirelay_registry::act::{DaemonAct, DecisionReader, WriteAuthority};
use omnirelay_wire::pb::omnirelay::store::v1::{AuthorityValue, CertificateValue, IssuedValue};
use tonic::Request;

use super::serving::service;
use super::*;
use crate::advertisements::reading::remote_count;
use pb::advertisement_service_server::AdvertisementService as _;

/// As those are of a node that serves certificates.
const JUDGING: &[CapabilityKinds] = &[
    omnirelay_peers::KINDS,
    OWN_KINDS,
    CapabilityKinds { mirrored: &[AUTHORITY, CERTIFICATE, REVOCATION], ..CapabilityKinds::NONE },
];

async fn remember(registry: &Registry, id: RecordId, value: Vec<u8>) {
    let act = DaemonAct::new("test.put", [id.kind.clone()], WriteAuthority::Unfenced);
    let write = Write::Put { id: id.clone(), value: value.into(), group: None };
    let put = async |reader: DecisionReader<'_>| {
        Ok::<_, CommitError>(Some((reader.plan().write([write.clone()]), ())))
    };
    registry.act(&act, put).await.map_err(|error| chain(&error)).unwrap();
}

/// What the registry has of the certificates of `b`.
async fn certify_b(registry: &Registry, barred: bool) {
    let id = RecordId::new(CERTIFICATE, "node/default/b");
    let held = registry.view().get(&id).and_then(|record| record.value::<CertificateValue>());
    let issued = || IssuedValue {
        serial: vec![1],
        id: "spiffe://mesh.local/mesh/default/worker/b".to_owned(),
        key: vec![7; 32],
        not_after: unix_now() + 3600,
        ..IssuedValue::default()
    };
    let new = || CertificateValue { issued: vec![issued()], ..CertificateValue::default() };
    let held = held.map_or_else(new, |held| CertificateValue::clone(&held));
    remember(registry, id, CertificateValue { barred, ..held }.encode_to_vec()).await;
}

/// What `a` shows of the nodes: available ids, those of a list, how many are of others.
fn shown(a: &Daemon) -> (Vec<String>, Vec<String>, usize) {
    (a.available(), a.shown(), remote_count(&a.pool))
}

#[tokio::test(start_paused = true)]
async fn nobody_is_shown_what_a_node_without_a_certificate_advertises() {
    let store = memory();
    let a = begun_with(JUDGING, store.clone(), "a", "a").await;
    a.node.registered().await;
    let authority = RecordId::new(AUTHORITY, "mesh");
    remember(&a.registry, authority, AuthorityValue::default().encode_to_vec()).await;
    sleep(Duration::from_secs(5)).await;
    let b = daemon(store.clone(), "b").await;
    b.push(&catalogue(), &["r"], UnpushedEntries::Stays).await;
    sleep(Duration::from_secs(2)).await;
    assert_eq!(stored(&*store, "b").await, ["r/catalogue"]);
    assert_eq!(shown(&a), (vec![], vec![], 0), "it has no certificate");
    assert_eq!(b.available(), ["r"], "what it advertises itself it knows");

    let service = service(&a);
    let mut request = Request::new(pb::WatchAdvertisementsRequest::default());
    request.extensions_mut().insert(caller());
    let mut watch = service.watch(request).await.unwrap().into_inner();
    let mut next = async || {
        loop {
            let event = watch.next().await.unwrap().unwrap();
            let shown = event.advertisement.as_ref().map(|it| format!("{}/{}", it.source, it.register_id));
            let kind = event.r#type().as_str_name();
            if kind != "progress" {
                return format!("{kind} {}{}", shown.unwrap_or_default(), event.reason);
            }
        }
    };
    assert_eq!(next().await, "synced ");
    certify_b(&a.registry, false).await;
    let of_b = || (vec!["r".to_owned()], vec!["b/r/catalogue active".to_owned()], 1);
    assert_eq!(shown(&a), of_b());
    for expected in ["reset sources_changed", "snapshot b/r", "synced "] {
        assert_eq!(next().await, expected);
    }
    certify_b(&a.registry, true).await;
    assert_eq!(shown(&a), (vec![], vec![], 0), "it was put out");
    for expected in ["reset sources_changed", "synced "] {
        assert_eq!(next().await, expected);
    }
}
