//! Facts that the checks judge: gathered before, so that judging asks nobody.

use std::collections::BTreeMap;

use omnirelay_core::text::some_of;
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;

/// So many are named where there are more.
pub const NAMED_MAX: usize = 5;

/// Facts about a mesh, as one node could find them out.
#[derive(Clone, Debug)]
pub struct MeshFacts {
    /// What each node that lives says of itself and of others: the one that judges first.
    pub nodes: Vec<NodeAnswer>,
    /// How many others live that were not asked, for there are too many.
    pub not_asked: usize,
    /// `None`: it was not loaded yet.
    pub registry: Option<RegistryFacts>,
}

/// Records of the registry, as the node that judges mirrors it.
#[derive(Clone, Debug, Default)]
pub struct RegistryFacts {
    /// The node that judges.
    pub own: String,
    pub peers: Vec<pb::Peer>,
    pub scopes: Vec<pb::Leadership>,
    pub namespaces: Vec<pb::Namespace>,
}

/// Answer of a node to the one that judges.
#[derive(Clone, Debug)]
pub struct NodeAnswer {
    pub id: String,
    pub said: Result<Box<pb::GetNodeResponse>, NotAsked>,
}

/// Reason why a node could not be asked. Each text says where, and what happened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAsked {
    /// Nobody answers, where somebody should.
    #[error("{0}")]
    Silent(String),
    /// One of both takes the certificate of the other for one that does not count now.
    #[error("{0}")]
    AtAnotherTime(String),
    /// It answers, and not to the node that judges; or there is no way from here.
    #[error("{0}")]
    NoWay(String),
    /// It does not know the question.
    #[error("its daemon is older, and does not know the question")]
    Older,
}

impl MeshFacts {
    /// The node that judges, as it says of itself.
    pub fn own(&self) -> Option<&pb::GetNodeResponse> {
        self.nodes.first()?.said.as_deref().ok()
    }

    /// Every node that said something, with its id, the one that judges first.
    pub fn told(&self) -> impl Iterator<Item = (&str, &pb::GetNodeResponse)> {
        self.nodes.iter().filter_map(|node| Some((node.id.as_str(), node.said.as_deref().ok()?)))
    }

    /// The same but for the one that judges.
    pub fn others_told(&self) -> impl Iterator<Item = (&str, &pb::GetNodeResponse)> {
        self.others().filter_map(|node| Some((node.id.as_str(), node.said.as_deref().ok()?)))
    }

    /// Every other node that was asked.
    pub fn others(&self) -> impl Iterator<Item = &NodeAnswer> {
        self.nodes.iter().skip(1)
    }

    /// The nodes that know by this, `gossip` or `calls`, how they reach others.
    pub fn witnesses(&self, by: &str) -> Vec<&str> {
        let knows = |node: &pb::GetNodeResponse| node.knows_reach_by.iter().any(|known| known == by);
        self.told().filter(|(_, node)| knows(node)).map(|(id, _)| id).collect()
    }

    /// The nodes that live and of whose reach this is so, each with those by whose word it is.
    pub fn reached_so<'a>(
        &'a self,
        registry: &RegistryFacts,
        is_so: impl Fn(&pb::PeerReach) -> bool,
    ) -> BTreeMap<&'a str, Vec<&'a str>> {
        let mut found: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (id, node) in self.told() {
            // One that has gone meanwhile is told of elsewhere.
            let lives = |reach: &&pb::PeerReach| registry.peer(&reach.node_id).is_some_and(is_alive);
            for reach in node.reach.iter().filter(lives).filter(|reach| is_so(reach)) {
                found.entry(&reach.node_id).or_default().push(id);
            }
        }
        found
    }

    /// ` (1 of 3 live nodes said so)`, unless all did.
    pub fn coverage(&self, said: usize) -> String {
        let all = self.nodes.len() + self.not_asked;
        match &self.registry {
            None => format!(" ({said} said so; which nodes live is not known yet)"),
            Some(_) if said == all => String::new(),
            Some(_) => format!(" ({said} of {all} live nodes said so)"),
        }
    }

    /// The nodes that have this item of readiness.
    pub fn with_item(&self, name: &str) -> Vec<&str> {
        let has = |node: &pb::GetNodeResponse| node.readiness.iter().any(|item| item.name == name);
        self.told().filter(|(_, node)| has(node)).map(|(id, _)| id).collect()
    }

    /// Trouble with this item of readiness, and the nodes by whose word it is; `None` where nothing is wrong. A message
    /// of several lines is a list: each of them is told once, with all nodes that say it, on a line of its own.
    pub fn trouble(&self, name: &str) -> Option<(String, Vec<&str>)> {
        let (mut told, mut is_list) = (Vec::<(&str, Vec<&str>)>::new(), false);
        for (id, node) in self.told() {
            let wrong = || node.readiness.iter().filter(|item| item.name == name && !item.ok);
            is_list |= wrong().any(|item| item.message.contains('\n'));
            for line in wrong().flat_map(|item| item.message.split('\n')) {
                match told.iter_mut().find(|(known, _)| *known == line) {
                    Some((_, ids)) => ids.push(id),
                    None => told.push((line, vec![id])),
                }
            }
        }
        let by = told.iter().flat_map(|(_, ids)| ids).copied().collect();
        let told: Vec<String> =
            told.iter().map(|(message, ids)| format!("{}: {message}", some_of(ids, NAMED_MAX))).collect();
        let between = if is_list { "\n" } else { "; " };
        (!told.is_empty()).then(|| (told.join(between), by))
    }
}

impl RegistryFacts {
    /// The peers of which this is so, by their ids.
    pub fn peers_with(&self, is_so: impl Fn(&pb::Peer) -> bool) -> Vec<&str> {
        self.peers.iter().filter(|peer| is_so(peer)).map(|peer| peer.node_id.as_str()).collect()
    }

    /// The peers that live.
    pub fn alive(&self) -> impl Iterator<Item = &pb::Peer> {
        self.peers.iter().filter(|peer| is_alive(peer))
    }

    /// `omnirelay`, towards the daemon of this node: to be followed by a command that is to be asked there.
    pub fn asking(&self, node: &str) -> String {
        match self.peer(node).filter(|_| node != self.own).and_then(control_of) {
            None => "omnirelay".to_owned(),
            Some(control) => format!("omnirelay --addr {control}"),
        }
    }

    pub fn peer(&self, id: &str) -> Option<&pb::Peer> {
        self.peers.iter().find(|peer| peer.node_id == id)
    }
}

/// Whether a peer's session lives.
pub fn is_alive(peer: &pb::Peer) -> bool {
    peer.status() == pb::peer::Status::Alive
}

/// Address of the control port of a peer, if the peer gives one that is an address: it is dialled, and stands in
/// commands that people copy.
pub fn control_of(peer: &pb::Peer) -> Option<&str> {
    let control = peer.metadata.as_ref()?.endpoints.as_ref()?.control.as_deref()?;
    let (host, port) = control.rsplit_once(':')?;
    let is_host = !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || "-._:[]".contains(c));
    (is_host && port.parse::<u16>().is_ok_and(|port| port > 0)).then_some(control)
}

/// Health of a peer by gossip, as the node that judges hears of it.
pub fn health(peer: &pb::Peer) -> pb::peer_health::State {
    peer.health.as_ref().map_or(pb::peer_health::State::Unknown, pb::PeerHealth::state)
}
