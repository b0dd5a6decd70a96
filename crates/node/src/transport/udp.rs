//! QUIC by the socket of the mesh port, once there is one.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use omnirelay_transport::carrier::{Carrier, ClientTls, ConnectError, Connection, Protocol, Target};
use omnirelay_transport::quic::{Limits, Quic};
use tokio::sync::watch;

/// Opens connections over UDP as soon as the node has a port for it.
pub struct LateUdp(watch::Receiver<Option<quinn::Endpoint>>);

impl LateUdp {
    pub fn new(endpoint: watch::Receiver<Option<quinn::Endpoint>>) -> Self {
        Self(endpoint)
    }
}

impl Carrier for LateUdp {
    fn protocol(&self) -> Protocol {
        Protocol::Http3
    }

    fn connect<'a>(
        &'a self,
        to: &'a Target,
        tls: &'a dyn ClientTls,
    ) -> BoxFuture<'a, Result<Arc<dyn Connection>, ConnectError>> {
        let endpoint = self.0.borrow().clone();
        Box::pin(async move {
            match endpoint {
                Some(endpoint) => Quic::new(endpoint, Limits::default().among_nodes()).connect(to, tls).await,
                None => Err(ConnectError::Failed("the mesh port of this node is not open".into())),
            }
        })
    }
}
