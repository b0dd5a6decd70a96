//! Spans of daemons, as a collector gets them: what one call of an operator makes several nodes do is one trace.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result, ensure};
use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use prost::Message as _;

use crate::servers::eventually;
use crate::up::Mesh;

/// What is sent to `/v1/traces`, as far as this test reads it; the numbers are those of opentelemetry-proto.
#[derive(Clone, PartialEq, prost::Message)]
struct Traces {
    #[prost(message, repeated, tag = "1")]
    resource_spans: Vec<ResourceSpans>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ResourceSpans {
    #[prost(message, optional, tag = "1")]
    resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    scope_spans: Vec<ScopeSpans>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Resource {
    #[prost(message, repeated, tag = "1")]
    attributes: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct KeyValue {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(message, optional, tag = "2")]
    value: Option<AnyValue>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct AnyValue {
    #[prost(string, tag = "1")]
    text: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ScopeSpans {
    #[prost(message, repeated, tag = "2")]
    spans: Vec<WireSpan>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WireSpan {
    #[prost(bytes = "vec", tag = "1")]
    trace: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    span: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    parent: Vec<u8>,
    #[prost(string, tag = "5")]
    name: String,
    #[prost(int32, tag = "6")]
    kind: i32,
    #[prost(message, repeated, tag = "9")]
    attributes: Vec<KeyValue>,
}

/// A span, with the node that it is of.
#[derive(Clone, Debug)]
struct Span {
    node: String,
    of: WireSpan,
}

fn text(attributes: &[KeyValue], key: &str) -> Option<String> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    found.value.as_ref().map(|value| value.text.clone())
}

/// A collector, for as long as the process of the test lives.
struct Collector {
    address: SocketAddr,
    spans: Arc<Mutex<Vec<Span>>>,
}

impl Collector {
    fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let (address, spans) = (listener.local_addr()?, Arc::new(Mutex::new(Vec::new())));
        let (into, (say, begun)) = (spans.clone(), mpsc::channel());
        std::thread::spawn(move || -> Result<()> {
            let take = move |body: Bytes| {
                let of_node = |of: ResourceSpans| {
                    let attributes = of.resource.unwrap_or_default().attributes;
                    let node = text(&attributes, "service.instance.id").unwrap_or_default();
                    let spans = of.scope_spans.into_iter().flat_map(|scope| scope.spans);
                    spans.map(move |of| Span { node: node.clone(), of })
                };
                let sent = Traces::decode(body).unwrap_or_default().resource_spans;
                into.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .extend(sent.into_iter().flat_map(of_node));
                std::future::ready(())
            };
            let routes =
                Router::new().route("/v1/traces", post(take)).route("/v1/metrics", post(async || {}));
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                listener.set_nonblocking(true)?;
                let listener = tokio::net::TcpListener::from_std(listener)?;
                say.send(())?;
                Ok(axum::serve(listener, routes).await?)
            })
        });
        begun.recv().context("the collector does not listen")?;
        Ok(Self { address, spans })
    }

    /// The spans of a trace, whose id is this digit 32 times.
    fn of_trace(&self, digit: u8) -> Vec<Span> {
        let trace = vec![digit << 4 | digit; 16];
        let spans = self.spans.lock().unwrap_or_else(PoisonError::into_inner);
        spans.iter().filter(|span| span.of.trace == trace).cloned().collect()
    }
}

const CALLER: [u8; 8] = [0x0c; 8];
/// Kinds of spans, by their numbers.
const INTERNAL: i32 = 1;
const SERVER: i32 = 2;
const CLIENT: i32 = 3;

/// Runs a command as one of the trace of this digit.
fn run_traced(mesh: &Mesh, digit: u8, arguments: &[&str]) -> Result<()> {
    let context = format!("00-{}-{}-01", format!("{digit:x}").repeat(32), "0c".repeat(8));
    let output = mesh.omnirelay(arguments).env("TRACEPARENT", context).output()?;
    ensure!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// The only span of a trace that is so.
fn one<'a>(spans: &'a [Span], what: &str, is_it: impl Fn(&Span) -> bool) -> Result<&'a Span> {
    let found: Vec<_> = spans.iter().filter(|span| is_it(span)).collect();
    ensure!(found.len() == 1, "{what}: {} of {spans:#?}", found.len());
    Ok(found[0])
}

#[test]
fn what_a_call_makes_nodes_do_is_one_trace() -> Result<()> {
    let collector = Collector::start()?;
    let mesh = Mesh::new()?;
    let endpoint = format!("otlp.endpoint=http://{}", collector.address);
    // What nobody asks for begins no trace here.
    let _up =
        mesh.up_with(&["--secure", "--nodes", "2", "--set", &endpoint, "--set", "otlp.tracesSampled=0"])?;

    run_traced(&mesh, 4, &["mesh", "peers", "cordon", "node-2", "--yes"])?;
    let is_cordon = |span: &Span| span.of.name.ends_with("/Cordon") && span.of.kind == SERVER;
    eventually("the commit of a call is sent", || Ok(collector.of_trace(4).iter().any(is_cordon)))?;
    let spans = collector.of_trace(4);
    let cordon = one(&spans, "the call", is_cordon)?;
    ensure!(cordon.node == "node-1" && cordon.of.parent == CALLER, "{cordon:?}");
    let principal = text(&cordon.of.attributes, "omnirelay.principal").unwrap_or_default();
    ensure!(principal.starts_with("operator:"), "{cordon:?}");
    let commit = one(&spans, "its commit", |span| span.of.name == "store commit")?;
    ensure!(commit.of.kind == INTERNAL && commit.of.parent == cordon.of.span, "{commit:?}");

    run_traced(&mesh, 7, &["mesh", "peers", "ping", "node-2", "--count", "1"])?;
    let is_served = |span: &Span| span.node == "node-2" && span.of.kind == SERVER;
    eventually("both ends of mesh calls are sent", || {
        let spans = collector.of_trace(7);
        let called = spans.iter().filter(|span| span.of.kind == CLIENT).count();
        Ok(called > 0
            && spans.iter().filter(|span| is_served(span)).count() == called
            && spans.len() > 2 * called)
    })?;
    let spans = collector.of_trace(7);
    let ping = one(&spans, "the call", |span| span.node == "node-1" && span.of.kind == SERVER)?;
    ensure!(ping.of.name.ends_with("/Ping") && ping.of.parent == CALLER, "{ping:?}");
    let by_id: BTreeMap<_, _> = spans.iter().map(|span| (span.of.span.clone(), span)).collect();
    for served in spans.iter().filter(|span| is_served(span)) {
        let call = by_id.get(&served.of.parent).context("it is below no call of this trace")?;
        ensure!(
            call.node == "node-1" && call.of.kind == CLIENT && call.of.name == served.of.name,
            "{call:?}"
        );
        ensure!(call.of.parent == ping.of.span, "{call:?}");
        ensure!(
            text(&served.of.attributes, "omnirelay.principal").unwrap_or_default().contains("node-1"),
            "{served:?}"
        );
    }
    ensure!(by_id.len() == spans.len(), "ids are there twice: {spans:#?}");
    let all = collector.spans.lock().unwrap_or_else(PoisonError::into_inner).len();
    let asked_for = collector.of_trace(4).len() + collector.of_trace(7).len();
    ensure!(all == asked_for, "{} spans are of traces that nobody has asked for", all - asked_for);
    Ok(())
}
