//! Settings of the reports that change while they are made.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use omnirelay_core::text::chain;
use omnirelay_host::live::LiveSource;
use omnirelay_identity::authenticate::{AllowedHosts, HostAuthenticator};
use omnirelay_identity::tls::ListenerTls;
use omnirelay_node::lab::Lab;
use omnirelay_scripted::memory;
use omnirelay_settings::{Config, LiveConfig};
use omnirelay_surface::{ListenerLimits, OMNIRELAY, Surface, serve_with};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::*;
use crate::aero_registry::AeroRegistry;
use crate::identity::RelayIdentity;
use crate::mount;

const SECOND: Duration = Duration::from_secs(1);

/// A registry that remembers what it hears, or hears nothing.
#[derive(Default)]
struct Listener {
    heard: Mutex<Vec<String>>,
    hangs: Mutex<bool>,
}

impl Listener {
    async fn hear(&self, what: String) -> Result<(), Status> {
        self.heard.lock().push(what);
        if *self.hangs.lock() {
            std::future::pending::<()>().await;
        }
        Ok(())
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.heard.lock())
    }
}

#[async_trait]
impl RegistryClient for Listener {
    async fn register_relay(&self, relay: &Relay) -> Result<(), Status> {
        let Relay { relay_id, address, grpc_port, tls, .. } = relay;
        self.hear(format!("register {relay_id} {address}:{grpc_port} {tls}")).await
    }

    async fn heartbeat_relay(&self, relay_id: &str) -> Result<(), Status> {
        self.hear(format!("heartbeat {relay_id}")).await
    }

    async fn register_agent(&self, agent_id: &str, relay_id: &str) -> Result<(), Status> {
        self.hear(format!("agent {agent_id}@{relay_id}")).await
    }

    async fn heartbeat_agent(&self, agent_id: &str, relay_id: &str) -> Result<(), Status> {
        self.hear(format!("lives {agent_id}@{relay_id}")).await
    }
}

/// Reports of a relay that holds agent `x`.
struct Rig {
    settings: LiveConfig,
    listener: Arc<Listener>,
    registry: Arc<LiveSource<ToldRegistry>>,
    reports: Arc<Reports>,
    _running: JoinSet<()>,
}

async fn rig() -> Rig {
    omnirelay_host::chance::seed_thread();
    let mut config = Config::default();
    config.relay.id = Some("r".to_owned());
    let settings = LiveConfig::from(config);
    let identity = RelayIdentity::at("127.0.0.1:7".parse().unwrap());
    let listener = Arc::<Listener>::default();
    let registry = LiveSource::new(ToldRegistry { address: None, client: listener.clone() });
    let of = settings.live(move |config| mount::report_settings(&config.relay, &identity));
    let reports = Arc::new(Reports::new(of, registry.live(Clone::clone)));
    reports.hold("x");
    let (mut running, runs) = (JoinSet::new(), reports.clone());
    running.spawn(async move { runs.run().await });
    sleep(SECOND / 2).await;
    assert_eq!(listener.take(), ["register r 127.0.0.1:7 false", "agent x@r"]);
    Rig { settings, listener, registry, reports, _running: running }
}

#[tokio::test(start_paused = true)]
async fn heartbeats_come_as_often_as_is_set_by_then() {
    let rig = rig().await;
    let count = |heard: &[String], what: &str| heard.iter().filter(|call| *call == what).count();
    rig.settings.set("relay.registry.heartbeatInterval", "1s");
    sleep(SECOND * 5).await;
    let heard = rig.listener.take();
    assert!(count(&heard, "heartbeat r") >= 4 && count(&heard, "lives x@r") >= 4, "{heard:?}");
    rig.settings.set("relay.registry.heartbeatInterval", "1h");
    sleep(SECOND * 2).await;
    let heard = rig.listener.take();
    assert!(count(&heard, "heartbeat r") == 1 && count(&heard, "lives x@r") == 1, "what was due: {heard:?}");
    sleep(SECOND * 600).await;
    assert!(rig.listener.take().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_registry_has_as_long_to_answer_as_is_set_by_then() {
    let rig = rig().await;
    rig.settings.set("relay.registry.heartbeatInterval", "1s");
    rig.settings.set("relay.registry.requestTimeout", "100ms");
    *rig.listener.hangs.lock() = true;
    sleep(SECOND * 3 / 2).await;
    assert!(rig.reports.health().failing_for.is_some(), "by default it would have five seconds");
}

#[tokio::test(start_paused = true)]
async fn a_relay_that_is_another_one_or_somewhere_else_is_registered_anew() {
    let rig = rig().await;
    let soon = || sleep(SECOND / 2);
    rig.settings.set("relay.advertise", "relay.example:9");
    soon().await;
    assert_eq!(rig.listener.take(), ["register r relay.example:9 false", "lives x@r"]);
    rig.settings.set("relay.tls.source", "mesh");
    soon().await;
    assert_eq!(rig.listener.take(), ["register r relay.example:9 true", "lives x@r"]);
    rig.settings.set("relay.id", "other");
    soon().await;
    assert_eq!(rig.listener.take(), ["register other relay.example:9 true", "agent x@other"]);

    let another = Arc::<Listener>::default();
    rig.registry.replace(ToldRegistry { address: Some("http://b:1".to_owned()), client: another.clone() });
    soon().await;
    assert_eq!(another.take(), ["register other relay.example:9 true", "agent x@other"]);
    assert!(rig.listener.take().is_empty());
    // The same registry, reached otherwise.
    let again = Arc::<Listener>::default();
    rig.registry.replace(ToldRegistry { address: Some("http://b:1".to_owned()), client: again.clone() });
    sleep(SECOND * 11).await;
    let heard = again.take();
    assert!(heard.contains(&"heartbeat other".to_owned()) && !heard.contains(&"agent x@other".to_owned()));
}

/// A port under TLS at which no service is, and the certificate of `localhost` that it shows.
async fn tls_port(place: &Path, tasks: &mut JoinSet<()>) -> (String, PathBuf) {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (shown, key) = (place.join("cert.pem"), place.join("key.pem"));
    std::fs::write(&shown, cert.pem()).unwrap();
    std::fs::write(&key, signing_key.serialize_pem()).unwrap();
    let tls = Arc::new(ListenerTls::open(&shown, &key).unwrap());
    let surface = Surface::builder([OMNIRELAY])
        .authenticator(HostAuthenticator::new(|| true))
        .hosts(AllowedHosts::any())
        .build()
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tasks.spawn(async move {
        serve_with(listener, Some(tls), surface, ListenerLimits::default(), std::future::pending()).await;
    });
    (format!("https://localhost:{port}"), shown)
}

#[tokio::test]
async fn the_registry_that_is_told_is_reached_as_is_set_by_then() {
    let (place, mut tasks) = (tempfile::tempdir().unwrap(), JoinSet::new());
    let (address, shown) = tls_port(place.path(), &mut tasks).await;
    let key = place.path().join("key.pem");
    let mut node = Lab::on(memory(), "a").prepared();
    let settings = node.builder.settings.clone();
    let aero = AeroRegistry::new(
        node.builder.registry.clone(),
        settings.live(mount::registry_settings),
        node.builder.watches_max(),
    );
    let told = mount::told(&mut node.builder, &aero).unwrap();
    let node = node.start();
    node.loaded().await;
    let said = async || {
        let client = told.get().client;
        let status = timeout(SECOND * 10, client.heartbeat_relay("r")).await.unwrap().unwrap_err();
        format!("{:?} {}", status.code(), chain(&status))
    };
    // A change is there once others had their turn.
    let says = async |words: &str| {
        let begun = std::time::Instant::now();
        loop {
            let heard = said().await;
            if heard.contains(words) {
                return;
            }
            assert!(begun.elapsed() < SECOND * 20, "`{words}` is not in `{heard}`");
            sleep(SECOND / 50).await;
        }
    };
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    says("NotFound").await;
    settings.set("relay.registry.address", address);
    says("Unavailable").await;
    settings.set("relay.registry.ca", text(&shown));
    says("Unimplemented").await;
    settings.set("relay.registry.ca", Value::Null);
    says("Unavailable").await;
    settings.set("relay.registry.tls.ca", text(&shown));
    says("Unimplemented").await;
    settings.set("relay.registry.tls.ca", "/nowhere/ca");
    says("/nowhere/ca").await;
    settings.set("relay.registry.tls.ca", Value::Null);
    settings.set("relay.registry.tls.trust", "mesh");
    says("trusts no authority").await;
    settings.set(
        "relay.registry.tls",
        serde_json::json!({"ca": text(&shown), "cert": text(&shown), "key": text(&key)}),
    );
    says("Unimplemented").await;
    settings.set("relay.registry.tls.cert", "/nowhere/cert");
    says("/nowhere/cert").await;
    settings.set("relay.registry.tls.cert", text(&shown));
    settings.set("relay.registry.tls.key", "/nowhere/key");
    says("/nowhere/key").await;
    settings.set("relay.registry.tls", serde_json::json!({"ca": text(&shown)}));
    says("Unimplemented").await;
    // Who the node is it shows to whoever asks, once it is somebody: the connection is another one.
    let before = told.get().client;
    settings.set("relay.registry.tls.identity", "mesh");
    let begun = std::time::Instant::now();
    while Arc::ptr_eq(&before, &told.get().client) {
        assert!(begun.elapsed() < SECOND * 20);
        sleep(SECOND / 50).await;
    }
    says("Unimplemented").await;
}
