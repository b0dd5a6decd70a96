//! Requests to a daemon's API, bodies and queries above all: every answer has a status that is no server error.
#![no_main]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use omnirelay_daemon::compose::{self, FromProcess};
use omnirelay_identity::IdentitySources;
use omnirelay_identity::node_identity::IdentityFiles;
use omnirelay_audit::files::AuditFiles;
use omnirelay_node::{Node, NodeSpec};
use omnirelay_store::MemoryStore;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

/// Where bodies and queries are read, with their methods.
const ROUTES: [(&str, &str); 24] = [
    ("GET", "/control/peers"),
    ("GET", "/control/peers/fuzz"),
    ("POST", "/control/peers/fuzz:cordon"),
    ("POST", "/control/peers/fuzz:uncordon"),
    ("PATCH", "/control/peers/fuzz/labels"),
    ("GET", "/control/leaders"),
    ("GET", "/control/leaders/global-control"),
    ("PUT", "/control/leaders/fuzz/scope"),
    ("POST", "/control/leaders/global-control:transfer"),
    ("GET", "/control/leaders:history"),
    ("GET", "/control/registers"),
    ("POST", "/control/registers"),
    ("PATCH", "/control/registers/orders"),
    ("DELETE", "/control/registers/orders"),
    ("POST", "/control/registers:import"),
    ("POST", "/control/registers:resync"),
    ("GET", "/control/registers/available"),
    ("GET", "/control/advertisements"),
    ("POST", "/api/registers/bulk-advertise"),
    ("POST", "/api/registers/orders/advertise"),
    ("GET", "/control/audit"),
    ("GET", "/control/audit:verify"),
    ("GET", "/control/operations"),
    ("GET", "/readyz"),
];

struct Daemon {
    runtime: Runtime,
    control: SocketAddr,
    /// Behind a lock because what it stops with may not be shared between threads; nobody takes it.
    _node: Mutex<Node>,
    _directory: TempDir,
}

static DAEMON: OnceLock<Daemon> = OnceLock::new();

fn daemon() -> Daemon {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let directory = TempDir::new().expect("a directory");
    let set = ["store.url=memory:".to_owned()];
    let config = omnirelay_settings::load(None, std::iter::empty(), &set, &[]).expect("a configuration").config;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("a socket");
    let spec = NodeSpec {
        node_id: "fuzz".to_owned(),
        config: Arc::new(config),
        source: None,
        store: Arc::new(MemoryStore::system()),
        session_secret: "fuzz".to_owned(),
        listener,
        relay: None,
        identity: IdentityFiles::of(directory.path(), None),
        data_dir: directory.path().to_owned(),
        access: IdentitySources::default(),
    };
    let audit = AuditFiles::open(directory.path(), "fuzz").expect("an audit folder");
    let telemetry = directory.path().join("telemetry");
    let node = runtime.block_on(async {
        let given = FromProcess { audit, telemetry, stalls: Arc::default(), faults: None };
        let node = compose::start(spec, given).await.expect("a node");
        node.ready().await;
        node
    });
    Daemon { runtime, control: node.control(), _node: Mutex::new(node), _directory: directory }
}

/// The status of the answer; `None`: the connection was closed without one.
async fn status(control: SocketAddr, request: &[u8]) -> Option<u16> {
    let mut stream = TcpStream::connect(control).await.ok()?;
    stream.write_all(request).await.ok()?;
    let mut answer = [0; 64];
    let read = tokio::time::timeout(Duration::from_secs(20), stream.read(&mut answer)).await;
    let read = read.expect("an answer in time").ok()?;
    std::str::from_utf8(answer.get(9..12.min(read))?).ok()?.parse().ok()
}

fuzz_target!(|asked: (u8, String, Vec<u8>)| {
    let daemon = DAEMON.get_or_init(daemon);
    let (route, query, body) = asked;
    let (method, path) = ROUTES[usize::from(route) % ROUTES.len()];
    // What ends a request line is not for the query to say.
    let query: String = query.chars().filter(|c| c.is_ascii_graphic()).take(4096).collect();
    let question = if query.is_empty() { "" } else { "?" };
    let head = format!(
        "{method} {path}{question}{query} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let request = [head.as_bytes(), &body].concat();
    let answered = daemon.runtime.block_on(status(daemon.control, &request));
    assert!(!matches!(answered, Some(500..=599)), "{method} {path}?{query}: {answered:?}");
});
