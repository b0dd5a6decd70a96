//! Reloads of fifty daemons of one process: how soon a setting is in effect on all.

use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use omnirelay_audit::files::AuditFiles;
use omnirelay_identity::IdentitySources;
use omnirelay_identity::node_identity::IdentityFiles;
use omnirelay_node::{Node, NodeSpec};
use omnirelay_peer_records::PEER;
use omnirelay_registry::view::ViewRecord;
use omnirelay_settings::{Config, LiveConfig};
use omnirelay_store::{MemoryStore, Store};
use omnirelay_wire::pb::omnirelay::store::v1::PeerValue;

use super::compose::{self, FromProcess};

const DAEMONS: usize = 50;
/// So that a change that is never in effect fails, and a busy machine does not.
const PATIENCE: Duration = Duration::from_secs(60);

async fn node(
    number: usize,
    directory: &std::path::Path,
    store: Arc<dyn Store>,
    settings: LiveConfig,
) -> Node {
    let node_id = format!("node-{number}");
    let directory = directory.join(&node_id);
    std::fs::create_dir(&directory).unwrap();
    let spec = NodeSpec {
        config: settings,
        source: None,
        store,
        session_secret: node_id.clone(),
        listener: TcpListener::bind("127.0.0.1:0").unwrap(),
        access: IdentitySources::default(),
        relay: None,
        identity: IdentityFiles::of(&directory, None),
        data_dir: directory.clone(),
        node_id: node_id.clone(),
    };
    let audit = AuditFiles::open(&directory, &node_id).unwrap();
    let given = FromProcess {
        audit,
        telemetry: PathBuf::new(),
        stalls: Arc::default(),
        log: Arc::default(),
        faults: None,
    };
    let node = compose::start(spec, given).await.unwrap();
    node.ready().await;
    node
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_in_effect_on_fifty_daemons_of_one_process() {
    let directory = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(MemoryStore::system());
    let (mut nodes, mut settings) = (Vec::new(), Vec::new());
    for number in 0..DAEMONS {
        let mut config = Config::default();
        config.session.ttl = serde_json::from_str("\"30s\"").unwrap();
        let live = LiveConfig::from(config);
        nodes.push(node(number, directory.path(), store.clone(), live.clone()).await);
        settings.push(live);
    }
    let begun = Instant::now();
    settings.iter().for_each(|live| live.set("node.region", "north"));
    // As one of them shows the records that each has written of itself.
    let view = nodes[0].registry().view();
    let moved = || {
        let peers = view.list(&PEER);
        let is_north = |record: &&Arc<ViewRecord>| {
            let value = record.value::<PeerValue>();
            value.is_some_and(|peer| peer.metadata.as_ref().is_some_and(|told| told.region == "north"))
        };
        peers.records.iter().filter(is_north).count()
    };
    while moved() < DAEMONS {
        assert!(begun.elapsed() < PATIENCE, "in effect on {} of {DAEMONS}", moved());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    println!("in effect on {DAEMONS} daemons after {} ms (asked: 1000)", begun.elapsed().as_millis());
}
