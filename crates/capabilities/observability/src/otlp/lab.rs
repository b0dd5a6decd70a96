//! Lab of the export: a collector that behaves as a test says, and a node that is called and sends to it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::serve::Listener;
use http::{HeaderMap, StatusCode, Uri};
use omnirelay_identity::authenticate::LoopbackAuthenticator;
use omnirelay_node::PortName;
use omnirelay_node::lab::{Lab, LabNode, PreparedNode};
use omnirelay_settings::Config;
use omnirelay_store::MemoryStore;
use parking_lot::Mutex;
use prost::Message as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::messages::{ExportResponse, MetricsRequest, PartialSuccess, Span, TracesRequest};

/// Answer of a collector to whatever it is sent.
#[derive(Clone, Copy, Debug)]
pub(super) enum CollectorAnswer {
    Taken,
    Rejected(i64),
    After(Duration),
    Never,
    /// With this status, and this `Retry-After`.
    Status(u16, Option<u64>),
}

/// Path of the call that tests make.
pub(super) const CALLED: &str = "/control/prometheus/targets";

/// Requests that a collector was sent, and how it answers.
pub(super) struct ReceivedExports {
    pub answers: Mutex<CollectorAnswer>,
    /// Each with when it came and its headers.
    pub requests: Mutex<Vec<(Instant, String, HeaderMap)>>,
    pub spans: Mutex<Vec<Span>>,
    pub metrics: Mutex<Vec<MetricsRequest>>,
}

pub(super) struct TestCollector {
    pub received: Arc<ReceivedExports>,
    pub address: SocketAddr,
    _serving: JoinSet<()>,
}

impl TestCollector {
    pub(super) async fn start(answers: CollectorAnswer) -> Self {
        Self::over(TcpListener::bind("127.0.0.1:0").await.unwrap(), answers)
    }

    pub(super) fn over<L: Listener<Addr = SocketAddr>>(listener: L, answers: CollectorAnswer) -> Self {
        let received = Arc::new(ReceivedExports {
            answers: Mutex::new(answers),
            requests: Mutex::default(),
            spans: Mutex::default(),
            metrics: Mutex::default(),
        });
        let address = listener.local_addr().unwrap();
        let routes = Router::new().fallback(answer).with_state(received.clone());
        let mut serving = JoinSet::new();
        serving.spawn(async move { axum::serve(listener, routes).await.unwrap() });
        Self { received, address, _serving: serving }
    }

    pub(super) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }
}

async fn answer(
    State(received): State<Arc<ReceivedExports>>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, HeaderMap, Vec<u8>) {
    received.requests.lock().push((Instant::now(), uri.path().to_owned(), headers));
    let answers = *received.answers.lock();
    let (mut status, mut said) = (StatusCode::OK, HeaderMap::new());
    let mut response = ExportResponse::default();
    match answers {
        CollectorAnswer::Taken => {}
        CollectorAnswer::Rejected(rejected) => {
            response.partial_success = Some(PartialSuccess { rejected, error_message: "too old".to_owned() });
        }
        CollectorAnswer::After(pause) => sleep(pause).await,
        CollectorAnswer::Never => std::future::pending().await,
        CollectorAnswer::Status(code, wait) => {
            status = StatusCode::from_u16(code).unwrap();
            said.extend(wait.map(|wait| (http::header::RETRY_AFTER, wait.into())));
        }
    }
    if status == StatusCode::OK {
        match uri.path() {
            "/v1/traces" => {
                let request = TracesRequest::decode(body).unwrap();
                let spans = request.resource_spans.into_iter().flat_map(|of| of.scope_spans);
                received.spans.lock().extend(spans.flat_map(|of| of.spans));
            }
            "/v1/metrics" => received.metrics.lock().push(MetricsRequest::decode(body).unwrap()),
            other => panic!("{other}"),
        }
    }
    (status, said, response.encode_to_vec())
}

/// A node that sends to an address, and takes no calls.
pub(super) fn closed_node(endpoint: &str, change: impl FnOnce(&mut Config)) -> PreparedNode {
    let config = |config: &mut Config| {
        config.otlp.endpoint = Some(endpoint.to_owned());
        change(config);
    };
    let mount = |node: &mut _| crate::mount(node, Arc::default(), Arc::default());
    let (node, ()) = Lab::on(Arc::new(MemoryStore::system()), "node-1").config(config).with(mount);
    node
}

/// The same, whose calls are taken from this host.
pub(super) fn sending_to(endpoint: &str, change: impl FnOnce(&mut Config)) -> LabNode {
    let mut node = closed_node(endpoint, change);
    node.builder.authenticate(PortName::Control, LoopbackAuthenticator::default());
    node.serve()
}

/// Calls a node for its targets, and gives how long that took.
pub(super) async fn call(node: &LabNode, traceparent: Option<&str>) -> Duration {
    let begun = Instant::now();
    let answer = get(node.control, CALLED, traceparent).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    begun.elapsed()
}

/// Value of a series of a node, such as `omnirelay_otlp_sent_total{kind="spans"}`.
pub(super) async fn counted(node: &LabNode, series: &str) -> f64 {
    let text = get(node.control, "/metrics", None).await;
    let value =
        text.lines().find_map(|line| line.strip_prefix(series)).unwrap_or_else(|| panic!("no {series}"));
    value.trim().parse().unwrap()
}

pub(super) async fn get(address: SocketAddr, path: &str, traceparent: Option<&str>) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let trace = traceparent.map(|trace| format!("traceparent: {trace}\r\n")).unwrap_or_default();
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{trace}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// Returns once it is so: within ten seconds.
pub(super) async fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(10), "{what}");
        sleep(Duration::from_millis(10)).await;
    }
}
