//! Collectors that are hung, slow, gone or too busy: calls are not delayed, and what waits is bounded. All of a test is one thread.

use std::time::{Duration, Instant};

use omnirelay_node::lab::LabNode;
use omnirelay_settings::HumanDuration;
use tokio::net::TcpListener;
use tokio::time::sleep;

use super::lab::{
    CALLED, CollectorAnswer, TestCollector, call, closed_node, counted, eventually, get, sending_to,
};
use super::messages::{KeyValue, MetricData};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SENT: &str = r#"omnirelay_otlp_sent_total{kind="spans"}"#;

fn dropped(cause: &str) -> String {
    format!(r#"omnirelay_otlp_dropped_total{{kind="spans",mesh_cause="{cause}"}}"#)
}

fn from_hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

#[tokio::test]
async fn calls_and_what_is_counted_come_to_the_collector() {
    let collector = TestCollector::start(CollectorAnswer::Taken).await;
    let node = sending_to(&collector.endpoint(), |config| config.otlp.metrics_interval = second());
    node.loaded().await;
    call(&node, Some(&format!("00-{TRACE}-00f067aa0ba902b7-01"))).await;
    call(&node, Some(&format!("00-{}-00f067aa0ba902b7-00", "1".repeat(32)))).await;
    call(&node, None).await;
    let received = &collector.received;
    eventually("they are sent", || received.spans.lock().len() >= 2 && received.metrics.lock().len() >= 2)
        .await;
    let spans = received.spans.lock().clone();
    assert_eq!(spans.len(), 2, "one caller has said that its trace is not recorded: {spans:?}");
    let name = "omnirelay.mesh.control.v1.ObservabilityService/ListScrapeTargets";
    assert!(spans.iter().all(|span| span.name == name && span.kind == 2 && span.status.is_none()));
    assert_eq!(
        (&spans[0].trace_id, &spans[0].parent_span_id),
        (&from_hex(TRACE), &from_hex("00f067aa0ba902b7"))
    );
    assert!(spans[1].parent_span_id.is_empty() && spans[1].trace_id != spans[0].trace_id);
    assert!(
        spans.iter().all(|span| span.attributes.contains(&KeyValue::text("omnirelay.principal", "local")))
    );

    let metrics = received.metrics.lock()[1].clone();
    let all = &metrics.resource_metrics[0].scope_metrics[0].metrics;
    let calls = all.iter().find(|metric| metric.name == "omnirelay_rpc_calls_total").unwrap();
    let Some(MetricData::Sum(sum)) = &calls.data else { panic!("{calls:?}") };
    assert!(sum.data_points.iter().any(|point| point.as_double == Some(3.0)), "{sum:?}");
    assert!(counted(&node, SENT).await >= 2.0);
    node.stop().await;
}

fn second() -> HumanDuration {
    HumanDuration(Duration::from_secs(1))
}

/// How long the slowest of some calls takes.
async fn slowest(node: &LabNode) -> Duration {
    let mut slowest = Duration::ZERO;
    for _ in 0..30 {
        slowest = slowest.max(call(node, None).await);
        sleep(Duration::from_millis(20)).await;
    }
    slowest
}

#[tokio::test]
async fn a_collector_that_hangs_or_is_slow_delays_no_call_and_a_stop_by_a_second() {
    for answers in [CollectorAnswer::Never, CollectorAnswer::After(Duration::from_secs(3))] {
        let collector = TestCollector::start(answers).await;
        let node = sending_to(&collector.endpoint(), |config| config.otlp.metrics_interval = second());
        node.loaded().await;
        let slowest = slowest(&node).await;
        assert!(slowest < Duration::from_millis(500), "{answers:?}: a call took {slowest:?}");
        eventually("something was sent", || !collector.received.requests.lock().is_empty()).await;
        let begun = Instant::now();
        node.stop().await;
        assert!(begun.elapsed() < Duration::from_millis(1500), "{answers:?}: {:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn a_stop_sends_what_is_left_and_waits_for_no_more() {
    let collector = TestCollector::start(CollectorAnswer::Taken).await;
    let node = sending_to(&collector.endpoint(), |_| {});
    node.loaded().await;
    call(&node, None).await;
    let begun = Instant::now();
    node.stop().await;
    assert!(begun.elapsed() < Duration::from_millis(800), "{:?}", begun.elapsed());
    let received = &collector.received;
    assert_eq!((received.spans.lock().len(), received.metrics.lock().len()), (1, 1));
    // Where nothing is sent, nothing is waited for.
    let node = sending_to(&collector.endpoint(), |config| config.otlp.endpoint = None);
    let begun = Instant::now();
    node.stop().await;
    assert!(begun.elapsed() < Duration::from_millis(800), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_collector_that_is_gone_gets_what_waited_once_it_is_back() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let node = sending_to(&format!("http://{address}"), |config| config.otlp.metrics = false);
    node.loaded().await;
    assert!(slowest(&node).await < Duration::from_millis(500));
    sleep(Duration::from_secs(1)).await;
    let collector = TestCollector::over(TcpListener::bind(address).await.unwrap(), CollectorAnswer::Taken);
    eventually("what waited has come", || collector.received.spans.lock().len() == 30).await;
    assert_eq!(counted(&node, &dropped("unanswered")).await, 0.0);
}

#[tokio::test]
async fn a_collector_is_left_alone_as_long_as_it_asks_and_what_it_refuses_is_not_sent_again() {
    let collector = TestCollector::start(CollectorAnswer::Status(503, Some(3))).await;
    let node = sending_to(&collector.endpoint(), |config| config.otlp.metrics = false);
    node.loaded().await;
    call(&node, None).await;
    let requests = || collector.received.requests.lock().iter().map(|(at, ..)| *at).collect::<Vec<_>>();
    eventually("it was sent", || requests().len() == 1).await;
    *collector.received.answers.lock() = CollectorAnswer::Rejected(1);
    eventually("it was sent again", || requests().len() == 2).await;
    let pause = requests()[1] - requests()[0];
    assert!((3.0..5.0).contains(&pause.as_secs_f64()), "{pause:?}");
    eventually("the spans have come", || collector.received.spans.lock().len() == 1).await;

    *collector.received.answers.lock() = CollectorAnswer::Status(400, None);
    call(&node, None).await;
    eventually("it was refused", || requests().len() == 3).await;
    sleep(Duration::from_millis(2500)).await;
    assert_eq!(requests().len(), 3);
    let counts =
        [SENT, &dropped("rejected"), &dropped("refused"), &dropped("unanswered"), &dropped("queue_full")];
    let mut found = Vec::new();
    for series in counts {
        found.push(counted(&node, series).await);
    }
    assert_eq!(found, [0.0, 1.0, 1.0, 0.0, 0.0]);
}

#[tokio::test]
async fn what_strangers_call_is_recorded_for_nobody() {
    let collector = TestCollector::start(CollectorAnswer::Taken).await;
    let node = closed_node(&collector.endpoint(), |config| config.otlp.metrics = false).serve();
    node.loaded().await;
    let asks = format!("00-{TRACE}-00f067aa0ba902b7-01");
    let answer = get(node.control, CALLED, Some(&asks)).await;
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    node.stop().await;
    assert!(collector.received.requests.lock().is_empty(), "what is left would have been sent");
}
