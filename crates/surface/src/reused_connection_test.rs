//! Connections that wait to be used again, and what ends them.

use std::sync::Arc;
use std::time::Duration;

use omnirelay_identity::client::{ClientCertificate, ExpectedServers, LiveTlsClient, ServerTrust};
use omnirelay_identity::connector::LiveHttpClient;
use omnirelay_identity::lab::{authority, node};
use omnirelay_identity::tls::ListenerTls;
use omnirelay_identity::trust::unix_now;
use omnirelay_pki::revocation::RevokedSubject;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

const SOON: Duration = Duration::from_secs(5);

/// Whoever posts has the connection of before only as long as its other end is somebody.
#[tokio::test]
async fn what_waits_to_be_used_again_ends_as_well() {
    let (root, mut tasks) = (authority(), JoinSet::new());
    let (own, server) = (node(&root, "a"), node(&root, "b"));
    let surface = crate::Surface::builder([crate::OMNIRELAY])
        .authenticator(omnirelay_identity::proof::RefusingAuthenticator)
        .hosts(omnirelay_identity::authenticate::AllowedHosts::any())
        .build()
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url: reqwest::Url =
        format!("https://localhost:{}/x", listener.local_addr().unwrap().port()).parse().unwrap();
    let tls = Arc::new(ListenerTls::of_node(server.clone()));
    tasks.spawn(async move {
        let limits = crate::ListenerLimits::default();
        crate::serve_with(listener, Some(tls), surface, limits, std::future::pending()).await;
    });
    let http = LiveHttpClient::new(
        LiveTlsClient::new(
            ServerTrust::Mesh(ExpectedServers::Nodes),
            ClientCertificate::Nothing,
            own.clone(),
        ),
        SOON,
    );
    let post = || http.post(&url, "text/plain", Vec::new());
    assert_eq!(post().await.unwrap().status(), http::StatusCode::NOT_FOUND);
    assert_eq!(post().await.unwrap().status(), http::StatusCode::NOT_FOUND);
    let id = server.current().own.as_ref().unwrap().leaf.id.clone();
    own.update(|trusted| trusted.revocations.revoke(RevokedSubject::Holder(id), unix_now(), i64::MAX, ""));
    let refused = async {
        while post().await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(SOON, refused).await.expect("no connection is left, and none begins");
    let error = post().await.unwrap_err();
    assert!(error.is_connect(), "{error:?}");
}
