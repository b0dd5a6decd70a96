//! Settings of who is let in, and of certificates, that are others while the node runs.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use omnirelay_identity::proof::SecretToken;
use omnirelay_node::CapabilityKinds;
use omnirelay_node::lab::{Lab, LabNode};
use omnirelay_pki::certificate::TlsNames;
use omnirelay_pki::trust::{ChainUsage, TrustBundle};
use omnirelay_settings::{Config, LiveConfig};
use omnirelay_store::MemoryStore;
use omnirelay_store::whole_file::write_whole;
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};
use tokio::task::{JoinSet, spawn_blocking};

use super::tests::keeper;
use super::*;
use crate::identity_keeper::IdentityKeeper;

/// A token of no scope.
const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const SENDING: &str = "authorization: Bearer 0123456789abcdef0123456789abcdef\r\n";

/// A node that serves bindings at its control port.
async fn served(change: impl FnOnce(&mut Config)) -> LabNode {
    const KINDS: &[CapabilityKinds] = &[crate::mount_bindings::KINDS];
    let lab = Lab::on(Arc::new(MemoryStore::system()), "node-1").kinds(KINDS).config(change);
    let (prepared, _) = lab.with(|node| Ok(crate::mount_bindings::mount(node)));
    let token = SecretToken {
        name: "deploy".to_owned(),
        secret: TOKEN.to_owned(),
        scopes: Default::default(),
        own_node: Default::default(),
    };
    prepared.builder.tokens.replace(&[token]);
    let node = prepared.serve();
    node.loaded().await;
    node
}

fn connected(at: SocketAddr, headers: &str) -> TcpStream {
    let mut stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let head =
        format!("GET /control/bindings HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    stream
}

/// The status that a call with these headers is answered with.
async fn status(node: &LabNode, headers: &'static str) -> u16 {
    let at = node.control;
    let answer = spawn_blocking(move || {
        let mut text = String::new();
        connected(at, headers).read_to_string(&mut text).unwrap();
        text
    });
    answer.await.unwrap().split(' ').nth(1).unwrap().parse().unwrap()
}

async fn soon(what: &str, is_so: impl AsyncFn() -> bool) {
    let begun = Instant::now();
    while !is_so().await {
        assert!(begun.elapsed() < Duration::from_secs(1), "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_let_in_without_proof_is_what_is_set_by_then() {
    let node = served(|_| {}).await;
    assert_eq!(status(&node, "").await, 200);
    let at = node.control;
    let mut watch = connected(at, "accept: text/event-stream\r\n");
    let mut begun = [0; 512];
    assert!(watch.read(&mut begun).unwrap() > 0);

    node.settings.set("security.loopback", "proof");
    assert_eq!(status(&node, "").await, 401);
    let rest = spawn_blocking(move || {
        let mut rest = String::new();
        watch.read_to_string(&mut rest).map(|_| rest)
    });
    let rest = rest.await.unwrap().expect("what was let in without proof ends");
    assert!(rest.contains("PROOF_NEEDED"), "{rest}");

    node.settings.set("security.loopback", "open");
    assert_eq!(status(&node, "").await, 200);
    // For somebody whom nobody knows to be on this host.
    let foreign = "authorization: Basic YTpi\r\n";
    assert_eq!(status(&node, foreign).await, 401);
    node.settings.set("control.insecure", true);
    assert_eq!(status(&node, foreign).await, 200);
    node.settings.set("control.insecure", false);
    assert_eq!(status(&node, foreign).await, 401);
}

/// How many of so many calls are not refused for being too many.
async fn taken(node: &LabNode, calls: usize) -> usize {
    let mut taken = 0;
    for _ in 0..calls {
        taken += usize::from(status(node, "").await != 429);
    }
    taken
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_call_as_often_as_is_set_by_then() {
    let node = served(|config| config.control.rate_limit.calls_per_second = 1).await;
    assert_eq!(taken(&node, 20).await, 20);
    node.settings.set("control.rateLimit.burst", 2);
    let begun = Instant::now();
    let of_twenty = taken(&node, 20).await;
    assert!(of_twenty <= 3 + begun.elapsed().as_secs() as usize, "{of_twenty}");
    node.settings.set("control.rateLimit.callsPerSecond", 10_000);
    soon("there are more each second", async || taken(&node, 10).await == 10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_proves_nothing_calls_as_often_as_is_set_by_then() {
    let node = served(|config| {
        config.control.rate_limit.unproven_per_second = 1;
        config.security.loopback = Some(omnirelay_settings::LoopbackTrust::Proof);
    })
    .await;
    assert_eq!(taken(&node, 20).await, 20);
    node.settings.set("control.rateLimit.unprovenBurst", 2);
    let begun = Instant::now();
    let of_twenty = taken(&node, 20).await;
    assert!(of_twenty <= 3 + begun.elapsed().as_secs() as usize, "{of_twenty}");
    node.settings.set("control.rateLimit.unprovenPerSecond", 10_000);
    soon("there are more each second", async || taken(&node, 10).await == 10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bindings_of_the_configuration_are_those_that_it_names_by_then() {
    let node = served(|_| {}).await;
    assert_eq!(status(&node, SENDING).await, 403);
    let named = json!([{"principal": "token:deploy", "scopes": ["mesh.read"]}]);
    node.settings.set("security.bindings", named);
    soon("it may read", async || status(&node, SENDING).await == 200).await;
    node.settings.set("security.bindings", json!([]));
    soon("it may not any more", async || status(&node, SENDING).await == 403).await;
}

#[tokio::test]
async fn the_secret_of_the_issuers_is_read_where_is_set_by_then() {
    let place = tempfile::tempdir().unwrap();
    let put = |name: &str, bytes: &[u8]| {
        write_whole(&place.path().join(name), bytes).unwrap();
        place.path().join(name)
    };
    let (secret, short) = (put("secret", "s".repeat(64).as_bytes()), put("short", b"s"));
    let node = Lab::on(Arc::new(MemoryStore::system()), "node-1").prepared().builder;
    crate::mount::check_secret(&node);
    let (settings, files) = (&node.settings, &node.identity_files);
    let before = files.secret_stamp();
    assert!(files.sealing_key().unwrap().is_none());
    settings.set("security.issuerSecretFile", json!(secret));
    assert!(files.sealing_key().unwrap().is_some() && files.secret_stamp() != before);
    let mut unusable = Config::clone(&settings.now());
    unusable.security.issuer_secret_file = Some(short);
    assert_eq!(settings.replace(unusable).unwrap_err().key, "security.issuerSecretFile");
    settings.set("security.issuerSecretFile", Value::Null);
    assert!(files.sealing_key().unwrap().is_none());
}

#[tokio::test]
async fn nodes_are_believed_whose_chain_leads_through_what_is_pinned_by_then() {
    let mut node = Lab::on(Arc::new(MemoryStore::system()), "node-1").prepared();
    crate::mount::judge(&mut node.builder);
    let (root, trust, settings) =
        (omnirelay_identity::lab::authority(), node.builder.trust.clone(), node.builder.settings.clone());
    let chain = omnirelay_identity::lab::node(&root, "node-2").current().own.clone().unwrap().chain.clone();
    trust.update(|trusted| trusted.bundle = Some(TrustBundle::of(vec![root.certificate().clone()]).unwrap()));
    let _node = node.start();
    let is_let_in = || {
        trust.current().judge_node(&chain, omnirelay_identity::trust::unix_now(), ChainUsage::Client).is_ok()
    };
    let pin = |der: &[u8]| -> String {
        digest(&SHA256, der).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    };
    assert!(is_let_in());
    let mut connection = Box::pin(trust.unpinned(&chain, ChainUsage::Client));
    settings.set("mesh.pinnedCertificates", json!([pin(root.certificate())]));
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(is_let_in() && (&mut connection).now_or_never().is_none());
    settings.set("mesh.pinnedCertificates", json!([pin(b"another")]));
    soon("it leads through nothing that is pinned", async || !is_let_in()).await;
    tokio::time::timeout(Duration::from_secs(1), connection).await.expect("its connection ends");
    settings.set("mesh.pinnedCertificates", json!([]));
    soon("nothing is pinned", async || is_let_in()).await;
}

/// The keeper of a node that issues, by these settings; it runs as one of the tasks.
async fn kept(settings: &LiveConfig, place: &Path, store: Arc<MemoryStore>) -> (Arc<MeshTrust>, JoinSet<()>) {
    let holder = |config: &Config| omnirelay_core::spiffe::CertificateHolder::Node {
        cluster: "default".into(),
        role: config.node.role.clone(),
        node: "node-1".into(),
    };
    let names = |config: &Config| {
        let TlsNames { dns, .. } = crate::mount::names(config, [127, 0, 0, 1].into());
        TlsNames { dns, addresses: Vec::new() }
    };
    let keeper = IdentityKeeper {
        node: settings.live(holder),
        names: settings.live(names),
        makes_authority: true,
        ..keeper("node-1", store, place).await
    };
    let trust = keeper.trust.clone();
    keeper.load();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { keeper.run().await });
    (trust, tasks)
}

#[tokio::test]
async fn a_node_that_issues_gives_itself_what_is_set_by_then() {
    let (place, settings) = (tempfile::tempdir().unwrap(), LiveConfig::from(Config::default()));
    let (trust, _tasks) = kept(&settings, place.path(), Arc::new(MemoryStore::system())).await;
    let own = || trust.current().own.clone();
    soon("it makes the authority", async || own().is_some()).await;
    let has = |name: &str| own().is_some_and(|own| own.leaf.names.dns.iter().any(|dns| dns == name));
    settings.set("mesh.advertise", "relay.example:17421");
    soon("it is called as it is advertised", async || has("relay.example")).await;
    settings.set("control.hosts", json!(["api.example"]));
    soon("it is called as its control port is", async || has("api.example")).await;
    settings.set("node.role", "gateway");
    let is_gateway = || own().is_some_and(|own| own.leaf.id.to_string().contains("/gateway/"));
    soon("it is of another role", async || is_gateway()).await;
}
