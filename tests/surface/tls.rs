//! The listener under TLS, with clients that check its certificate.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use omnirelay_fixture::fixture::v1::EchoRequest;
use omnirelay_fixture::fixture::v1::fixture_service_client::FixtureServiceClient;
use omnirelay_identity::tls::{ListenerTls, TlsError};
use omnirelay_surface::ListenerLimits;
use omnirelay_wire::pem_file::PemFault;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint, Uri};

use crate::fixture::Served;

/// Files of a certificate for `localhost`.
struct Files {
    place: tempfile::TempDir,
}

impl Files {
    fn new() -> Self {
        Self { place: tempfile::tempdir().unwrap() }
    }

    fn cert(&self) -> PathBuf {
        self.place.path().join("cert.pem")
    }

    fn key(&self) -> PathBuf {
        self.place.path().join("key.pem")
    }

    /// Writes a new certificate with its key.
    fn write(&self) -> CertificateDer<'static> {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        std::fs::write(self.cert(), cert.pem()).unwrap();
        std::fs::write(self.key(), signing_key.serialize_pem()).unwrap();
        cert.der().clone()
    }

    fn open(&self) -> Result<ListenerTls, TlsError> {
        ListenerTls::open(&self.cert(), &self.key())
    }
}

/// A connection that trusts this certificate only, and speaks one of these protocols.
async fn connect(
    served: &Served,
    trusted: &CertificateDer<'static>,
    protocols: &[&str],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    let stream = TcpStream::connect(served.address).await?;
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

async fn channel(stream: TlsStream<TcpStream>) -> Channel {
    let mut stream = Some(TokioIo::new(stream));
    let connector = tower::service_fn(move |_: Uri| {
        let stream = stream.take().ok_or(std::io::ErrorKind::NotConnected);
        async move { stream.map_err(std::io::Error::from) }
    });
    Endpoint::from_static("http://localhost").connect_with_connector(connector).await.unwrap()
}

async fn served_with(files: &Files, limits: ListenerLimits) -> (Served, Arc<ListenerTls>) {
    let tls = Arc::new(files.open().unwrap());
    (Served::start_under(Some(tls.clone()), |builder| builder, limits).await, tls)
}

async fn get(mut stream: TlsStream<TcpStream>) -> String {
    stream
        .write_all(b"GET /fixture/x HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn the_version_is_what_was_agreed_on() {
    let files = Files::new();
    let trusted = files.write();
    let (served, _tls) = served_with(&files, ListenerLimits::default()).await;
    for protocols in [&["h2"][..], &["http/1.1", "h2"]] {
        let stream = connect(&served, &trusted, protocols).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let mut client = FixtureServiceClient::new(channel(stream).await);
        let request = EchoRequest { name: "x".to_owned(), ..EchoRequest::default() };
        assert_eq!(client.find(request.clone()).await.unwrap().into_inner().request, Some(request));
    }
    for protocols in [&["http/1.1"][..], &[]] {
        let answer = get(connect(&served, &trusted, protocols).await.unwrap()).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{protocols:?}: {answer}");
    }
    assert!(connect(&served, &trusted, &["spdy/3"]).await.is_err());
}

#[tokio::test]
async fn bad_handshakes_stop_nobody() {
    let files = Files::new();
    let trusted = files.write();
    let limits =
        ListenerLimits { header_read_timeout: Duration::from_millis(300), ..ListenerLimits::default() };
    let (mut served, _tls) = served_with(&files, limits).await;
    for begun in [&b""[..], b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n", b"\x16\x03\x01", b"\xff\xff\xff"] {
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        stream.write_all(begun).await.unwrap();
        let mut rest = Vec::new();
        let closed = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut rest)).await;
        assert!(closed.is_ok(), "still open: {begun:?}");
    }
    let stranger = generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    assert!(connect(&served, stranger.cert.der(), &["h2"]).await.is_err());
    let answer = get(connect(&served, &trusted, &["http/1.1"]).await.unwrap()).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let _silent = TcpStream::connect(served.address).await.unwrap();
    served.stop();
    assert_eq!(served.stopped().await.cut, 0);
}

#[tokio::test]
async fn a_new_certificate_is_for_those_who_come_later() {
    let files = Files::new();
    let old = files.write();
    let (served, tls) = served_with(&files, ListenerLimits::default()).await;
    let mut before = FixtureServiceClient::new(channel(connect(&served, &old, &["h2"]).await.unwrap()).await);
    std::fs::write(files.cert(), "no certificate").unwrap();
    assert!(matches!(tls.reload(), Err(TlsError::Content { fault: PemFault::NoCertificate, .. })));
    assert!(connect(&served, &old, &["h2"]).await.is_ok(), "the old one stays");
    let new = files.write();
    tls.reload().unwrap();
    assert!(connect(&served, &old, &["h2"]).await.is_err());
    assert!(connect(&served, &new, &["h2"]).await.is_ok());
    let request = EchoRequest { name: "x".to_owned(), ..EchoRequest::default() };
    assert!(before.find(request).await.is_ok(), "who was there is not disturbed");
}

#[tokio::test]
async fn files_that_cannot_be_used_are_named() {
    let files = Files::new();
    let named = |what: &str, name: &str| {
        let error = files.open().err().unwrap();
        assert!(error.to_string().contains(name), "{what}: {error}");
        error
    };
    assert!(matches!(named("no files", "cert.pem"), TlsError::Read { .. }));
    files.write();
    let key = std::fs::read(files.key()).unwrap();
    std::fs::write(files.key(), "no key").unwrap();
    let no_key = named("no key", "key.pem");
    assert!(matches!(no_key, TlsError::Content { fault: PemFault::NoKey, .. }), "{no_key}");
    files.write();
    std::fs::write(files.key(), key).unwrap();
    assert!(matches!(named("another's key", "cert.pem"), TlsError::Pair { .. }));
    std::fs::write(files.cert(), vec![b'x'; 2 << 20]).unwrap();
    assert!(matches!(named("too long", "cert.pem"), TlsError::Read { .. }));
}
