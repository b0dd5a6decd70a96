//! Settings of the node and of its control port that are others while it runs.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use axum::routing::get;
use http::Request;
use omnirelay_host::log::captured;
use omnirelay_identity::caller::{CallProtocol, PeerInfo, RequestIds};
use omnirelay_scripted::{Answered, Call, Script, Scripted, memory};
use omnirelay_settings::{ControlTlsConfig, TlsSource};
use omnirelay_store::whole_file::write_whole;
use omnirelay_store::{MemoryStore, Retention, Store};
use parking_lot::Mutex;
use rcgen::{CertificateParams, DnType, KeyPair};
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use serde_json::json;
use tokio::sync::Notify;
use tokio::task::spawn_blocking;
use tonic::Code;
use tonic::body::Body;

use super::*;
use crate::lab::{Lab, LabNode};

fn lab() -> Lab {
    Lab::on(Arc::new(MemoryStore::system()), "node-1")
}

/// A connection that asks and is answered.
struct Client(TcpStream);

impl Client {
    fn to(at: SocketAddr) -> Self {
        let stream = TcpStream::connect(at).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        Self(stream)
    }

    /// The head of what is answered when it is called by this name; `None`: nothing is, and the connection ends.
    fn asks(&mut self, host: &str) -> Option<String> {
        self.0.write_all(format!("GET /healthz HTTP/1.1\r\nhost: {host}\r\n\r\n").as_bytes()).ok()?;
        let (mut read, mut buffer) = (Vec::new(), [0; 4096]);
        while !read.windows(4).any(|end| end == b"\r\n\r\n") {
            match self.0.read(&mut buffer) {
                Ok(0) => return None,
                Ok(length) => read.extend_from_slice(&buffer[..length]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("nothing is answered: {error}"),
            }
        }
        Some(String::from_utf8_lossy(&read).into_owned())
    }
}

/// The status that somebody is answered with who calls a port by this name.
async fn status(at: SocketAddr, host: &'static str) -> Option<u16> {
    let head = spawn_blocking(move || Client::to(at).asks(host)).await.unwrap()?;
    head.split(' ').nth(1)?.parse().ok()
}

/// Returns once it is so: within a second.
async fn soon<F: Future<Output = bool>>(what: &str, is_so: impl Fn() -> F) {
    let begun = Instant::now();
    while !is_so().await {
        assert!(begun.elapsed() < Duration::from_secs(1), "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_answers_to_the_names_that_are_set_by_then() {
    let node = lab().prepared().serve();
    assert_eq!(status(node.control, "mesh.example").await, Some(403));
    node.settings.set("control.hosts", json!(["mesh.example"]));
    assert_eq!(status(node.control, "mesh.example").await, Some(200));
    assert_eq!(status(node.control, "other.example").await, Some(403));
    // Whoever reaches it may do anything: by which name does not matter.
    node.settings.set("control.insecure", true);
    assert_eq!(status(node.control, "other.example").await, Some(200));
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_connections_are_let_in_as_there_may_be_by_then_and_those_that_are_open_stay() {
    let node = lab().prepared().serve();
    let (at, settings) = (node.control, node.settings.clone());
    let outcome = spawn_blocking(move || {
        let mut open = [Client::to(at), Client::to(at)];
        assert!(open.iter_mut().all(|client| client.asks("localhost").is_some()));
        settings.set("control.connectionsMax", 2);
        assert_eq!(Client::to(at).asks("localhost"), None);
        assert!(open.iter_mut().all(|client| client.asks("localhost").is_some()), "they are open");
        settings.set("control.connectionsMax", 3);
        assert!(Client::to(at).asks("localhost").is_some());
        // Those of this host are not counted; by how many those of others are, the tests of the surface show.
        settings.set("control.connectionsPerAddressMax", 7);
        assert_eq!(settings.live(limits).get().per_address_max, 7);
    });
    outcome.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_run_have_as_long_to_finish_as_is_set_by_then() {
    let mut node = lab().prepared();
    let begun = Arc::new(Notify::new());
    let told = begun.clone();
    let hangs = get(move || {
        told.notify_one();
        std::future::pending::<String>()
    });
    node.builder.routes(PortName::Control, axum::Router::new().route("/hangs", hangs));
    let node = node.serve();
    let mut client = Client::to(node.control);
    client.0.write_all(b"GET /hangs HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    begun.notified().await;
    node.settings.set("control.drainGrace", "200ms");
    let stopping = Instant::now();
    node.stop().await;
    assert!(stopping.elapsed() < Duration::from_secs(5), "{:?}", stopping.elapsed());
}

/// A certificate of `localhost` for this key, by a name of its own.
fn certificate(name: &str, key: &KeyPair) -> CertificateDer<'static> {
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.self_signed(key).unwrap().der().clone()
}

fn put(path: &Path, der: &CertificateDer<'_>) {
    write_whole(path, omnirelay_pki::certificate::to_pem(der).as_bytes()).unwrap();
}

/// Whether a port shows this certificate to whoever connects.
async fn shows(at: SocketAddr, certificate: &CertificateDer<'static>) -> bool {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let shake = move || {
        let mut shaking = ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();
        let mut stream = TcpStream::connect(at).unwrap();
        while shaking.is_handshaking() {
            if shaking.complete_io(&mut stream).is_err() {
                return false;
            }
        }
        true
    };
    spawn_blocking(shake).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_connects_is_shown_the_certificate_that_is_set_by_then() {
    let place = tempfile::tempdir().unwrap();
    let path = |name: &str| place.path().join(name);
    let [key, other_key] = [(); 2].map(|()| KeyPair::generate().unwrap());
    let [first, second, third] =
        [("first", &key), ("second", &key), ("third", &other_key)].map(|(name, key)| certificate(name, key));
    put(&path("first.pem"), &first);
    put(&path("second.pem"), &second);
    write_whole(&path("key.pem"), key.serialize_pem().as_bytes()).unwrap();
    write_whole(&path("other-key.pem"), other_key.serialize_pem().as_bytes()).unwrap();
    let files = ControlTlsConfig {
        source: TlsSource::Files,
        cert: Some(path("first.pem")),
        key: Some(path("key.pem")),
    };
    let node = lab().config(|config| config.control.tls = files).prepared().serve();
    assert!(shows(node.control, &first).await && !shows(node.control, &second).await);

    node.settings.set("control.tls.cert", json!(path("second.pem")));
    soon("the certificate is another", || shows(node.control, &second)).await;

    // Neither one that is not there nor one of another key is taken over.
    for (cert, key, wrong) in [
        ("nowhere.pem", "key.pem", "control.tls.cert"),
        ("second.pem", "nowhere.pem", "control.tls.key"),
        ("second.pem", "other-key.pem", "control.tls.cert"),
    ] {
        let mut config = Config::clone(&node.settings.now());
        (config.control.tls.cert, config.control.tls.key) = (Some(path(cert)), Some(path(key)));
        assert_eq!(node.settings.replace(config).unwrap_err().key, wrong);
    }
    assert!(shows(node.control, &second).await);

    // The key is used that is named by then: a certificate of it could not be before.
    put(&path("second.pem"), &third);
    node.settings.set("control.tls.key", json!(path("other-key.pem")));
    soon("the key is another", || shows(node.control, &third)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_is_demanded_of_whoever_connects_once_it_is_set_so() {
    let node = lab().prepared().serve();
    assert_eq!(status(node.control, "localhost").await, Some(200));
    let mut open = Client::to(node.control);
    assert!(open.asks("localhost").is_some());
    node.settings.set("control.tls.source", "mesh");
    soon("plaintext is not spoken", || async { status(node.control, "localhost").await == Some(400) }).await;
    assert!(open.asks("localhost").is_some_and(|head| head.contains(" 200 ")), "it is open");
    node.settings.set("control.tls.source", "off");
    soon("TLS is not spoken", || async { status(node.control, "localhost").await == Some(200) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_name_the_port_of_http3_that_is_set_by_then() {
    let place = tempfile::tempdir().unwrap();
    let (cert, key) = (place.path().join("cert.pem"), place.path().join("key.pem"));
    let pair = KeyPair::generate().unwrap();
    put(&cert, &certificate("it", &pair));
    write_whole(&key, pair.serialize_pem().as_bytes()).unwrap();
    let tls = ControlTlsConfig { source: TlsSource::Files, cert: Some(cert), key: Some(key) };
    let mut node = lab()
        .config(|config| {
            config.control.tls = tls;
            config.control.http3 = true;
        })
        .prepared();
    let (settings, own) = (node.builder.settings.clone(), node.builder.addresses.control.port());
    let port = node.builder.ports.remove(&PortName::Control).and_then(|at| at.port).unwrap();
    let surface = port.surface.build().unwrap();
    let told = async || {
        let request = Request::get("/").header("host", "localhost").body(Body::empty()).unwrap();
        let answer = surface.handle(request, &PeerInfo::unknown()).await;
        answer.headers()["alt-svc"].to_str().unwrap().to_owned()
    };
    assert_eq!(told().await, format!("h3=\":{own}\"; ma=3600"));
    settings.set("control.http3Advertise", 4433);
    assert_eq!(told().await, "h3=\":4433\"; ma=3600");
}

/// A store that notes what it is told to keep.
struct Keeping {
    inner: Arc<dyn Store>,
    told: Mutex<Option<Retention>>,
}

#[async_trait]
impl Script for Keeping {
    async fn pass(&self, call: Call) -> Answered {
        if let Call::Housekeep(_, keep) = &call {
            *self.told.lock() = Some(*keep);
        }
        call.on(&*self.inner).await
    }
}

#[tokio::test(start_paused = true)]
async fn the_store_keeps_as_much_of_its_history_as_is_set_by_then() {
    let store = Arc::new(Scripted(Keeping { inner: memory(), told: Mutex::default() }));
    let node: LabNode = Lab::on(store.clone(), "node-1").prepared().start();
    node.loaded().await;
    let told = async || {
        *store.told.lock() = None;
        tokio::time::sleep(Duration::from_secs(1)).await;
        (*store.told.lock()).expect("a second later it keeps house")
    };
    node.settings.set("history.age", "3s");
    assert_eq!(told().await.log_age, Duration::from_secs(3));
    node.settings.set("history.entriesMax", 1001);
    assert_eq!(told().await.log_entries_max, 1001);
    node.settings.set("history.tombstoneAge", "4s");
    assert_eq!(told().await.tombstone_age, Duration::from_secs(4));
    node.settings.set("history.idempotencyAge", "5s");
    assert_eq!(told().await.idempotency_age, Duration::from_secs(5));
    node.settings.set("history.idempotencyEntriesMax", 1002);
    assert_eq!(told().await.idempotency_entries_max, 1002);
}

/// A call that took so long, of the trace of its caller.
fn finish(log: &SlowCallLog, took: Duration, (streamed, awaits_work): (bool, bool), code: Code) {
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let headers =
        http::HeaderMap::from_iter([(http::HeaderName::from_static("traceparent"), trace.parse().unwrap())]);
    log.finished(&FinishedCall {
        method: "/omnirelay.a.v1.PeerService/List",
        protocol: CallProtocol::of_grpc(http::Version::HTTP_2),
        port: "control",
        code,
        duration: took,
        streamed,
        awaits_work,
        audit_action: None,
        reason: "",
        cut: false,
        request_id: &RequestIds::default().of(&headers),
        principal: "bob",
        remote: SocketAddr::from(([10, 0, 0, 1], 1)),
        trace: None,
    });
}

#[test]
fn a_call_is_slow_by_what_is_set_then() {
    let settings = LiveConfig::from(Config::default());
    let log = SlowCallLog::new(settings.live(|config| config.log.slow_calls.0));
    let told = tempfile::NamedTempFile::new().unwrap();
    let writer = Arc::new(told.reopen().unwrap());
    let _guard = captured(tracing_subscriber::fmt().with_ansi(false).with_writer(writer).finish());
    let lines = || std::fs::read_to_string(told.path()).unwrap();
    let took = Duration::from_millis(900);
    finish(&log, took, (false, false), Code::Ok);
    assert_eq!(lines(), "", "a second is not over");
    settings.set("log.slowCalls", "500ms");
    finish(&log, took, (true, false), Code::Ok);
    finish(&log, took, (false, true), Code::Ok);
    finish(&log, took, (false, false), Code::Unavailable);
    assert_eq!(lines(), "", "two take as long as they take, and what is away is told elsewhere");
    finish(&log, took, (false, false), Code::Ok);
    let line = lines();
    let said =
        ["call slow", "duration_ms=900", "trace_id=4bf92f3577b34da6a3ce929d0e0e4736", "remote=10.0.0.1:1"];
    assert!(said.iter().all(|said| line.contains(said)) && line.lines().count() == 1, "{line}");
    settings.set("log.slowCalls", "0s");
    finish(&log, Duration::from_secs(3600), (false, false), Code::Ok);
    assert_eq!(lines(), line, "none is told of any more");
}
