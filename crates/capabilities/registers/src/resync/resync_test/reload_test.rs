//! Settings of resyncs, changed while they go on.

use axum::Router;
use axum::serve::Listener;
use control::operation::State;
use omnirelay_identity::caller::Scope;
use omnirelay_identity::lab::{authority, certificate_files, node};
use omnirelay_identity::tls::{ClientCertificateRule, ListenerTls};
use omnirelay_node::lab::Lab;
use omnirelay_pki::authority::CertificateAuthority;
use omnirelay_pki::certificate::to_pem;
use omnirelay_settings::LiveConfig;
use serde_json::Value;
use tokio::io::{DuplexStream, copy_bidirectional, duplex};
use tokio::net::TcpListener;

use super::elsewhere::{PeerService as Peer, state};
use super::*;
use crate::mount::check_tls_files;

async fn of(settings: &LiveConfig, trust: Arc<MeshTrust>, registers: &[&str]) -> Daemon {
    let daemon = of_settings(settings.live(ResyncSettings::of), trust).await;
    daemon.host(registers).await;
    daemon.register();
    until("it has pushed", || daemon.local().status() == Status::Success).await;
    daemon
}

#[tokio::test(start_paused = true)]
async fn what_was_lost_is_back_within_the_interval_that_is_set_by_then() {
    let settings = LiveConfig::from(Config::default());
    let daemon = of(&settings, Arc::default(), &["a", "b"]).await;
    daemon.pool.entries.lock().clear();
    sleep(SECOND * 30).await;
    assert!(daemon.pool.ids().is_empty());
    settings.set("registers.resyncInterval", "1s");
    sleep(SECOND).await;
    assert_eq!(daemon.pool.ids().len(), 2);
    let pushes = daemon.pool.pushes().len();
    sleep(SECOND * 10).await;
    assert!((8..=11).contains(&(daemon.pool.pushes().len() - pushes)));
}

#[tokio::test]
async fn the_pools_of_others_are_those_that_are_set_by_then() {
    let (one, two) = (Peer::new().await, Peer::new().await);
    let settings = LiveConfig::from(Config::default());
    let daemon = of(&settings, Arc::default(), &["a"]).await;
    let targets = || daemon.resync.state().targets.into_iter().map(|it| it.target).collect::<Vec<_>>();
    assert_eq!(targets(), ["local"]);
    settings.set("registers.peerServices", vec![one.url()]);
    until("it was pushed to", || one.heard.public() == ["a"]).await;
    until("it is noted", || state(&daemon).status() == Status::Success).await;

    // Another one beside it: that it was pushed to is known.
    settings.set("registers.peerServices", vec![one.url(), two.url()]);
    until("the other was pushed to", || two.heard.public() == ["a"]).await;
    assert_eq!(targets(), ["local".to_owned(), one.url(), two.url()]);
    assert_eq!((one.heard.calls().len(), state(&daemon).runs), (1, 1));

    // What was pushed to one that goes stays there, and nothing comes any more.
    settings.set("registers.peerServices", vec![two.url()]);
    until("it is gone", || targets() == ["local".to_owned(), two.url()]).await;
    daemon.put("b", true).await;
    until("a change is pushed", || two.heard.public() == ["a", "b"]).await;
    sleep(MS * 200).await;
    assert_eq!((one.heard.public(), one.heard.calls().len()), (vec!["a".to_owned()], 1));

    // So that nothing runs out there.
    let calls = two.heard.calls().len();
    settings.set("registers.advertisementTtl", "2s");
    until("it is pushed to every half TTL", || two.heard.calls().len() >= calls + 2).await;
}

#[tokio::test]
async fn a_resync_may_name_the_pools_that_are_set_by_then() {
    let peer = Peer::new().await;
    let settings = LiveConfig::from(Config::default());
    let daemon = of(&settings, Arc::default(), &["a"]).await;
    let ask = async || {
        let caller =
            Caller { scopes: [Scope::MeshOperate].into_iter().collect(), ..Caller::of_tests("operator:ann") };
        let asked = pb::ResyncRequest { peer: peer.url(), ..pb::ResyncRequest::default() };
        daemon.resync.demand(&caller, asked).await
    };
    assert_eq!(ask().await.unwrap_err().reason, "PEER_NOT_CONFIGURED");
    settings.set("registers.resyncPeers", vec![peer.url()]);
    assert_eq!(daemon.ended(&ask().await.unwrap()).await.state(), State::Succeeded);
    settings.set("registers.resyncPeers", Value::Array(Vec::new()));
    assert_eq!(ask().await.unwrap_err().reason, "PEER_NOT_CONFIGURED");
}

/// Takes connections over TLS.
struct TlsPort(TcpListener, ListenerTls);

impl Listener for TlsPort {
    type Io = DuplexStream;
    type Addr = ();

    async fn accept(&mut self) -> (DuplexStream, ()) {
        loop {
            let (stream, _) = self.0.accept().await.unwrap();
            let Ok(mut shaken) = self.1.accept(stream).await else { continue };
            let (near, mut far) = duplex(1 << 16);
            tokio::spawn(async move { copy_bidirectional(&mut shaken.stream, &mut far).await });
            return (near, ());
        }
    }

    fn local_addr(&self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The address of a peer service that shows a certificate for `localhost`, and wants one if it is told to.
async fn peer_over_tls(root: &CertificateAuthority, wants: bool, tasks: &mut JoinSet<()>) -> String {
    let (trust, listener) = (node(root, "b"), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let port = listener.local_addr().unwrap().port();
    let tls = ListenerTls::of_node(trust.clone());
    let tls = if wants { tls.judging(trust, ClientCertificateRule::Must) } else { tls };
    let answer = async || r#"{"processed": 1, "added": 1}"#;
    let routes = Router::new().fallback(answer);
    tasks.spawn(async move { axum::serve(TlsPort(listener, tls), routes).await.unwrap() });
    format!("https://localhost:{port}")
}

/// Waits until pushes to the pool of others go well, or fail.
async fn stands(daemon: &Daemon, what: &str, expected: Status) {
    until(what, || state(daemon).status() == expected).await;
}

#[tokio::test]
async fn a_pool_of_others_is_believed_as_is_set_by_then() {
    let (root, mut tasks, folder) = (authority(), JoinSet::new(), tempfile::tempdir().unwrap());
    let url = peer_over_tls(&root, false, &mut tasks).await;
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, to_pem(root.certificate())).unwrap();
    let settings = LiveConfig::from(Config::default());
    settings.set("registers.peerServices", vec![url]);
    let daemon = of(&settings, node(&root, "a"), &["a"]).await;
    stands(&daemon, "its authority is not public", Status::Failed).await;
    settings.set("registers.peerServicesTls.ca", ca.to_str().unwrap());
    stands(&daemon, "by its authority", Status::Success).await;
    settings.set("registers.peerServicesTls.ca", Value::Null);
    stands(&daemon, "by the public ones again", Status::Failed).await;
    settings.set("registers.peerServicesTls.trust", "mesh");
    stands(&daemon, "by that of the mesh", Status::Success).await;
}

#[tokio::test]
async fn files_that_cannot_be_read_are_refused_and_nothing_is_changed() {
    let node = Lab::on(Arc::new(MemoryStore::system()), NODE).prepared();
    check_tls_files(&node.builder);
    let settings = &node.builder.settings;
    let before = settings.now();
    let mut next = Config::clone(&before);
    next.registers.peer_services_tls.ca = Some("/nowhere/ca.pem".into());
    next.registers.resync_interval.0 = SECOND;
    let refused = settings.replace(next).unwrap_err();
    assert_eq!(refused.key, "registers.peerServicesTls.ca");
    assert_eq!(settings.now(), before);
}

#[tokio::test]
async fn a_pool_of_others_is_shown_what_is_set_by_then() {
    let (root, mut tasks, folder) = (authority(), JoinSet::new(), tempfile::tempdir().unwrap());
    let url = peer_over_tls(&root, true, &mut tasks).await;
    let (c, d) = (certificate_files(&root, folder.path(), "c"), certificate_files(&root, folder.path(), "d"));
    let mut config = Config::default();
    config.registers.peer_services_tls.trust = Some(omnirelay_settings::ClientTrust::Mesh);
    let settings = LiveConfig::from(config);
    settings.set("registers.peerServices", vec![url]);
    let daemon = of(&settings, node(&root, "a"), &["a"]).await;
    stands(&daemon, "it shows nothing", Status::Failed).await;
    settings.set("registers.peerServicesTls.identity", "mesh");
    stands(&daemon, "it shows who the node is", Status::Success).await;

    // Both files come at once; these are not of each other.
    let mut next = Config::clone(&settings.now());
    let tls = &mut next.registers.peer_services_tls;
    (tls.identity, tls.cert, tls.key) = (None, Some(c[0].clone()), Some(d[1].clone()));
    settings.replace(next).unwrap();
    stands(&daemon, "the key is of another", Status::Failed).await;
    settings.set("registers.peerServicesTls.key", c[1].to_str().unwrap());
    stands(&daemon, "it shows what is in the files", Status::Success).await;
    settings.set("registers.peerServicesTls.cert", d[0].to_str().unwrap());
    stands(&daemon, "the certificate is of another", Status::Failed).await;
    settings.set("registers.peerServicesTls.cert", c[0].to_str().unwrap());
    stands(&daemon, "it shows what is in the files again", Status::Success).await;
}
