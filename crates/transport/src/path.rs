//! The path of a QUIC connection: whether anything that is sent still gets to the other side.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use quinn::congestion::{Controller, ControllerFactory, ControllerMetrics, CubicConfig};
use quinn_proto::RttEstimator;
use tokio::time::Instant;

/// How long nothing may be acknowledged while a call is sent, which is sent again meanwhile; where packets take long, so many
/// times as long as one takes there and back.
const SILENCE: Duration = Duration::from_secs(1);
const SILENCE_RTTS: u32 = 6;

/// How long nothing is sent or acknowledged until a client that waits for an answer shows that it is there, and asks whether the
/// server is.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// Number of packets of one connection that were acknowledged.
#[derive(Clone, Default)]
pub(crate) struct AcknowledgedPackets(Arc<AtomicU64>);

impl AcknowledgedPackets {
    /// Congestion control that counts. Nothing else of the library tells: a server that hears nothing any more is heard for
    /// long, as it sends again what it knows not to have come, and acknowledges again what came before.
    pub(crate) fn counting(&self) -> Arc<dyn ControllerFactory + Send + Sync> {
        Arc::new(AckCountingFactory(self.clone()))
    }

    /// Becomes ready once something was sent and nothing was acknowledged for [`SILENCE`]: whatever is between lets UDP through
    /// no more. A server that only takes long acknowledges what it has got, and is asked for that now and then.
    pub(crate) async fn silence(self, connection: quinn::Connection) {
        let counts = || {
            let sent = connection.stats().frame_tx;
            // Of what is sent that which is acknowledged, which an acknowledgement itself is not; and what asks for one again.
            let asks = sent.stream + sent.ping + sent.datagram + sent.new_connection_id + sent.immediate_ack;
            (self.0.load(Ordering::Relaxed), asks)
        };
        let (mut acknowledged, mut sent) = counts();
        let (mut since, mut moved) = (Instant::now(), Instant::now());
        loop {
            tokio::time::sleep(SILENCE / 4).await;
            let (acknowledged_now, sent_now) = counts();
            if acknowledged_now != acknowledged || sent_now == sent {
                if (acknowledged_now, sent_now) != (acknowledged, sent) {
                    moved = Instant::now();
                } else if moved.elapsed() >= KEEP_ALIVE {
                    moved = Instant::now();
                    // On one that is lost the call ends by itself.
                    let _ = connection.send_datagram(Bytes::new());
                }
                (acknowledged, sent, since) = (acknowledged_now, sent_now, Instant::now());
            } else if since.elapsed() >= SILENCE.max(connection.rtt() * SILENCE_RTTS) {
                return;
            }
        }
    }
}

struct AckCountingFactory(AcknowledgedPackets);

impl ControllerFactory for AckCountingFactory {
    fn build(self: Arc<Self>, now: std::time::Instant, mtu: u16) -> Box<dyn Controller> {
        let cubic = Arc::new(CubicConfig::default()).build(now, mtu);
        Box::new(AckCountingController { cubic, acknowledged: self.0.clone() })
    }
}

struct AckCountingController {
    cubic: Box<dyn Controller>,
    acknowledged: AcknowledgedPackets,
}

impl Controller for AckCountingController {
    fn on_sent(&mut self, now: std::time::Instant, bytes: u64, last_packet_number: u64) {
        self.cubic.on_sent(now, bytes, last_packet_number);
    }

    fn on_ack(
        &mut self,
        now: std::time::Instant,
        sent: std::time::Instant,
        bytes: u64,
        app_limited: bool,
        rtt: &RttEstimator,
    ) {
        self.acknowledged.0.fetch_add(1, Ordering::Relaxed);
        self.cubic.on_ack(now, sent, bytes, app_limited, rtt);
    }

    fn on_end_acks(
        &mut self,
        now: std::time::Instant,
        in_flight: u64,
        app_limited: bool,
        largest_packet_num_acked: Option<u64>,
    ) {
        self.cubic.on_end_acks(now, in_flight, app_limited, largest_packet_num_acked);
    }

    fn on_congestion_event(
        &mut self,
        now: std::time::Instant,
        sent: std::time::Instant,
        is_persistent_congestion: bool,
        lost_bytes: u64,
    ) {
        self.cubic.on_congestion_event(now, sent, is_persistent_congestion, lost_bytes);
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.cubic.on_mtu_update(new_mtu);
    }

    fn window(&self) -> u64 {
        self.cubic.window()
    }

    fn metrics(&self) -> ControllerMetrics {
        self.cubic.metrics()
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(Self { cubic: self.cubic.clone_box(), acknowledged: self.acknowledged.clone() })
    }

    fn initial_window(&self) -> u64 {
        self.cubic.initial_window()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self.cubic.into_any()
    }
}
