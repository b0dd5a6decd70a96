//! The listener at a unix socket: the kernel says who calls.

use std::sync::Arc;

use hyper_util::server::graceful::Watcher;
use omnirelay_host::live::Live;
use omnirelay_host::users::{Uid, user_name};
use omnirelay_identity::caller::PeerInfo;
use tokio::net::{UnixListener, UnixStream};

use super::Surface;
use super::authority::SocketAuthority;
use super::preface::HttpVersion;
use super::serve::{AdmissionDoor, DrainOutcome, ListenerLimits, ListenerState, accept_all, begun, speak};

/// As [`super::serve`], for users of this host: each connection is of the user that has made it.
pub async fn serve_unix(
    listener: UnixListener,
    surface: Surface,
    limits: impl Into<Live<ListenerLimits>>,
    shutdown: impl Future<Output = ()>,
) -> DrainOutcome {
    let line = ListenerState::of(surface, limits.into());
    let begin = |line, _: &AdmissionDoor, _, (stream, _), watcher| Some(connection(line, stream, watcher));
    accept_all(async move || listener.accept().await, line, begin, shutdown).await
}

async fn connection(line: Arc<ListenerState>, stream: UnixStream, watcher: Watcher) {
    let uid = match stream.peer_cred() {
        Ok(credentials) => Uid(credentials.uid()),
        Err(error) => {
            tracing::warn!(%error, "connection closed: the system does not say whose it is");
            return;
        }
    };
    // The file of users may be far away, and then other connections must not wait for it.
    let Ok(name) = tokio::task::spawn_blocking(move || user_name(uid)).await else { return };
    let peer = Arc::new(PeerInfo::of_user(name));
    match begun(&stream, &line).await {
        Some(HttpVersion::Http1) => speak(&line, HttpVersion::Http1, stream, peer, watcher).await,
        Some(HttpVersion::Http2) => {
            speak(&line, HttpVersion::Http2, SocketAuthority::new(stream), peer, watcher).await;
        }
        None => tracing::debug!("connection to the socket closed: it said too little to be HTTP"),
    }
}
