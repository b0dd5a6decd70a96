//! A client whose port changes under its connection, as behind a NAT that has forgotten it.

use std::time::Duration;

use http_body_util::BodyExt as _;
use omnirelay_transport::carrier::Carrier as _;
use omnirelay_transport::quic::{self, QuicCarrier};

use crate::lab::{Server, asked, target};

fn socket() -> std::net::UdpSocket {
    quic::bind("127.0.0.1:0".parse().unwrap()).unwrap()
}

#[tokio::test]
async fn a_connection_goes_on_from_another_port() {
    let server = Server::start().await;
    let own = quic::endpoint(socket()).unwrap();
    let carrier = QuicCarrier::new(own.clone(), quic::QuicLimits::default());
    let connection = carrier.connect(&target(server.address), &*server.tls).await.unwrap();
    for word in ["before", "after", "after"] {
        let answered =
            tokio::time::timeout(Duration::from_secs(20), connection.call(asked("/echo", word.as_bytes())));
        let answered = answered.await.expect("an answer").unwrap();
        assert_eq!(answered.into_body().collect().await.unwrap().to_bytes(), word);
        if word == "before" {
            own.rebind(socket()).unwrap();
        }
    }
    assert_eq!(server.open_over_udp(), 1, "the connection is the same");
}
