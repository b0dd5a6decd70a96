//! Connections of the daemon's own, and what ends them.

use omnirelay_pki::authority::{CertificateAuthority, ValidityPeriod};
use omnirelay_pki::certificate::TlsNames;
use omnirelay_pki::key::PrivateKey;
use omnirelay_pki::revocation::RevokedSubject;
use omnirelay_pki::trust::{ChainTrustError, TrustBundle};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tower::Service as _;

use super::*;
use crate::client::{ExpectedServers, ServerTrust};
use crate::lab::{authority, node};
use crate::tls::ListenerTls;
use crate::trust::{CertificateRefusal, MeshTrust, unix_now};

const HOUR: i64 = 3600;
const SOON: Duration = Duration::from_secs(5);

/// Where a node listens, says back what it hears, and ends no connection.
async fn listening(of: &Arc<MeshTrust>, tasks: &mut JoinSet<()>) -> Uri {
    let tls = ListenerTls::of_node(of.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tasks.spawn(async move {
        let mut open = JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(shaken) = tls.accept(stream).await else { continue };
            open.spawn(async move {
                let (mut read, mut write) = tokio::io::split(shaken.stream);
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
        }
    });
    format!("https://localhost:{port}").parse().unwrap()
}

#[tokio::test]
async fn a_connection_ends_with_whoever_is_at_either_end() {
    type Change = fn(&MeshTrust, &MeshTrust, &CertificateAuthority);
    let cases: [(&str, Change, Option<&str>); 5] = [
        (
            "another is revoked",
            |own, _, _| {
                let id = "spiffe://mesh.test/mesh/default/worker/c".parse().unwrap();
                let other = RevokedSubject::Holder(id);
                own.update(|trusted| trusted.revocations.revoke(other, unix_now(), unix_now() + HOUR, ""));
            },
            None,
        ),
        (
            "the server is revoked",
            |own, server, _| {
                let id = server.current().own.as_ref().unwrap().leaf.id.clone();
                let (id, now) = (RevokedSubject::Holder(id), unix_now());
                own.update(|trusted| trusted.revocations.revoke(id, now, now + HOUR, ""));
            },
            Some("its certificate was revoked"),
        ),
        (
            "its root is retired",
            |own, _, next| {
                let bundle = TrustBundle::of(vec![next.certificate().clone()]).unwrap();
                own.update(|trusted| trusted.bundle = Some(bundle));
            },
            Some("its authority is not trusted any more"),
        ),
        (
            "the node itself is revoked",
            |own, _, _| {
                let id = own.current().own.as_ref().unwrap().leaf.id.clone();
                let (id, now) = (RevokedSubject::Holder(id), unix_now());
                own.update(|trusted| trusted.revocations.revoke(id, now, now + HOUR, ""));
            },
            Some("its own certificate was revoked"),
        ),
        (
            "the node is nobody any more",
            |own, _, _| own.update(|trusted| trusted.own = None),
            Some("this node is nobody any more"),
        ),
    ];
    for (what, change, ends) in cases {
        let (root, next, mut tasks) = (authority(), authority(), JoinSet::new());
        let (own, server) = (node(&root, "a"), node(&root, "b"));
        let place = listening(&server, &mut tasks).await;
        let servers = ServerTrust::Mesh(ExpectedServers::Nodes);
        let tls = LiveTlsClient::new(servers, ClientCertificate::Node, own.clone());
        let mut connector = LiveTlsConnector::new(tls, SOON);
        let mut stream = connector.call(place.clone()).await.unwrap().into_inner();
        let mut heard = [0; 2];
        stream.write_all(b"hi").await.unwrap();
        stream.read_exact(&mut heard).await.unwrap();
        change(&own, &server, &next);
        let waited = if ends.is_some() { SOON } else { Duration::from_millis(500) };
        let read = tokio::time::timeout(waited, stream.read_exact(&mut heard)).await;
        let Some(why) = ends else {
            read.expect_err("it goes on");
            stream.write_all(b"ho").await.unwrap();
            stream.read_exact(&mut heard).await.unwrap();
            continue;
        };
        let error = read.expect("in time").unwrap_err();
        assert!(
            error.kind() == io::ErrorKind::ConnectionAborted && error.to_string().contains(why),
            "{what}: {error}"
        );
        assert!(stream.write_all(b"ho").await.is_err(), "{what}: nothing is sent any more");
    }
}

/// A name in a certificate that has ended is made up as easily as any other, unless an authority has signed it.
#[test]
fn who_has_signed_a_certificate_is_known_after_its_end() {
    let (root, stranger, now) = (authority(), authority(), unix_now());
    let trusted = node(&root, "a").current();
    let past = ValidityPeriod { not_before: now - HOUR / 2, not_after: now - HOUR / 4 };
    let chain = |by: &CertificateAuthority, validity: ValidityPeriod| {
        let key = PrivateKey::make().unwrap();
        let id = "spiffe://mesh.test/operator/ann".parse().unwrap();
        let request =
            omnirelay_pki::request::CertificateRequest::make(&key, Some(&id), &TlsNames::default()).unwrap();
        let request = omnirelay_pki::request::CertificateRequest::read(&request).unwrap();
        vec![by.issue(&request, &id, &TlsNames::default(), validity).unwrap().der]
    };
    for validity in [past, root.validity()] {
        let (refused, later) = (CertificateRefusal::Untrusted(ChainTrustError::Expired), now + 2 * HOUR);
        assert!(trusted.has_signed(&chain(&root, validity), &refused, later));
        assert!(!trusted.has_signed(&chain(&stranger, validity), &refused, later));
    }
    let refused = trusted.judge(&chain(&root, past), now, ChainUsage::Client).unwrap_err();
    assert!(trusted.has_signed(&chain(&root, past), &refused, now));
    // What leads nowhere is not verified again.
    let unknown = CertificateRefusal::Untrusted(ChainTrustError::UnknownIssuer);
    assert!(!trusted.has_signed(&chain(&root, root.validity()), &unknown, now));
}
