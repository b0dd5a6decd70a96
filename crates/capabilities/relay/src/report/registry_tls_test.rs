use std::path::{Path, PathBuf};

use omnirelay_identity::authenticate::{AllowedHosts, HostAuthenticator};
use omnirelay_identity::client::{ClientCertificate, ServerTrust};
use omnirelay_identity::tls::ListenerTls;
use omnirelay_surface::{ListenerLimits, OMNIRELAY, Surface, serve_with};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tonic::Code;

use super::*;

const TIMEOUT: Duration = Duration::from_secs(5);

/// A port under TLS at which no service is, and the certificate of `localhost` that it shows.
async fn listener(place: &Path, tasks: &mut JoinSet<()>) -> (u16, PathBuf) {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (chain, key) = (place.join("cert.pem"), place.join("key.pem"));
    std::fs::write(&chain, cert.pem()).unwrap();
    std::fs::write(&key, signing_key.serialize_pem()).unwrap();
    let tls = Arc::new(ListenerTls::open(&chain, &key).unwrap());
    let surface = Surface::builder([OMNIRELAY])
        .authenticator(HostAuthenticator::new(|| true))
        .hosts(AllowedHosts::any())
        .build()
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tasks.spawn(async move {
        serve_with(listener, Some(tls), surface, ListenerLimits::default(), std::future::pending()).await;
    });
    (port, chain)
}

#[tokio::test]
async fn another_registry_is_reached_under_tls() {
    let (place, mut tasks) = (tempfile::tempdir().unwrap(), JoinSet::new());
    let (port, ca) = listener(place.path(), &mut tasks).await;
    let stranger = place.path().join("stranger.pem");
    std::fs::write(&stranger, generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap().cert.pem())
        .unwrap();
    let cases = [
        ("its own certificate", "localhost", Some(ca.as_path()), Code::Unimplemented),
        ("another name", "127.0.0.1", Some(ca.as_path()), Code::Unavailable),
        ("the certificate of another", "localhost", Some(stranger.as_path()), Code::Unavailable),
        ("public authorities", "localhost", None, Code::Unavailable),
        ("no file", "localhost", Some(Path::new("/nowhere")), Code::Unavailable),
    ];
    for (what, host, ca, code) in cases {
        let believes = ca.map_or(ServerTrust::Public, |ca| ServerTrust::File(ca.to_owned()));
        let tls = LiveTlsClient::new(believes, ClientCertificate::Nothing, Arc::default());
        let registry = OtherRegistry::under_tls(&format!("https://{host}:{port}"), TIMEOUT, tls).unwrap();
        let status = registry.heartbeat_relay("r").await.unwrap_err();
        // The listener has no registry: that it says so shows that it was reached.
        assert_eq!(status.code(), code, "{what}: {status:?}");
    }
}
