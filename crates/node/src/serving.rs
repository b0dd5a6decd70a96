//! A listener at work, and its end.

use std::net::TcpListener;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::future::join_all;
use omnirelay_identity::socket::WAITING_MAX;
use omnirelay_surface::{DrainOutcome, RequestObserver, serve_quic, serve_unix, serve_with};
use omnirelay_transport::quic;
use tokio::sync::{oneshot, watch};

use super::NodeError;
use super::node_builder::PhaseTasks;
use super::ports::{PortState, ServedPort};

/// All listeners of one surface, which are stopped together.
pub(super) struct SurfaceListeners(Vec<RunningListener>);

struct RunningListener {
    stop: Option<oneshot::Sender<()>>,
    served: watch::Receiver<Option<DrainOutcome>>,
}

impl SurfaceListeners {
    /// Begins to serve a port, as one of `tasks`; and its socket if it has one, whose file goes when that ends.
    pub(super) fn begin(
        tasks: &mut PhaseTasks,
        port: ServedPort,
        observer: Arc<dyn RequestObserver>,
    ) -> Result<Self, NodeError> {
        let ServedPort { listens, socket, udp, tls, limits, surface } = port;
        let udp = udp.map(quic::endpoint).transpose().map_err(NodeError::Listen)?;
        let surface = surface.observer(observer).build()?;
        let (over_udp, shared) = (udp.map(|udp| (udp, tls.clone())), surface.clone());
        let bounds = limits.clone();
        let first = match (listens, tls.get()) {
            (PortState::Taken(listener), _) => {
                let listener = asynchronous(listener)?;
                RunningListener::begin(tasks, |stop| serve_with(listener, tls, shared, bounds, stop))
            }
            (PortState::Late(late), Some(tls)) => {
                RunningListener::begin(tasks, |stop| late.serve(tls, shared, bounds, stop))
            }
            // Nobody has anything to show there.
            (PortState::Late(_), None) => return Ok(Self(Vec::new())),
        };
        let mut serving = Self(vec![first]);
        if let Some((udp, tls)) = over_udp {
            let (shared, bounds) = (surface.clone(), limits.clone());
            serving.0.push(RunningListener::begin(tasks, |stop| {
                serve_quic(udp, tls, (shared, None), bounds, stop)
            }));
        }
        if let Some(socket) = socket {
            let listener = socket.listener().map_err(NodeError::Listen)?;
            listener.set_nonblocking(true).map_err(NodeError::Listen)?;
            let listener = tokio::net::UnixListener::from_std(listener).map_err(NodeError::Listen)?;
            serving.0.push(RunningListener::begin(tasks, |stop| async move {
                let drained = serve_unix(listener, surface, limits, stop).await;
                drop(socket);
                drained
            }));
        }
        Ok(serving)
    }

    /// Takes no more connections, ends streams, and lets calls finish.
    pub(super) async fn stop(&mut self) {
        join_all(self.0.iter_mut().map(RunningListener::stop)).await;
    }
}

/// Is ready when a listener is told to stop.
type StopNotice = Pin<Box<dyn Future<Output = ()> + Send>>;

impl RunningListener {
    fn begin<F>(tasks: &mut PhaseTasks, serve: impl FnOnce(StopNotice) -> F) -> Self
    where
        F: Future<Output = DrainOutcome> + Send + 'static,
    {
        let (stop, stopped) = oneshot::channel();
        let (say_served, served) = watch::channel(None);
        // A dropped sender means the node is being dropped, and this task with it.
        let serving = serve(Box::pin(async { drop(stopped.await) }));
        tasks.spawn(async move {
            say_served.send_replace(Some(serving.await));
        });
        Self { stop: Some(stop), served }
    }

    async fn stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // It may have ended by itself.
            let _ = stop.send(());
        }
        let drained = self.served.wait_for(Option::is_some).await.map_or(None, |drained| *drained);
        if let Some(DrainOutcome { cut }) = drained
            && cut > 0
        {
            tracing::warn!(cut, "connections were cut at the end of the grace period");
        }
    }
}

/// Largest number of the connections of a listener that one address may have.
pub fn per_address_max(connections_max: usize, configured: Option<usize>) -> usize {
    configured.unwrap_or(connections_max.div_ceil(4))
}

/// The listener for this runtime, with more room for those who wait than the standard library asks for, which is 128.
///
/// # Errors
/// [`NodeError::Listen`].
pub fn asynchronous(listener: TcpListener) -> Result<tokio::net::TcpListener, NodeError> {
    listener.set_nonblocking(true).map_err(NodeError::Listen)?;
    rustix::net::listen(&listener, WAITING_MAX).map_err(|error| NodeError::Listen(error.into()))?;
    tokio::net::TcpListener::from_std(listener).map_err(NodeError::Listen)
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn as_many_may_wait_as_connect_in_a_flood() {
        let listener = asynchronous(TcpListener::bind("127.0.0.1:0").unwrap()).unwrap();
        let at = listener.local_addr().unwrap();
        // The system answers them; whoever finds no room is not answered.
        let waiting: Vec<TcpStream> =
            (0..400).map(|_| TcpStream::connect_timeout(&at, Duration::from_secs(5)).unwrap()).collect();
        assert_eq!(waiting.len(), 400);
    }
}
