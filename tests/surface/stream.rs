//! Streams: over gRPC, as server-sent events, and as lines.

use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::StreamExt as _;
use omnirelay_fixture::fixture::v1::CountRequest;
use serde_json::{Value, json};
use tonic::Code;

use crate::fixture::{Served, header, json as document};

async fn events(served: &Served, path: &str, last_event_id: Option<&str>) -> reqwest::Response {
    let mut request = served.http.get(served.url(path)).header("accept", "text/event-stream");
    if let Some(id) = last_event_id {
        request = request.header("last-event-id", id);
    }
    request.send().await.unwrap()
}

/// Waits until a condition holds that another task brings about.
async fn eventually(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..500 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never: {what}");
}

#[tokio::test]
async fn each_message_is_one_event_and_the_same_over_grpc() {
    let served = Served::start().await;
    let response = events(&served, "/fixture?upTo=3", None).await;
    assert_eq!(response.status(), 200);
    assert_eq!(header(&response, "content-type"), Some("text/event-stream"));
    assert_eq!(header(&response, "cache-control"), Some("no-cache"));
    assert!(header(&response, "x-request-id").is_some());
    assert_eq!(
        response.text().await.unwrap(),
        "retry: 2000\n\n\
         id: 1\ndata: {\"number\":1,\"cursor\":\"1\"}\n\n\
         id: 2\ndata: {\"number\":2,\"cursor\":\"2\"}\n\n\
         id: 3\ndata: {\"number\":3,\"cursor\":\"3\"}\n\n"
    );

    let request = CountRequest { up_to: 3, ..CountRequest::default() };
    let stream = served.grpc().await.count(request).await.unwrap().into_inner();
    let numbers: Vec<_> = stream.map(|message| message.unwrap().number).collect().await;
    assert_eq!(numbers, [1, 2, 3]);
}

#[tokio::test]
async fn a_client_that_reconnects_to_the_same_address_resumes_by_header() {
    let served = Served::start().await;
    let text = events(&served, "/fixture?up_to=3", Some("2")).await.text().await.unwrap();
    assert_eq!(text, "retry: 2000\n\nid: 3\ndata: {\"number\":3,\"cursor\":\"3\"}\n\n");
    let text = events(&served, "/fixture?up_to=3&since=1", None).await.text().await.unwrap();
    assert!(text.starts_with("retry: 2000\n\nid: 2\n"), "{text}");
    let text = events(&served, "/fixture?up_to=3&since=1", Some("2")).await.text().await.unwrap();
    assert!(text.starts_with("retry: 2000\n\nid: 3\n"), "{text}");
}

#[tokio::test]
async fn a_stream_is_lines_for_who_wants_lines() {
    let served = Served::start().await;
    let lines = |path: &'static str| {
        let request = served.http.get(served.url(path)).header("accept", "application/x-ndjson");
        async move { request.send().await.unwrap().text().await.unwrap() }
    };
    assert_eq!(
        lines("/fixture?upTo=2").await,
        "{\"number\":1,\"cursor\":\"1\"}\n{\"number\":2,\"cursor\":\"2\"}\n"
    );
    let failed = lines("/fixture?upTo=1&failWith=boom").await;
    let last: Value = serde_json::from_str(failed.lines().last().unwrap()).unwrap();
    assert_eq!(last["error"]["reason"], "COUNTER_GONE");
}

#[tokio::test]
async fn one_field_of_a_message_is_the_data_and_another_the_id() {
    let served = Served::start().await;
    // 2 has no such field and moves the id only; 4 has no cursor either.
    assert_eq!(
        events(&served, "/inners?upTo=5", None).await.text().await.unwrap(),
        "retry: 2000\n\n\
         id: 1\ndata: {\"text\":\"http/1.1\",\"big\":\"1\"}\n\n\
         id: 2\n\n\
         id: 3\ndata: {\"text\":\"http/1.1\",\"big\":\"3\"}\n\n\
         id: 5\ndata: {\"text\":\"http/1.1\",\"big\":\"5\"}\n\n"
    );
    let resumed = events(&served, "/inners?upTo=4", Some("2")).await.text().await.unwrap();
    assert_eq!(resumed, "retry: 2000\n\nid: 3\ndata: {\"text\":\"http/1.1\",\"big\":\"3\"}\n\n");
    let nothing = events(&served, "/inners?upTo=4", Some("3")).await.text().await.unwrap();
    assert_eq!(nothing, "retry: 2000\n\n");

    let lines = |path: &'static str| {
        let request = served.http.get(served.url(path)).header("accept", "application/x-ndjson");
        async move { request.send().await.unwrap().text().await.unwrap() }
    };
    assert_eq!(
        lines("/inners?upTo=4").await,
        "{\"text\":\"http/1.1\",\"big\":\"1\"}\n{\"text\":\"http/1.1\",\"big\":\"3\"}\n"
    );
    assert_eq!(lines("/inners?upTo=4&since=3").await, "");

    // An error is whole.
    let failed = events(&served, "/inners?upTo=2&failWith=boom", None).await.text().await.unwrap();
    let (before, error) = failed.split_once("event: error\ndata: ").unwrap();
    assert!(before.ends_with("\n\nid: 2\n\n"), "{failed}");
    assert_eq!(serde_json::from_str::<Value>(error).unwrap()["code"], "unavailable");

    let request = CountRequest { up_to: 4, ..CountRequest::default() };
    let stream = served.grpc().await.follow(request).await.unwrap().into_inner();
    let whole: Vec<_> = stream
        .map(|message| message.unwrap().into_message())
        .map(|message| (message.cursor, message.inner.map(|inner| inner.big)))
        .collect()
        .await;
    let expected = [("1", Some(1)), ("2", None), ("3", Some(3)), ("", None)];
    assert_eq!(whole, expected.map(|(cursor, big)| (cursor.to_owned(), big)));
}

#[tokio::test]
async fn an_error_before_the_first_message_is_a_plain_answer() {
    let served = Served::start().await;
    for (path, status, code) in [
        ("/fixture?failWith=refuse", 409, "failed_precondition"),
        ("/fixture?failWith=boom", 503, "unavailable"),
        ("/fixture?failWith=panic", 500, "internal"),
    ] {
        let response = events(&served, path, None).await;
        assert_eq!(response.status(), status, "{path}");
        assert_eq!(header(&response, "content-type"), Some("application/problem+json"));
        let problem = document(response).await;
        assert_eq!(problem["code"], code, "{path}");
        assert!(!problem.to_string().contains("hunter2"));
    }
}

#[tokio::test]
async fn an_error_after_the_first_message_is_the_last_event() {
    let served = Served::start().await;
    for (fail_with, reason) in [("boom", "COUNTER_GONE"), ("secret", "INTERNAL"), ("panic", "INTERNAL")] {
        let response = events(&served, &format!("/fixture?upTo=1&failWith={fail_with}"), None).await;
        assert_eq!(response.status(), 200);
        let request_id = header(&response, "x-request-id").unwrap().to_owned();
        let text = response.text().await.unwrap();
        let (_, error) = text.split_once("event: error\ndata: ").unwrap();
        let problem: Value = serde_json::from_str(error.strip_suffix("\n\n").unwrap()).unwrap();
        assert_eq!(problem["reason"], reason);
        assert_eq!(problem["requestId"], json!(request_id));
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[tokio::test]
async fn a_broken_stream_leaves_the_grpc_connection_alive() {
    let served = Served::start().await;
    let mut client = served.grpc().await;
    for (fail_with, code) in
        [("boom", Code::Unavailable), ("secret", Code::Internal), ("panic", Code::Internal)]
    {
        let request = CountRequest { up_to: 1, fail_with: fail_with.to_owned(), ..CountRequest::default() };
        let mut stream = client.count(request).await.unwrap().into_inner();
        assert_eq!(stream.message().await.unwrap().unwrap().number, 1);
        let status = stream.message().await.unwrap_err();
        assert_eq!(status.code(), code, "{fail_with}");
        assert!(!status.message().contains("hunter2"));
        assert!(stream.message().await.unwrap().is_none(), "nothing follows the end");
    }
}

#[tokio::test]
async fn a_client_that_leaves_takes_its_stream_along() {
    let served = Served::start().await;
    let open = || served.operations.streams.load(Ordering::SeqCst);
    let response = events(&served, "/fixture?upTo=1&failWith=hang", None).await;
    assert_eq!(open(), 1);
    drop(response);
    eventually("the event stream is dropped", || open() == 0).await;

    let request = CountRequest { up_to: 1, fail_with: "hang".to_owned(), ..CountRequest::default() };
    let mut stream = served.grpc().await.count(request).await.unwrap().into_inner();
    assert!(stream.message().await.unwrap().is_some());
    assert_eq!(open(), 1);
    drop(stream);
    eventually("the gRPC stream is dropped", || open() == 0).await;
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_the_stream_back() {
    let served = Served::start().await;
    let total = 2_000_000_u32;
    let response = events(&served, &format!("/fixture?upTo={total}"), None).await;
    let produced = || served.operations.produced.load(Ordering::SeqCst);
    // Once buffers are full nothing more is asked for.
    let mut before = usize::MAX;
    while before != produced() {
        before = produced();
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(before > 0 && before < total as usize / 2, "{before} of {total} messages were produced unread");
    drop(response);
}

#[tokio::test(start_paused = true)]
async fn a_quiet_stream_shows_that_it_lives() {
    let served = Served::start().await;
    let mut response = events(&served, "/fixture?upTo=1&failWith=hang", None).await;
    let begun = tokio::time::Instant::now();
    let mut text = String::new();
    while !text.ends_with(":\n\n:\n\n") {
        text.push_str(std::str::from_utf8(&response.chunk().await.unwrap().unwrap()).unwrap());
    }
    let elapsed = begun.elapsed().as_secs();
    assert!((30..=31).contains(&elapsed), "two heartbeats after {elapsed} s");
}

#[tokio::test]
async fn a_stream_only_route_says_what_it_can_answer() {
    let served = Served::start().await;
    let request = served.http.get(served.url("/fixture")).header("accept", "application/json");
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 406);
    let problem = document(response).await;
    assert_eq!(problem["reason"], "NOT_ACCEPTABLE");
    assert!(problem["detail"].as_str().unwrap().contains("text/event-stream"), "{problem}");
    let response = events(&served, "/fixture/x", None).await;
    assert_eq!(response.status(), 406, "a route without a stream");
}

#[tokio::test]
async fn a_stream_ends_at_the_deadline_it_asks_for() {
    let served = Served::start().await;
    let mut request = tonic::Request::new(CountRequest {
        up_to: 1,
        fail_with: "hang".to_owned(),
        ..CountRequest::default()
    });
    request.metadata_mut().insert("grpc-timeout", "150m".parse().unwrap());
    let mut stream = served.grpc().await.count(request).await.unwrap().into_inner();
    assert!(stream.message().await.unwrap().is_some());
    let status = stream.message().await.unwrap_err();
    assert!(matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled), "{status:?}");

    let request = served
        .http
        .get(served.url("/fixture?upTo=1&failWith=hang"))
        .header("accept", "text/event-stream")
        .header("omnirelay-timeout", "150ms");
    let text = request.send().await.unwrap().text().await.unwrap();
    assert!(text.contains("\"reason\":\"DEADLINE_EXCEEDED\""), "{text}");
}
