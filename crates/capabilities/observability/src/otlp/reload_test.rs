//! Settings of the export, changed while it goes on.

use std::net::SocketAddr;
use std::time::Duration;

use axum::serve::Listener;
use omnirelay_host::live::Live;
use omnirelay_identity::lab::{authority, certificate_files, node as node_of};
use omnirelay_identity::tls::{ClientCertificateRule, ListenerTls};
use omnirelay_node::prometheus::Registry;
use omnirelay_pki::authority::CertificateAuthority;
use omnirelay_pki::certificate::to_pem;
use omnirelay_settings::{ClientTrust, Config, LiveConfig};
use serde_json::{Value, json};
use tokio::io::{DuplexStream, copy_bidirectional, duplex};
use tokio::net::TcpListener;
use tokio::time::sleep;

use super::collector_line::SendOutcome;
use super::lab::{CollectorAnswer, TestCollector, call, eventually, sending_to};
use super::*;

#[tokio::test]
async fn spans_go_where_and_as_many_as_is_set_by_then() {
    let [hung, one, other] = [
        TestCollector::start(CollectorAnswer::Never).await,
        TestCollector::start(CollectorAnswer::Taken).await,
        TestCollector::start(CollectorAnswer::Taken).await,
    ];
    let node = sending_to(&hung.endpoint(), |config| {
        config.otlp.metrics = false;
        config.otlp.endpoint = None;
        config.otlp.timeout.0 = Duration::from_secs(60);
    });
    node.loaded().await;
    call(&node, None).await;
    node.settings.set("otlp.endpoint", hung.endpoint());
    call(&node, None).await;
    eventually("it is sent", || hung.received.requests.lock().len() == 1).await;
    // What is under way goes there at once.
    node.settings.set("otlp.endpoint", one.endpoint());
    eventually("it is sent elsewhere", || one.received.spans.lock().len() == 1).await;

    node.settings.set("otlp.traces", false);
    sleep(Duration::from_millis(100)).await;
    call(&node, None).await;
    node.settings.set("otlp.traces", true);
    node.settings.set("otlp.tracesSampled", 0.0);
    sleep(Duration::from_millis(100)).await;
    call(&node, None).await;
    call(&node, Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")).await;
    eventually("its caller wants it", || one.received.spans.lock().len() == 2).await;
    node.settings.set("otlp.endpoint", other.endpoint());
    node.settings.set("otlp.tracesSampled", 1.0);
    sleep(Duration::from_millis(100)).await;
    call(&node, None).await;
    eventually("it is sent to the last one", || other.received.spans.lock().len() == 1).await;
    assert_eq!(one.received.spans.lock().len(), 2);
}

#[tokio::test]
async fn metrics_are_sent_as_often_as_is_set_by_then() {
    let collector = TestCollector::start(CollectorAnswer::Taken).await;
    let node = sending_to(&collector.endpoint(), |_| {});
    node.loaded().await;
    let sent = || collector.received.metrics.lock().len();
    node.settings.set("otlp.metricsInterval", "1s");
    eventually("they are sent", || sent() == 2).await;
    node.settings.set("otlp.metrics", false);
    sleep(Duration::from_millis(1500)).await;
    let before = sent();
    assert!(before <= 3);
    sleep(Duration::from_millis(1500)).await;
    assert_eq!(sent(), before, "they are not wanted");
    node.settings.set("otlp.metrics", true);
    eventually("they are sent again", || sent() > before).await;
}

/// A line to the collector that is set by then.
fn line(settings: &LiveConfig, trust: Arc<omnirelay_identity::trust::MeshTrust>) -> CollectorLine {
    let settings: Live<OtlpConfig> = settings.live(|config| config.otlp.clone());
    let counts = Arc::new(ExportMetrics::new(&Registry::new()).unwrap());
    CollectorLine::new(ExportedKind::Spans, LineParts { settings, trust, counts })
}

/// Whether a request is taken.
async fn is_taken(line: &mut CollectorLine) -> bool {
    match line.send(1, &Default::default()).await {
        SendOutcome::Over => true,
        SendOutcome::Later(_) | SendOutcome::Nowhere => false,
    }
}

#[tokio::test]
async fn a_collector_is_sent_the_headers_and_given_the_time_that_are_set_by_then() {
    let collector = TestCollector::start(CollectorAnswer::Taken).await;
    let place = tempfile::tempdir().unwrap();
    let settings = LiveConfig::from(Config::default());
    settings.set("otlp.endpoint", collector.endpoint());
    let mut line = line(&settings, Arc::default());
    assert!(is_taken(&mut line).await);
    let file = place.path().join("headers");
    std::fs::write(&file, "x-scope-orgid: one\n").unwrap();
    settings.set("otlp.headersFile", file.to_str().unwrap());
    assert!(is_taken(&mut line).await);
    // What is in the file is read each time.
    std::fs::write(&file, "x-scope-orgid: two\ncontent-type: text/plain\n").unwrap();
    assert!(is_taken(&mut line).await);
    let said =
        collector.received.requests.lock().iter().map(|(.., headers)| headers.clone()).collect::<Vec<_>>();
    let scopes = said.iter().map(|headers| headers.get("x-scope-orgid").map(|value| value.to_str().unwrap()));
    assert_eq!(scopes.collect::<Vec<_>>(), [None, Some("one"), Some("two")]);
    assert!(said.iter().all(|headers| headers["content-type"] == "application/x-protobuf"));
    std::fs::remove_file(&file).unwrap();
    assert!(!is_taken(&mut line).await);

    settings.set("otlp.headersFile", Value::Null);
    *collector.received.answers.lock() = CollectorAnswer::After(Duration::from_secs(1));
    settings.set("otlp.timeout", "200ms");
    assert!(!is_taken(&mut line).await);
    settings.set("otlp.timeout", "5s");
    assert!(is_taken(&mut line).await);
}

/// Takes connections over TLS.
struct TlsPort(TcpListener, ListenerTls);

impl Listener for TlsPort {
    type Io = DuplexStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (DuplexStream, SocketAddr) {
        loop {
            let (stream, from) = self.0.accept().await.unwrap();
            let Ok(mut shaken) = self.1.accept(stream).await else { continue };
            let (near, mut far) = duplex(1 << 16);
            tokio::spawn(async move { copy_bidirectional(&mut shaken.stream, &mut far).await });
            return (near, from);
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// A collector that shows a certificate for `localhost`, and wants one.
async fn collector_over_tls(root: &CertificateAuthority) -> TestCollector {
    let trust = node_of(root, "b");
    let tls = ListenerTls::of_node(trust.clone()).judging(trust, ClientCertificateRule::Must);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    TestCollector::over(TlsPort(listener, tls), CollectorAnswer::Taken)
}

#[tokio::test]
async fn a_collector_is_believed_and_shown_what_is_set_by_then() {
    let (root, folder) = (authority(), tempfile::tempdir().unwrap());
    let collector = collector_over_tls(&root).await;
    let (c, d) = (certificate_files(&root, folder.path(), "c"), certificate_files(&root, folder.path(), "d"));
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, to_pem(root.certificate())).unwrap();
    let settings = LiveConfig::from(Config::default());
    settings.set("otlp.endpoint", format!("https://localhost:{}", collector.address.port()));
    let mut line = line(&settings, node_of(&root, "a"));
    settings.set("otlp.tls.trust", "mesh");
    assert!(!is_taken(&mut line).await, "it shows nothing");
    settings.set("otlp.tls.identity", "mesh");
    assert!(is_taken(&mut line).await);
    settings.set("otlp.tls.trust", Value::Null);
    assert!(!is_taken(&mut line).await, "its authority is not public");
    settings.set("otlp.tls.ca", json!(ca));
    assert!(is_taken(&mut line).await);

    let mut next = Config::clone(&settings.now());
    let tls = &mut next.otlp.tls;
    (tls.identity, tls.cert, tls.key) = (None, Some(c[0].clone()), Some(d[1].clone()));
    settings.replace(next).unwrap();
    assert!(!is_taken(&mut line).await, "the key is of another");
    settings.set("otlp.tls.key", json!(c[1]));
    assert!(is_taken(&mut line).await);
    settings.set("otlp.tls.cert", json!(d[0]));
    assert!(!is_taken(&mut line).await, "the certificate is of another");
}

#[tokio::test]
async fn files_that_cannot_be_read_are_refused_and_nothing_is_changed() {
    let node = sending_to("https://localhost:1", |config| config.otlp.tls.trust = Some(ClientTrust::Public));
    let before = node.settings.now();
    let mut next = Config::clone(&before);
    next.otlp.headers_file = Some("/nowhere/headers".into());
    assert_eq!(node.settings.replace(next).unwrap_err().key, "otlp.headersFile");
    assert_eq!(node.settings.now(), before);
}
