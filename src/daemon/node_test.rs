//! Whole nodes over HTTP, on a store that falls ill.

use omnirelay_wire::tls::nobody;
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use omnirelay_audit::files::AuditFiles;
use omnirelay_certificates::OtherDaemon;
use omnirelay_certificates::remote::{RemoteRequest, RenewalError, issued};
use omnirelay_identity::IdentitySources;
use omnirelay_identity::node_identity::{IdentityFiles, NodeIdentity};
use omnirelay_identity::trust::{MeshTrust, TrustSnapshot};
use omnirelay_node::{Node, NodeSpec, RELAY_REGISTRY_SERVICE, RELAY_SERVICE, RelayListeners};
use omnirelay_peer_records::own_session;
use omnirelay_pki::authority::{CertificateAuthority, ValidityPeriod};
use omnirelay_pki::certificate::TlsNames;
use omnirelay_pki::key::PrivateKey;
use omnirelay_pki::request;
use omnirelay_pki::trust::TrustBundle;
use omnirelay_scripted::{EVERY_CALL, Faulty, Ill, Method};
use omnirelay_settings::Config;
use omnirelay_store::{MemoryStore, Store};
use reqwest::{Client, RequestBuilder, StatusCode};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::Value;

use super::compose::{self, FromProcess};

async fn node(node_id: &str, directory: &Path, store: Arc<dyn Store>) -> Node {
    node_with(node_id, directory, store, false).await
}

/// A node that serves the relay and has an issuer of tokens, if `is_all_on`.
pub(crate) async fn node_with(
    node_id: &str,
    directory: &Path,
    store: Arc<dyn Store>,
    is_all_on: bool,
) -> Node {
    let mut config = Config::default();
    let listen = || TcpListener::bind("127.0.0.1:0").unwrap();
    if is_all_on {
        config.node.services = [RELAY_SERVICE, RELAY_REGISTRY_SERVICE].map(str::to_owned).to_vec();
        let oidc = r#"{"issuer":"https://issuer.example","audience":"mesh","jwksFile":"/nowhere"}"#;
        config.security.oidc = Some(serde_json::from_str(oidc).unwrap());
    }
    let spec = NodeSpec {
        node_id: node_id.to_owned(),
        config: config.into(),
        source: None,
        store,
        session_secret: node_id.to_owned(),
        listener: listen(),
        access: IdentitySources::default(),
        relay: is_all_on.then(|| RelayListeners { grpc: listen(), http: listen() }),
        identity: IdentityFiles::of(directory, None),
        data_dir: directory.to_owned(),
    };
    let audit = AuditFiles::open(directory, node_id).unwrap();
    let given = FromProcess {
        audit,
        telemetry: directory.join("telemetry"),
        stalls: Arc::default(),
        log: Arc::default(),
        faults: None,
    };
    let node = compose::start(spec, given).await.unwrap();
    node.ready_or_waiting().await;
    node
}

fn cordon(node: &Node) -> RequestBuilder {
    let url = format!("http://{}/control/peers/a:cordon", node.control());
    let client = Client::builder().tls_backend_preconfigured(nobody()).no_proxy().build().unwrap();
    client.post(url).header("content-type", "application/json").body(r#"{"reason":"disk"}"#)
}

async fn answer(request: RequestBuilder) -> (StatusCode, Value) {
    let response = request.send().await.unwrap();
    let status = response.status();
    (status, serde_json::from_slice(&response.bytes().await.unwrap()).unwrap())
}

pub(crate) async fn get(node: &Node, path: &str) -> String {
    let client = Client::builder().tls_backend_preconfigured(nobody()).no_proxy().build().unwrap();
    let response = client.get(format!("http://{}{path}", node.control())).send().await.unwrap();
    String::from_utf8(response.bytes().await.unwrap().to_vec()).unwrap()
}

fn item(ready: &str, name: &str) -> Value {
    let ready: Value = serde_json::from_str(ready).unwrap();
    let items = ready["items"].as_array().unwrap();
    items.iter().find(|item| item["name"] == name).unwrap_or(&Value::Null).clone()
}

#[tokio::test]
async fn an_unknown_outcome_is_repeated_over_http_on_another_daemon() {
    let shared = Arc::new(MemoryStore::system());
    let path = Faulty::over(shared.clone());
    let directory = tempfile::tempdir().unwrap();
    let (a, b) = (node("a", directory.path(), path.clone()).await, node("b", directory.path(), shared).await);
    path.fall_ill([Method::Commit], Ill::LosesReplies);
    path.fall_ill([Method::Recall], Ill::Fails);
    let (status, problem) = answer(cordon(&a)).await;
    assert_eq!((status, &problem["reason"]), (StatusCode::GATEWAY_TIMEOUT, &"OUTCOME_UNKNOWN".into()));
    let key = problem["details"][0]["idempotencyKey"].as_str().expect("a key to repeat it with");
    let (status, done) = answer(cordon(&b).header("idempotency-key", key)).await;
    assert_eq!((status, &done["changed"]), (StatusCode::OK, &true.into()), "{done}");
    let (_, again) = answer(cordon(&b)).await;
    assert_eq!(again["changed"], false, "it was done");
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn a_change_gets_no_key_where_no_answer_is_lost_on_its_way() {
    let store = Faulty::in_process(Arc::new(MemoryStore::system()));
    let directory = tempfile::tempdir().unwrap();
    let a = node("a", directory.path(), store.clone()).await;
    store.fall_ill([Method::Commit], Ill::LosesReplies);
    let (status, problem) = answer(cordon(&a)).await;
    assert_eq!((status, &problem["reason"]), (StatusCode::GATEWAY_TIMEOUT, &"OUTCOME_UNKNOWN".into()));
    assert_eq!(problem["details"][0]["idempotencyKey"], Value::Null, "{problem}");
    let hint = problem["hint"].as_str().unwrap();
    assert!(hint.contains("may still be made") && hint.contains("--object peer/a"), "{hint}");
    assert_eq!(store.count(Method::Recall), 0, "nothing is kept to ask for");
    let (status, _) = answer(cordon(&a).header("idempotency-key", "k-1")).await;
    assert_eq!((status, store.count(Method::Recall)), (StatusCode::OK, 2), "before it is made, and after");
    store.recover();
    a.stop().await;
}

#[tokio::test]
async fn a_store_that_has_never_answered_has_no_time_of_its_last_answer() {
    let path = Faulty::over(Arc::new(MemoryStore::system()));
    path.fall_ill(EVERY_CALL, Ill::Fails);
    let directory = tempfile::tempdir().unwrap();
    let a = node("a", directory.path(), path.clone()).await;
    // By now its own clock has gone on for a while.
    tokio::time::sleep(Duration::from_millis(20)).await;
    let store = item(&get(&a, "/readyz").await, "store");
    let message = store["message"].as_str().unwrap();
    assert!(message.contains("has never answered") && !message.contains("1970"), "{message}");
    path.recover();
    a.stop().await;
}

#[tokio::test]
async fn a_node_stays_ready_while_a_new_epoch_ends_its_session() {
    let path = Faulty::over(Arc::new(MemoryStore::system()));
    let directory = tempfile::tempdir().unwrap();
    let a = node("a", directory.path(), path.clone()).await;
    // So that the node cannot be back at once.
    path.fall_ill([Method::Open], Ill::Fails);
    path.swap(Arc::new(MemoryStore::system()));
    let ready = |text: &str| serde_json::from_str::<Value>(text).unwrap()["ready"] == true;
    let mut ended = 0;
    loop {
        let told = get(&a, "/readyz").await;
        assert!(ready(&told), "{told}");
        // Until it has been without a session for a good while.
        ended += u32::from(own_session(a.registry()).is_none());
        match ended {
            // It may be back before anybody looks again.
            50.. if own_session(a.registry()).is_some() => break,
            50 => path.recover(),
            _ => {}
        }
        tokio::time::sleep(Duration::from_millis(4)).await;
    }
    a.stop().await;
}

#[tokio::test]
async fn readiness_tells_of_settings_silence_and_lost_history() {
    let path = Faulty::over(Arc::new(MemoryStore::system()));
    let directory = tempfile::tempdir().unwrap();
    let a = node("a", directory.path(), path.clone()).await;
    let settings = item(&get(&a, "/readyz").await, "store-settings");
    assert_eq!((&settings["ok"], &settings["required"]), (&false.into(), &false.into()), "{settings}");
    assert!(settings["message"].as_str().unwrap().contains("appendonly"), "{settings}");
    path.fall_ill(EVERY_CALL, Ill::Fails);
    let silent = loop {
        let store = item(&get(&a, "/readyz").await, "store");
        if store["ok"] == false {
            break store;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    assert!(silent["message"].as_str().unwrap().contains("reads and watches go on"), "{silent}");
    // A store that begins anew has lost all seals but the newest, which its node puts back: more than one, and that is a fault.
    let files = AuditFiles::open(directory.path(), "a").unwrap();
    let signed = files.last_seal(files.key("a").unwrap().chain()).unwrap();
    let faults = u64::from(signed.is_some_and(|(newest, _)| newest.seal.sequence > 1));
    path.recover();
    path.swap(Arc::new(MemoryStore::system()));
    let told = loop {
        let history = item(&get(&a, "/readyz").await, "history");
        if history["message"].as_str().is_some_and(|text| text.contains("2 restored")) {
            break history;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    assert_eq!(told["ok"], true, "{told}");
    let expected = format!("\nmesh_audit_faults_total {faults}\n");
    let metrics = loop {
        let metrics = get(&a, "/metrics").await;
        if metrics.contains(&expected) {
            break metrics;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    assert!(metrics.contains("mesh_registry_epoch_changes_total 1"), "{metrics}");
    assert!(metrics.contains("mesh_audit_unsealed_records "), "{metrics}");
    assert!(metrics.contains("mesh_registry_records_lost_total{kind=\"peer\"} 1"), "{metrics}");
    a.stop().await;
}

/// A request for the key, in PEM.
fn csr(key: &PrivateKey) -> String {
    request::to_pem(&request::CertificateRequest::make(key, None, &TlsNames::default()).unwrap())
}

/// What an issuer on the control port of another daemon renews, over real connections under TLS.
#[tokio::test]
async fn a_certificate_is_renewed_by_another_daemon() {
    let directory = tempfile::tempdir().unwrap();
    let issuer = node("a", directory.path(), Arc::new(MemoryStore::system())).await;
    let (key, address) = (PrivateKey::make().unwrap(), issuer.control().to_string());
    let client = Client::builder().tls_backend_preconfigured(nobody()).no_proxy().build().unwrap();
    let asked = serde_json::json!({"operator": "ann", "csr": csr(&key)}).to_string();
    let init = client.post(format!("http://{address}/control/authority:init"));
    let (status, made) = answer(init.header("content-type", "application/json").body(asked)).await;
    assert_eq!(status, StatusCode::OK, "{made}");
    let certificates = |field: &str| -> Vec<CertificateDer<'static>> {
        let pem = made[field].as_str().unwrap().as_bytes();
        CertificateDer::pem_slice_iter(pem).map(Result::unwrap).collect()
    };
    let own = Arc::new(NodeIdentity::of(&key, certificates("chainPem")).unwrap());
    let trusted = |bundle| {
        let trust = Arc::new(MeshTrust::default());
        let (own, cluster) = (Some(own.clone()), "default".to_owned());
        trust.update(|of| {
            *of = TrustSnapshot { bundle: Some(bundle), cluster, own, ..TrustSnapshot::default() }
        });
        trust
    };
    let bundle = trusted(TrustBundle::of(certificates("bundlePem")).unwrap());
    while item(&get(&issuer, "/readyz").await, "identity")["ok"] != true {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let next = PrivateKey::make().unwrap();
    // One that does not answer is passed over.
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let any = |_: &str| Ok(());
    let at = |control: &str| OtherDaemon { node: "b".to_owned(), control: control.to_owned() };
    let chain = issued(None, &bundle, &RemoteRequest::Renew(csr(&next)), vec![at(&gone), at(&address)], any)
        .await
        .unwrap();
    let chain = CertificateDer::pem_slice_iter(chain.as_bytes()).map(Result::unwrap).collect();
    let renewed = NodeIdentity::of(&next, chain).expect("a certificate of the key that was sent");
    assert_eq!(renewed.leaf.id, own.leaf.id);
    assert_ne!(renewed.leaf.serial, own.leaf.serial);
    let nobody = issued(None, &bundle, &RemoteRequest::Renew(csr(&next)), Vec::new(), any).await.unwrap_err();
    assert!(nobody.to_string().contains("no other daemon"), "{nobody}");
    let none = |_: &str| Err("it begins tomorrow".to_owned());
    let unusable =
        issued(None, &bundle, &RemoteRequest::Renew(csr(&next)), vec![at(&address), at(&gone)], none)
            .await
            .unwrap_err();
    assert!(matches!(&unusable, RenewalError::Unusable { .. }), "{unusable}");
    assert!(unusable.to_string().ends_with(": it begins tomorrow"), "{unusable}");
    let other = CertificateAuthority::root(
        "mesh.local".parse().unwrap(),
        ValidityPeriod { not_before: 0, not_after: 4_000_000_000 },
    );
    let other = trusted(TrustBundle::of(vec![other.unwrap().certificate().clone()]).unwrap());
    let refused =
        issued(None, &other, &RemoteRequest::Renew(csr(&next)), vec![at(&address)], any).await.unwrap_err();
    assert!(refused.to_string().contains("invalid peer certificate"), "{refused}");
    issuer.stop().await;
}
