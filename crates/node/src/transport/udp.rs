//! QUIC by the socket of the mesh port, once there is one.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use omnirelay_transport::carrier::{
    CallTarget, Carrier, ClientTls, ConnectError, Connection, ConnectionProtocol,
};
use omnirelay_transport::quic::{QuicCarrier, QuicLimits};
use tokio::sync::watch;

/// Opens connections over UDP as soon as the node has a port for it.
pub(super) struct LateUdp(watch::Receiver<Option<quinn::Endpoint>>);

impl LateUdp {
    pub(super) fn new(endpoint: watch::Receiver<Option<quinn::Endpoint>>) -> Self {
        Self(endpoint)
    }
}

impl Carrier for LateUdp {
    fn protocol(&self) -> ConnectionProtocol {
        ConnectionProtocol::Http3
    }

    fn connect<'a>(
        &'a self,
        to: &'a CallTarget,
        tls: &'a dyn ClientTls,
    ) -> BoxFuture<'a, Result<Arc<dyn Connection>, ConnectError>> {
        let endpoint = self.0.borrow().clone();
        Box::pin(async move {
            match endpoint {
                Some(endpoint) => {
                    QuicCarrier::new(endpoint, QuicLimits::default().among_nodes()).connect(to, tls).await
                }
                None => Err(ConnectError::Failed("the mesh port of this node is not open".into())),
            }
        })
    }
}
