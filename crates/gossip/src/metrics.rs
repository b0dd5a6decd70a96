//! Metrics of the membership by gossip.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use omnirelay_host::live::Live;
use omnirelay_membership::{MemberStatus, Membership, MembershipStats};
use omnirelay_node::metrics::registrar::{gauge_value, histogram_vec};
use omnirelay_node::metrics::row::{MetricKind, MetricLabel, MetricRow};
use parking_lot::Mutex;
use prometheus::HistogramVec;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;

/// In milliseconds: from what a LAN takes to what is given up.
const RTT_BUCKETS: [f64; 11] = [0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0, 500.0, 2000.0];

/// How many peers have series of their own; what is measured of further ones stands under `other`.
const PEERS_MAX: usize = 256;

const STATUSES: [MemberStatus; 4] =
    [MemberStatus::Alive, MemberStatus::Suspect, MemberStatus::Dead, MemberStatus::Left];

const STATUS: MetricLabel = MetricLabel::each("mesh_status", || STATUSES.map(MemberStatus::word).to_vec());
const DIRECTION: MetricLabel =
    MetricLabel::each("mesh_direction", || GossipDirection::ALL.map(GossipDirection::word).to_vec());
const OUTCOME: MetricLabel = MetricLabel::each("mesh_outcome", || vec!["success", "failure"]);
const PEER: MetricLabel = MetricLabel::at_most(
    "mesh_peer",
    PEERS_MAX + 1,
    "peers, and `other`; one series without it unless `mesh.gossip.rttPerPeer` is set",
);

/// Two metrics, of which the one is shown that is set by then.
const RTT: MetricRow = MetricRow::new(
    MetricKind::Histogram,
    "mesh_gossip_rtt_ms",
    "How long answers to pings took, in milliseconds",
)
.by(&[PEER])
.buckets(&RTT_BUCKETS)
.of(&GossipCounts::GROUP);
omnirelay_node::inventory::submit! { RTT }

/// Direction of gossip traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GossipDirection {
    Inbound,
    Outbound,
}

impl GossipDirection {
    const ALL: [Self; 2] = [Self::Inbound, Self::Outbound];

    fn word(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
        }
    }
}

/// Histograms of round trips: one of all peers, or one of each, as is set by then. Of both names are the same and labels differ, so
/// that the registry has them as one.
#[derive(Clone)]
struct RttHistograms {
    is_per_peer: Live<bool>,
    of_all: HistogramVec,
    of_each: HistogramVec,
    /// Those that have series of their own.
    peers: Arc<Mutex<BTreeSet<String>>>,
}

impl RttHistograms {
    fn new(is_per_peer: Live<bool>) -> Result<Self, prometheus::Error> {
        let (of_all, of_each) = (histogram_vec(&RTT, &[])?, histogram_vec(&RTT, &[PEER.name])?);
        // It is there from the beginning: what rises from nothing is not seen to rise.
        of_all.with_label_values::<&str>(&[]);
        Ok(Self { is_per_peer, of_all, of_each, peers: Arc::default() })
    }

    fn observe(&self, peer: &str, rtt: Duration) {
        let ms = rtt.as_secs_f64() * 1e3;
        if !self.is_per_peer.get() {
            return self.of_all.with_label_values::<&str>(&[]).observe(ms);
        }
        let mut peers = self.peers.lock();
        let is_named = peers.contains(peer) || peers.len() < PEERS_MAX && peers.insert(peer.to_owned());
        self.of_each.with_label_values(&[if is_named { peer } else { "other" }]).observe(ms);
    }

    fn forget(&self, peer: &str) {
        if self.peers.lock().remove(peer) {
            // It may have none yet.
            let _ = self.of_each.remove_label_values(&[peer]);
        }
    }
}

impl Collector for RttHistograms {
    fn desc(&self) -> Vec<&Desc> {
        self.of_all.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        if self.is_per_peer.get() { self.of_each.collect() } else { self.of_all.collect() }
    }
}

omnirelay_node::metrics! {
    /// Metrics of the membership by gossip: members, traffic, queue, health and refusals.
    struct GossipCounts {
        members: Gauges("mesh_gossip_members",
            "Members by how this node knows them by gossip, itself among them", &[STATUS]),
        messages: Counters("mesh_gossip_messages_total",
            "Packets of gossip, by direction and whether they were sent or understood", &[DIRECTION, OUTCOME]),
        bytes: Counters("mesh_gossip_bytes_total",
            "Bytes of packets of gossip, without those of QUIC", &[DIRECTION]),
        queue: Gauge("mesh_gossip_queue_length", "Updates that are still passed on"),
        fanout: Gauge("mesh_gossip_fanout", "To how many members updates are passed on each time"),
        view: Gauge("mesh_gossip_view_size", "Members that are known, live or not, this node among them"),
        health: Gauge("mesh_gossip_health_score", "How unwell this node thinks it is; 0 is well"),
        refuted: Counter("mesh_gossip_refuted_total", "Accusations of this node that it has answered"),
        implausible: Counter("mesh_gossip_implausible_total",
            "Claims about incarnations that nobody can have; the clock of this node or of another is far off"),
        refused: Counter("mesh_gossip_refused_total",
            "Members that were not taken in, as no more can be known; or whose names were none"),
        capped: Counter("mesh_gossip_capped_total",
            "Packets that were not sent, as so many had gone out in the round already"),
        throttled: Counter("mesh_gossip_throttled_total",
            "Packets, updates and messages of exchanges that were not taken, as their senders had sent too many"),
        strangers: Gauge("mesh_gossip_strangers",
            "Names that others tell of, that are not registered, and of which nothing was heard"),
        through_others: Gauge("mesh_gossip_through_others",
            "Members that this node does not reach, neither by datagrams nor by calls, and that others do"),
        cut_off: Gauge("mesh_gossip_cut_off", "1 while this node hears none of the others, else 0").flag(),
        untold: Counter("mesh_gossip_untold_total", "Changes that the log does not have, as there were too many"),
    } with {
        /// What the membership had counted when it was measured last.
        counted: Mutex<MembershipStats>,
    }
}

/// Metrics of the membership by gossip.
pub struct GossipMetrics {
    counts: GossipCounts,
    rtt: RttHistograms,
}

impl GossipMetrics {
    /// Round trips stand under the peers that they were measured to, if that is `per_peer`.
    ///
    /// # Errors
    /// When two metrics have one name: a mistake in this file.
    pub fn new(
        all: &prometheus::Registry,
        per_peer: impl Into<Live<bool>>,
    ) -> Result<Self, prometheus::Error> {
        let rtt = RttHistograms::new(per_peer.into())?;
        all.register(Box::new(rtt.clone()))?;
        Ok(Self { counts: GossipCounts::new(all)?, rtt })
    }

    pub fn count(&self, direction: GossipDirection, is_success: bool, bytes: usize) {
        let outcome = if is_success { "success" } else { "failure" };
        self.counts.messages.with_label_values(&[direction.word(), outcome]).inc();
        self.counts.bytes.with_label_values(&[direction.word()]).inc_by(bytes as u64);
    }

    /// Number of packets of both directions, those that failed among them.
    pub(crate) fn messages(&self) -> u64 {
        let of = |direction: GossipDirection, outcome| {
            self.counts.messages.with_label_values(&[direction.word(), outcome]).get()
        };
        let outcomes = ["success", "failure"];
        GossipDirection::ALL
            .into_iter()
            .flat_map(|direction| outcomes.map(|outcome| of(direction, outcome)))
            .sum()
    }

    pub fn count_untold(&self) {
        self.counts.untold.inc();
    }

    pub fn observe_rtt(&self, peer: &str, rtt: Duration) {
        self.rtt.observe(peer, rtt);
    }

    /// Takes out the series of a peer that is known no more.
    pub fn forget(&self, peer: &str) {
        self.rtt.forget(peer);
    }

    /// Notes how a membership stands.
    pub fn measure(&self, of: &Membership) {
        for status in STATUSES {
            let others = of.members().iter().filter(|(_, member)| member.shown() == status).count();
            let own = usize::from(status == MemberStatus::Alive);
            self.counts.members.with_label_values(&[status.word()]).set(gauge_value(others + own));
        }
        self.counts.queue.set(gauge_value(of.queued()));
        self.counts.fanout.set(gauge_value(of.config().fanout));
        self.counts.view.set(gauge_value(of.members().len() + 1));
        self.counts.health.set(of.health().into());
        self.counts.strangers.set(gauge_value(of.strangers().count()));
        let through_others = of.members().iter().filter(|(_, member)| member.is_through_others).count();
        self.counts.through_others.set(gauge_value(through_others));
        self.counts.cut_off.set(of.is_cut_off().into());
        let stats = of.stats();
        let counted = std::mem::replace(&mut *self.counts.counted.lock(), stats);
        for (counter, was, is) in [
            (&self.counts.refuted, counted.refuted, stats.refuted),
            (&self.counts.implausible, counted.implausible, stats.implausible),
            (&self.counts.refused, counted.refused, stats.refused),
            (&self.counts.capped, counted.capped, stats.capped),
            (&self.counts.throttled, counted.throttled, stats.throttled),
        ] {
            counter.inc_by(is.saturating_sub(was));
        }
    }

    /// Notes that there is no membership any more; what was counted stays.
    pub fn measure_none(&self) {
        for status in STATUSES {
            self.counts.members.with_label_values(&[status.word()]).set(0);
        }
        for gauge in [
            &self.counts.queue,
            &self.counts.fanout,
            &self.counts.view,
            &self.counts.health,
            &self.counts.strangers,
            &self.counts.through_others,
            &self.counts.cut_off,
        ] {
            gauge.set(0);
        }
        *self.counts.counted.lock() = MembershipStats::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_of_each_peer_are_told_apart_up_to_a_bound() {
        let all = prometheus::Registry::new();
        let metrics = GossipMetrics::new(&all, true).unwrap();
        (0..PEERS_MAX + 9).for_each(|at| metrics.observe_rtt(&format!("n{at}"), Duration::from_millis(1)));
        let series = || {
            let families = all.gather();
            let family = families.iter().find(|family| family.name() == "mesh_gossip_rtt_ms").unwrap();
            let peers = family.get_metric().iter().map(|metric| metric.get_label()[0].value().to_owned());
            peers.collect::<Vec<_>>()
        };
        assert_eq!(series().len(), PEERS_MAX + 1);
        assert!(series().contains(&"other".to_owned()));
        metrics.forget("n0");
        assert!(!series().contains(&"n0".to_owned()));
        metrics.observe_rtt("late", Duration::from_millis(1));
        assert!(series().contains(&"late".to_owned()));
    }
}
