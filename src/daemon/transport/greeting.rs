//! The greeting: a connection counts once the node at its other end has answered, and both speak one version.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::future::BoxFuture;
use omnirelay_transport::carrier::{Carrier, ClientTls, ConnectError, Connection, Protocol, Target};

use super::channel::MeshChannel;

/// How long the other node may take to answer.
pub const WITHIN: Duration = Duration::from_secs(3);

/// What a node has said that was greeted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Greeted {
    /// The number of the list of revocations that it judges by.
    pub revocations_number: u64,
}

/// Greets whoever is at the other end of a channel; why not, in words.
pub type Greet = Box<dyn Fn(MeshChannel) -> BoxFuture<'static, Result<Greeted, String>> + Send + Sync>;

/// Opens connections by another carrier, and greets who is there.
pub struct Greeting {
    carrier: Arc<dyn Carrier>,
    greet: Arc<OnceLock<Greet>>,
}

impl Greeting {
    pub fn new(carrier: Arc<dyn Carrier>, greet: Arc<OnceLock<Greet>>) -> Self {
        Self { carrier, greet }
    }

    async fn greeted(&self, to: &Target, tls: &dyn ClientTls) -> Result<Arc<dyn Connection>, ConnectError> {
        let connection = self.carrier.connect(to, tls).await?;
        let greet = self.greet.get().ok_or_else(|| ConnectError::Failed("nobody greets yet".into()))?;
        let greeted = greet(MeshChannel::over(connection.clone()).within(WITHIN)).await;
        greeted.map_err(|why| ConnectError::Failed(why.into()))?;
        Ok(connection)
    }
}

impl Carrier for Greeting {
    fn protocol(&self) -> Protocol {
        self.carrier.protocol()
    }

    fn connect<'a>(
        &'a self,
        to: &'a Target,
        tls: &'a dyn ClientTls,
    ) -> BoxFuture<'a, Result<Arc<dyn Connection>, ConnectError>> {
        Box::pin(self.greeted(to, tls))
    }
}
