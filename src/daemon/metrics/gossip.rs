//! What a node tells of membership by gossip.

use std::time::Duration;

use omnirelay_membership::{Config, Membership, Status};
use prometheus::{HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use super::registrar::{Registrar as _, level};

/// In milliseconds: from what a LAN takes to what is given up.
const RTT_BUCKETS: [f64; 11] = [0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0, 500.0, 2000.0];

const STATUSES: [Status; 4] = [Status::Alive, Status::Suspect, Status::Dead, Status::Left];

/// Which way something goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Inbound,
    Outbound,
}

impl Direction {
    fn word(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
        }
    }
}

/// What is counted of membership by gossip.
pub struct GossipMetrics {
    members: IntGaugeVec,
    rtt: HistogramVec,
    messages: IntCounterVec,
    bytes: IntCounterVec,
    queue: IntGauge,
    fanout: IntGauge,
    view: IntGauge,
    health: IntGauge,
    refuted: IntCounter,
    implausible: IntCounter,
    refused: IntCounter,
    capped: IntCounter,
    untold: IntCounter,
}

impl GossipMetrics {
    /// # Errors
    /// When two metrics have one name: a mistake in this file.
    pub fn new(all: &prometheus::Registry) -> Result<Self, prometheus::Error> {
        let made = Self {
            members: all.gauges(
                "mesh_gossip_members",
                "Members by how this node knows them by gossip, itself among them",
                &["mesh_status"],
            )?,
            rtt: all.histograms(
                "mesh_gossip_rtt_ms",
                "How long answers to pings took, in milliseconds",
                &[],
                &RTT_BUCKETS,
            )?,
            messages: all.counters(
                "mesh_gossip_messages_total",
                "Packets of gossip, by direction and whether they were sent or understood",
                &["mesh_direction", "mesh_outcome"],
            )?,
            bytes: all.counters(
                "mesh_gossip_bytes_total",
                "Bytes of packets of gossip, without those of QUIC",
                &["mesh_direction"],
            )?,
            queue: all.gauge("mesh_gossip_queue_length", "Updates that are still passed on")?,
            fanout: all.gauge("mesh_gossip_fanout", "To how many members updates are passed on each time")?,
            view: all.gauge("mesh_gossip_view_size", "Members that are known, live or not, this node among them")?,
            health: all.gauge("mesh_gossip_health_score", "How unwell this node thinks it is; 0 is well")?,
            refuted: all.counter("mesh_gossip_refuted_total", "Accusations of this node that it has answered")?,
            implausible: all.counter(
                "mesh_gossip_implausible_total",
                "Claims about incarnations that nobody can have; the clock of this node or of another is far off",
            )?,
            refused: all.counter(
                "mesh_gossip_refused_total",
                "Members that were not taken in, as no more can be known; or whose names were none",
            )?,
            capped: all.counter(
                "mesh_gossip_capped_total",
                "Packets that were not sent, as so many had gone out in the round already",
            )?,
            untold: all.counter("mesh_gossip_untold_total", "Changes that the log does not have, as there were too many")?,
        };
        // All are there from the beginning: what rises from nothing is not seen to rise.
        made.rtt.with_label_values::<&str>(&[]);
        for status in STATUSES {
            made.members.with_label_values(&[status.word()]).set(0);
        }
        for direction in [Direction::Inbound, Direction::Outbound] {
            for outcome in ["success", "failure"] {
                made.messages.with_label_values(&[direction.word(), outcome]).inc_by(0);
            }
            made.bytes.with_label_values(&[direction.word()]).inc_by(0);
        }
        Ok(made)
    }

    pub fn count(&self, direction: Direction, is_success: bool, bytes: usize) {
        let outcome = if is_success { "success" } else { "failure" };
        self.messages.with_label_values(&[direction.word(), outcome]).inc();
        self.bytes.with_label_values(&[direction.word()]).inc_by(bytes as u64);
    }

    pub fn count_untold(&self) {
        self.untold.inc();
    }

    pub fn observe_rtt(&self, rtt: Duration) {
        self.rtt.with_label_values::<&str>(&[]).observe(rtt.as_secs_f64() * 1e3);
    }

    /// Notes how a membership stands.
    pub fn measure(&self, of: &Membership, config: &Config) {
        for status in STATUSES {
            let others = of.members().iter().filter(|(_, member)| member.status == status).count();
            let own = usize::from(status == Status::Alive);
            self.members.with_label_values(&[status.word()]).set(level(others + own));
        }
        self.queue.set(level(of.queued()));
        self.fanout.set(level(config.fanout));
        self.view.set(level(of.members().len() + 1));
        self.health.set(of.health().into());
        let stats = of.stats();
        for (counter, counted) in [
            (&self.refuted, stats.refuted),
            (&self.implausible, stats.implausible),
            (&self.refused, stats.refused),
            (&self.capped, stats.capped),
        ] {
            counter.inc_by(counted.saturating_sub(counter.get()));
        }
    }
}
