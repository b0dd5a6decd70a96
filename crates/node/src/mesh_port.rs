//! The mesh port: taken once the node is somebody, and served over TCP and UDP by one number.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use omnirelay_host::live::Live;
use omnirelay_identity::tls::ListenerTls;
use omnirelay_surface::{ConnectionCompanion, DrainOutcome, ListenerLimits, Surface, serve_quic, serve_with};
use omnirelay_transport::quic;
use tokio::sync::watch;

use super::asynchronous;

/// How soon a port is tried again that cannot be had.
const AGAIN: Duration = Duration::from_secs(2);
/// How many free ports are tried where any will do: one that is free for TCP may be taken for UDP.
const TRIES: usize = 16;

/// State of the mesh port.
#[derive(Clone, Debug, Default)]
pub enum MeshPort {
    /// The node is nobody yet, and has nothing to show there.
    #[default]
    NotEnrolled,
    /// Why it cannot be had.
    Taken(String),
    Open(OpenMeshPort),
}

/// The mesh port, where it is served.
#[derive(Clone, Debug)]
pub struct OpenMeshPort {
    pub address: SocketAddr,
    /// What is used to call others over UDP as well; `None`: HTTP/3 is switched off.
    pub udp: Option<quinn::Endpoint>,
}

/// A port that is taken once the node is somebody.
pub struct LatePort {
    pub address: SocketAddr,
    /// Whether it is served over UDP too.
    pub http3: bool,
    /// Where it is told how the port stands.
    pub state: Arc<watch::Sender<MeshPort>>,
    /// What is done with connections over UDP beside.
    pub beside: ConnectionCompanion,
}

impl LatePort {
    /// Serves it until `stop` is ready.
    pub async fn serve(
        self,
        tls: Arc<ListenerTls>,
        surface: Surface,
        limits: Live<ListenerLimits>,
        stop: impl Future<Output = ()>,
    ) -> DrainOutcome {
        let mut stop = std::pin::pin!(stop);
        let taken = tokio::select! {
            () = &mut stop => return DrainOutcome { cut: 0 },
            taken = self.take(&tls) => taken,
        };
        let (tcp, open) = taken;
        let (stopping, stopped) = watch::channel(false);
        let until = |mut stopped: watch::Receiver<bool>| async move {
            let _ = stopped.wait_for(|stopped| *stopped).await;
        };
        let over_udp = async {
            match open.udp {
                Some(udp) => {
                    let surface = (surface.clone(), Some(self.beside.clone()));
                    serve_quic(udp, Some(tls.clone()), surface, limits.clone(), until(stopped.clone())).await
                }
                None => DrainOutcome { cut: 0 },
            }
        };
        let over_tcp =
            serve_with(tcp, Some(tls.clone()), surface.clone(), limits.clone(), until(stopped.clone()));
        let stopping = async {
            stop.await;
            stopping.send_replace(true);
        };
        let (tcp, udp, ()) = tokio::join!(over_tcp, over_udp, stopping);
        DrainOutcome { cut: tcp.cut + udp.cut }
    }

    /// Takes the port, as soon as that can be.
    async fn take(&self, tls: &ListenerTls) -> (tokio::net::TcpListener, OpenMeshPort) {
        tls.shows().await;
        loop {
            match bind(self.address, self.http3) {
                Ok((tcp, open)) => {
                    tracing::info!(mesh = %open.address, http3 = open.udp.is_some(), "mesh port listens");
                    self.state.send_replace(MeshPort::Open(open.clone()));
                    return (tcp, open);
                }
                Err(error) => {
                    let address = self.address;
                    let what = format!(
                        "cannot listen on {address}: {error}; choose another address with --mesh-listen"
                    );
                    if !matches!(&*self.state.borrow(), MeshPort::Taken(_)) {
                        tracing::warn!(mesh = %address, %error, "mesh port not taken; it is tried again");
                    }
                    self.state.send_replace(MeshPort::Taken(what));
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
    }
}

/// Takes a port for TCP, and for UDP by the same number.
fn bind(address: SocketAddr, http3: bool) -> io::Result<(tokio::net::TcpListener, OpenMeshPort)> {
    let mut tries = if address.port() == 0 { TRIES } else { 1 };
    loop {
        tries -= 1;
        let tcp = TcpListener::bind(address)?;
        let bound = tcp.local_addr()?;
        let udp = match http3.then(|| quic::bind(bound).and_then(quic::endpoint)).transpose() {
            Ok(udp) => udp,
            Err(_) if tries > 0 => continue,
            Err(error) => return Err(error),
        };
        let tcp = asynchronous(tcp).map_err(io::Error::other)?;
        return Ok((tcp, OpenMeshPort { address: bound, udp }));
    }
}
