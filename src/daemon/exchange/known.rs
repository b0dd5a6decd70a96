//! The nodes of federated clusters that are known, and when each is asked.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use omnirelay_core::backoff::Backoff;
use omnirelay_core::names::check_node_name;
use omnirelay_wire::pb::omnirelay::registers::v1::OfferingNode;
use tokio::time::Instant;

use super::asking::Neighbour;
use crate::core::exchange::source_of;
use crate::daemon::chance::random_part;
use crate::daemon::identity::trust::Trust;

/// The most nodes that are known of one cluster.
const NODES_MAX: usize = 1024;
/// How long a node is known that no other one lists.
const LISTED_FOR: Duration = Duration::from_secs(5 * 60);
/// After calls that failed.
const BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30)).spread(0.5);

/// One of them.
#[derive(Clone, Debug)]
pub struct Known {
    pub cluster: String,
    /// Where its control port is said to be.
    pub control: String,
    pub way: Neighbour,
    listed: Instant,
    /// It is not asked before.
    next: Instant,
    pub failures: u32,
    /// When it answered last, by the wall clock; `None`: never.
    pub answered: Option<Duration>,
    /// Why it has not since.
    pub error: String,
    /// Whether this node has asked it in the last round.
    pub asked: bool,
}

/// All of them, by their names as sources.
#[derive(Debug, Default)]
pub struct KnownNodes(BTreeMap<String, Known>);

impl KnownNodes {
    /// Forgets those of other clusters, and those that nobody has listed for long.
    pub fn keep(&mut self, clusters: &[&str]) {
        self.0.retain(|_, known| {
            clusters.contains(&known.cluster.as_str()) && known.listed.elapsed() < LISTED_FOR
        });
    }

    /// Takes in what a node of a cluster says of which there are. Whatever it says, each has to prove that it is who it is.
    pub fn list(&mut self, cluster: &str, nodes: Vec<OfferingNode>, trust: &Arc<Trust>) {
        let now = Instant::now();
        for OfferingNode { node_id, control } in nodes {
            if check_node_name(&node_id).is_err() {
                continue;
            }
            let source = source_of(&node_id, cluster);
            let has_room = self.0.values().filter(|known| known.cluster == cluster).count() < NODES_MAX;
            match self.0.get_mut(&source) {
                Some(known) if known.control == control || known.answers() => {
                    known.listed = now;
                    continue;
                }
                None if !has_room => continue,
                // Of one that has moved it is found out by asking whether it has.
                Some(_) | None => {}
            }
            if let Ok(way) = Neighbour::at(&control, cluster, Some(&node_id), trust) {
                let (cluster, error) = (cluster.to_owned(), String::new());
                let known = Known {
                    cluster,
                    control,
                    way,
                    listed: now,
                    next: now,
                    failures: 0,
                    answered: None,
                    error,
                    asked: false,
                };
                self.0.insert(source, known);
            }
        }
    }

    /// Those that may be asked now.
    pub fn due(&self) -> Vec<(String, Known)> {
        let now = Instant::now();
        let due = self.0.iter().filter(|(_, known)| known.next <= now);
        due.map(|(source, known)| (source.clone(), known.clone())).collect()
    }

    /// Whether none of a cluster is known that answers.
    pub fn is_lost(&self, cluster: &str) -> bool {
        !self.0.values().any(|known| known.cluster == cluster && known.answers())
    }

    /// Says whether this node asks a node.
    pub fn note_asked(&mut self, source: &str, asked: bool) {
        if let Some(known) = self.0.get_mut(source) {
            known.asked = asked;
        }
    }

    /// Notes what became of asking a node.
    pub fn note(&mut self, source: &str, outcome: Result<Duration, String>) {
        let Some(known) = self.0.get_mut(source) else { return };
        match outcome {
            Ok(at) => {
                known.answered = Some(at);
                (known.failures, known.error, known.next) = (0, String::new(), Instant::now());
                known.listed = Instant::now();
            }
            Err(error) => {
                known.failures = known.failures.saturating_add(1);
                known.error = error;
                known.next = Instant::now() + BACKOFF.after(known.failures, random_part());
            }
        }
    }

    pub fn all(&self) -> impl Iterator<Item = (&String, &Known)> {
        self.0.iter()
    }
}

impl Known {
    fn answers(&self) -> bool {
        self.answered.is_some() && self.failures == 0
    }
}
