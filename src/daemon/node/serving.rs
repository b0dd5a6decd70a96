//! A listener at work, and its end.

use std::net::TcpListener;
use std::sync::Arc;

use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

use super::NodeError;
use crate::daemon::surface::{Drained, Limits, Surface, Tls, serve_with};

/// Stops what serves.
pub(super) struct Serving {
    stop: Option<oneshot::Sender<()>>,
    served: watch::Receiver<Option<Drained>>,
}

impl Serving {
    /// Begins to serve, as one of `tasks`.
    pub(super) fn begin(
        tasks: &mut JoinSet<()>,
        listener: TcpListener,
        tls: Option<Arc<Tls>>,
        surface: Surface,
        limits: Limits,
    ) -> Result<Self, NodeError> {
        let listener = asynchronous(listener)?;
        let (stop, stopped) = oneshot::channel();
        let (say_served, served) = watch::channel(None);
        tasks.spawn(async move {
            // A dropped sender means the node is being dropped, and this task with it.
            let stop = async { drop(stopped.await) };
            let drained = serve_with(listener, tls, surface, limits, stop).await;
            say_served.send_replace(Some(drained));
        });
        Ok(Self { stop: Some(stop), served })
    }

    /// Takes no more connections, ends streams, and lets calls finish.
    pub(super) async fn stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // It may have ended by itself.
            let _ = stop.send(());
        }
        let drained = self.served.wait_for(Option::is_some).await.map_or(None, |drained| *drained);
        if let Some(Drained { cut }) = drained
            && cut > 0
        {
            tracing::warn!(cut, "connections were cut at the end of the grace period");
        }
    }
}

/// How many of the connections of a listener one address may have.
pub(super) fn per_address_max(connections_max: usize, configured: Option<usize>) -> usize {
    configured.unwrap_or(connections_max.div_ceil(4))
}

/// The listener for this runtime.
pub(super) fn asynchronous(listener: TcpListener) -> Result<tokio::net::TcpListener, NodeError> {
    listener.set_nonblocking(true).map_err(NodeError::Listen)?;
    tokio::net::TcpListener::from_std(listener).map_err(NodeError::Listen)
}
