//! How large requests may be: each method has its own limit, the same over HTTP and gRPC.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::Request;
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use omnirelay_fixture::fixture::v1::{EchoRequest, Numbers, OfferRequest};
use omnirelay_identity::caller::PeerInfo;
use omnirelay_wire::fault::Fault;
use serde_json::json;
use tonic::body::Body;
use tonic::codec::CompressionEncoding;
use tonic::{Code, Status};

use crate::fixture::{Served, json as document};

const MIB: usize = 1024 * 1024;

fn offer(text_bytes: usize) -> OfferRequest {
    let offer = Numbers { text: "x".repeat(text_bytes), ..Numbers::default() };
    OfferRequest { name: "a".to_owned(), offer: Some(offer), ..OfferRequest::default() }
}

fn echo(text_bytes: usize) -> EchoRequest {
    EchoRequest { name: "a".to_owned(), maybe: Some("x".repeat(text_bytes)), ..EchoRequest::default() }
}

#[tokio::test]
async fn a_method_takes_over_http_what_its_policy_allows() {
    let served = Served::start().await;
    let offered = |bytes: usize| json!({"offer": {"text": "x".repeat(bytes)}}).to_string();
    let cases = [
        // what, path, body, status
        ("15 MiB", "/origin/a/offers", offered(15 * MIB), 200),
        ("15 MiB on its other route", "/plain/a/offers", offered(15 * MIB), 200),
        ("more than 16 MiB", "/plain/a/offers", offered(16 * MIB), 413),
        (
            "2 MiB for another method",
            "/fixture/a:echo",
            json!({"maybe": "x".repeat(2 * MIB)}).to_string(),
            413,
        ),
        (
            "5000 bytes for one that takes few",
            "/lenient/a",
            json!({"maybe": "x".repeat(5000)}).to_string(),
            413,
        ),
    ];
    for (what, path, body, status) in cases {
        let response = served.post(path, body).await;
        assert_eq!(response.status(), status, "{what}");
        let answer = document(response).await;
        match status {
            200 => assert_eq!(
                answer["textBytes"].to_string().trim_matches('"'),
                (15 * MIB).to_string(),
                "{what}"
            ),
            _ => assert_eq!(answer["reason"], "BODY_TOO_LARGE", "{what}"),
        }
    }
}

#[tokio::test]
async fn a_body_whose_message_is_larger_than_itself_is_taken() {
    let served = Served::start().await;
    // `-1` is two bytes of JSON and ten of a message.
    let list = vec![-1; 2 * MIB];
    let response = served.post("/origin/a/offers", json!({"offer": {"list": list}}).to_string()).await;
    assert_eq!(response.status(), 200);
}

#[tokio::test]
async fn a_method_takes_over_grpc_what_its_policy_allows() {
    let served = Served::start().await;
    for compressed in [false, true] {
        let mut client = served.grpc().await;
        if compressed {
            client = client.send_compressed(CompressionEncoding::Gzip);
        }
        let taken = client.offer(offer(15 * MIB)).await.unwrap().into_inner();
        assert_eq!(taken.text_bytes, 15 * MIB as u64);
        let refusals = [
            ("more than 16 MiB", client.offer(offer(16 * MIB)).await.unwrap_err(), 16 * MIB),
            ("2 MiB for another method", client.echo(echo(2 * MIB)).await.unwrap_err(), MIB),
            ("5000 bytes for one that takes few", client.lenient(echo(5000)).await.unwrap_err(), 4096),
        ];
        for (what, status, limit) in refusals {
            assert_eq!(status.code(), Code::InvalidArgument, "{what}, compressed {compressed}: {status:?}");
            let fault = Fault::from(&status);
            assert_eq!(fault.reason, "BODY_TOO_LARGE", "{what}, compressed {compressed}");
            let says = format!("larger than the {limit} bytes");
            assert!(fault.message.contains(&says), "{what}, compressed {compressed}: {}", fault.message);
        }
        client.echo(echo(MIB - 100)).await.unwrap();
    }
}

#[tokio::test]
async fn a_message_that_is_too_large_is_refused_by_its_head() {
    let served = Served::start().await;
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&sent);
    // It says that it has 2 MiB, and then nothing comes.
    let head = [&[0], &u32::try_from(2 * MIB).unwrap().to_be_bytes()[..]].concat();
    let pieces = futures_util::stream::unfold(Some(head), move |head| {
        let counted = Arc::clone(&counted);
        async move {
            let Some(head) = head else { return std::future::pending().await };
            counted.fetch_add(head.len(), Ordering::SeqCst);
            Some((Ok::<_, Status>(Frame::data(Bytes::from(head))), None))
        }
    });
    let request = Request::post("/fixture.v1.FixtureService/Echo")
        .header("content-type", "application/grpc")
        .body(Body::new(StreamBody::new(pieces)))
        .unwrap();
    let peer = PeerInfo::at("127.0.0.1:1".parse().unwrap(), None);
    let response = served.surface.handle(request, &peer).await;
    let status = match Status::from_header_map(response.headers()) {
        Some(status) => status,
        None => {
            let collected = response.into_body().collect().await.unwrap();
            Status::from_header_map(collected.trailers().unwrap()).unwrap()
        }
    };
    assert_eq!(Fault::from(&status).reason, "BODY_TOO_LARGE", "{status:?}");
    assert_eq!(sent.load(Ordering::SeqCst), 5);
}
