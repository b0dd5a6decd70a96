//! Measuring: how long it takes to reach a node by one carrier.

use std::time::{Duration, Instant};

use omnirelay_core::text::chain;
use omnirelay_transport::carrier::ConnectionProtocol;

use super::channel::MeshChannel;
use super::greeting::WITHIN;
use super::{NodeTransport, UncallableNode};

/// How long one carrier is measured: no further call is begun after it.
const BUDGET: Duration = Duration::from_secs(6);

/// Measurement of how a node was reached by one carrier.
#[derive(Clone, Debug, Default)]
pub struct CarrierMeasurement {
    /// How long it took to have a connection, greeting included; `None`: there was none.
    pub connect: Option<Duration>,
    /// How long each call took that was answered.
    pub rtts: Vec<Duration>,
    /// How many calls were not.
    pub lost: usize,
    /// Why there was no connection, or why the last call was not answered.
    pub error: Option<String>,
}

impl NodeTransport {
    /// Calls a node so many times over a connection of its own, by this version of HTTP.
    ///
    /// # Errors
    /// [`UncallableNode`].
    pub async fn measure(
        &self,
        node: &str,
        protocol: ConnectionProtocol,
        count: usize,
    ) -> Result<CarrierMeasurement, UncallableNode> {
        let (peer, started) = (self.peer(node)?, Instant::now());
        let connection = match peer.measured(protocol).await {
            Ok(connection) => connection,
            Err(error) => {
                return Ok(CarrierMeasurement {
                    error: Some(chain(&error)),
                    ..CarrierMeasurement::default()
                });
            }
        };
        let mut measured =
            CarrierMeasurement { connect: Some(started.elapsed()), ..CarrierMeasurement::default() };
        let channel = MeshChannel::over(connection).within(WITHIN);
        for _ in 0..count {
            // Whoever asks waits no longer; what there is, is told.
            if started.elapsed() > BUDGET {
                break;
            }
            let begun = Instant::now();
            match self.mesh.greet(channel.clone()).await {
                Ok(_) => measured.rtts.push(begun.elapsed()),
                Err(why) => {
                    measured.lost += 1;
                    measured.error = Some(why);
                }
            }
        }
        Ok(measured)
    }
}
