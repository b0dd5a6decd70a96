//! The greeting: a connection counts once the node at its other end has answered, and both speak one version.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use omnirelay_transport::carrier::{
    CallTarget, Carrier, ClientTls, ConnectError, Connection, ConnectionProtocol,
};

use super::CalledMesh;
use super::channel::MeshChannel;

/// How long the other node may take to answer.
pub(super) const WITHIN: Duration = Duration::from_secs(3);

/// Answer of a node that was greeted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GreetingAnswer {
    pub node_id: String,
    /// The number of the list of revocations that it judges by.
    pub revocations_number: u64,
    /// Which start of the node this is; 0: it does not say.
    pub instance: u64,
}

/// Opens connections by another carrier, and greets who is there.
pub(super) struct CarrierGreeting {
    pub carrier: Arc<dyn Carrier>,
    pub mesh: Arc<dyn CalledMesh>,
}

impl CarrierGreeting {
    async fn greeted(
        &self,
        to: &CallTarget,
        tls: &dyn ClientTls,
    ) -> Result<Arc<dyn Connection>, ConnectError> {
        let connection = self.carrier.connect(to, tls).await?;
        let greeted = self.mesh.greet(MeshChannel::over(connection.clone()).within(WITHIN)).await;
        greeted.map_err(|why| ConnectError::Failed(why.into()))?;
        Ok(connection)
    }
}

impl Carrier for CarrierGreeting {
    fn protocol(&self) -> ConnectionProtocol {
        self.carrier.protocol()
    }

    fn connect<'a>(
        &'a self,
        to: &'a CallTarget,
        tls: &'a dyn ClientTls,
    ) -> BoxFuture<'a, Result<Arc<dyn Connection>, ConnectError>> {
        Box::pin(self.greeted(to, tls))
    }
}
