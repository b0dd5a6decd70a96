//! The nodes of another cluster that are known, and when each is asked.

use std::collections::BTreeMap;
use std::time::Duration;

use omnirelay_core::backoff::Backoff;
use omnirelay_core::names::check_node_name;
use omnirelay_core::time::{Millis, whole_ms};
use omnirelay_decisions::range_digest::source_of;
use omnirelay_host::chance::random_part;
use omnirelay_node::transport::NodeTransport;
use omnirelay_settings::is_host_and_port;
use omnirelay_wire::pb::omnirelay::registers::v1::OfferingNode;
use omnirelay_wire::timestamp::{Timestamp, timestamp};
use tokio::time::Instant;

use super::asking::ClusterNeighbour;
use super::clusters::ClusterRelation;

/// The most nodes that are known of one cluster.
const NODES_MAX: usize = 1024;
/// The longest address that is taken, in bytes.
const ADDRESS_BYTES_MAX: usize = 261;
/// How long a node is known that no other one lists, and how often it is asked which there are.
const LISTED_FOR: Duration = Duration::from_secs(5 * 60);
const LIST_EVERY: Duration = Duration::from_secs(60);
/// After calls that failed.
const BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30)).spread(0.5);
/// After so many failures of all of them in a row nobody is said to answer.
const LOST_AFTER: u32 = 3;

/// One of them.
#[derive(Clone, Debug)]
pub(super) struct KnownNeighbour {
    /// Where its control port is said to be.
    pub control: String,
    pub way: ClusterNeighbour,
    listed: Instant,
    /// It is not asked before.
    next: Instant,
    /// How often it has not answered since it did.
    pub failures: u32,
    /// When it answered last, by the wall clock; `None`: never.
    pub answered: Option<Duration>,
    /// Why it has not since, or what of its answer is not taken.
    pub error: String,
    /// Whether it is for this node to ask it.
    pub asked: bool,
    /// Until when what is held of it lives by what this node has done; `None`: nothing.
    pub kept_until: Option<Millis>,
}

/// All of one cluster, by their names as sources.
#[derive(Debug)]
pub(super) struct ClusterNeighbours {
    relation: ClusterRelation,
    nodes: BTreeMap<String, KnownNeighbour>,
    /// When somebody said last which there are.
    listed: Option<Instant>,
    /// Why no seed has answered.
    seeds_error: String,
}

impl ClusterNeighbours {
    /// None is known yet.
    pub(super) fn of(relation: ClusterRelation) -> Self {
        Self { relation, nodes: BTreeMap::new(), listed: None, seeds_error: String::new() }
    }

    pub(super) fn relation(&self) -> ClusterRelation {
        self.relation
    }

    /// Whether it is to be asked which nodes there are.
    pub(super) fn wants_list(&self) -> bool {
        self.nodes.is_empty() || self.listed.is_none_or(|at| at.elapsed() >= LIST_EVERY)
    }

    /// Takes in what a node says of which there are. Whatever it says, each has to prove that it is who it is.
    pub(super) fn list(&mut self, cluster: &str, nodes: Vec<OfferingNode>, transport: &NodeTransport) {
        let now = Instant::now();
        self.listed = Some(now);
        self.seeds_error.clear();
        for OfferingNode { node_id, control } in nodes {
            let is_some = check_node_name(&node_id).is_ok()
                && control.len() <= ADDRESS_BYTES_MAX
                && is_host_and_port(&control);
            if is_some {
                self.list_one(cluster, &node_id, control, transport, now);
            }
        }
        self.nodes.retain(|_, known| now - known.listed < LISTED_FOR);
    }

    fn list_one(
        &mut self,
        cluster: &str,
        node: &str,
        control: String,
        transport: &NodeTransport,
        now: Instant,
    ) {
        let (source, of) = (source_of(node, cluster), (cluster, self.relation));
        if let Some(known) = self.nodes.get_mut(&source) {
            known.listed = now;
            // Whether it has moved is found out by asking; until it answers there it is no better known than before.
            if known.control != control
                && known.failures > 0
                && let Ok(way) = ClusterNeighbour::at(&control, of, Some(node), transport)
            {
                (known.control, known.way) = (control, way);
            }
            return;
        }
        if self.nodes.len() >= NODES_MAX {
            // Whoever never was there takes no place from one who may be.
            let invented =
                self.nodes.iter().find(|(_, known)| known.answered.is_none() && known.failures > 0);
            let Some(invented) = invented.map(|(source, _)| source.clone()) else { return };
            self.nodes.remove(&invented);
        }
        if let Ok(way) = ClusterNeighbour::at(&control, of, Some(node), transport) {
            let known = KnownNeighbour {
                control,
                way,
                listed: now,
                next: now,
                failures: 0,
                answered: None,
                error: String::new(),
                asked: false,
                kept_until: None,
            };
            self.nodes.insert(source, known);
        }
    }

    /// Notes that no seed has answered. True: this is news.
    pub(super) fn note_lost(&mut self, error: String) -> bool {
        std::mem::replace(&mut self.seeds_error, error).is_empty()
    }

    /// Those that may be asked now.
    pub(super) fn due(&self) -> Vec<(String, KnownNeighbour)> {
        let now = Instant::now();
        let due = self.nodes.iter().filter(|(_, known)| known.next <= now);
        due.map(|(source, known)| (source.clone(), known.clone())).collect()
    }

    pub(super) fn get_mut(&mut self, source: &str) -> Option<&mut KnownNeighbour> {
        self.nodes.get_mut(source)
    }

    pub(super) fn nodes(&self) -> impl Iterator<Item = (&String, &KnownNeighbour)> {
        self.nodes.iter()
    }

    /// Reason why nobody of the cluster answers this node; `None`: somebody does, or is yet to be asked.
    pub(super) fn trouble(&self) -> Option<&str> {
        let asked = || self.nodes.values().filter(|known| known.asked);
        let is_lost = asked().all(|known| known.failures >= LOST_AFTER);
        let last = asked().next().filter(|_| is_lost).map(|known| known.error.as_str());
        last.or(Some(self.seeds_error.as_str())).filter(|error| !error.is_empty())
    }
}

impl KnownNeighbour {
    /// Time of the node's last answer, as answers of this daemon have it.
    pub(super) fn answered_at(&self) -> Option<Timestamp> {
        self.answered.map(|at| timestamp(Millis(whole_ms(at))))
    }

    /// Notes that it has answered at a time of the wall clock, and what of the answer is not taken.
    pub(super) fn note_answer(&mut self, at: Duration, untaken: String) {
        let now = Instant::now();
        (self.answered, self.error) = (Some(at), untaken);
        (self.failures, self.next, self.listed) = (0, now, now);
    }

    /// Notes that it has not answered, and why. True: it did before.
    pub(super) fn note_failure(&mut self, error: String) -> bool {
        self.failures = self.failures.saturating_add(1);
        self.error = error;
        self.next = Instant::now() + BACKOFF.after(self.failures, random_part());
        self.failures == 1
    }
}
