//! The check of the mesh: judged by the registry and by what its live nodes say of themselves and of each other.

pub mod asking;
mod bounds;

use std::cmp::Reverse;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use omnirelay_wire::envelope::Enveloped as _;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use omnirelay_wire::reasons;
use pb::check_finding::Result as Found;
use pb::check_service_server::CheckService;
use tonic::Response;

use super::node::Node;
use super::peers::Peers;
use super::serve::serve;
use super::shards::namespaces::all_namespaces;
use super::{at_cursor, envelope, head_cursor, leaders};
use crate::core::check::facts::{MeshFacts, NodeSaid, RegistryFacts, is_alive};
use crate::core::check::finding::{Check as OneCheck, Finding, Verdict};
use crate::core::check::judge;
use crate::core::check::nodes::clock_ahead_ms;
use crate::daemon::gossip::Gossip;
use crate::daemon::registry::Registry;
use asking::{AskedNodes, NodeAsker};

/// What a finding is explained by, below the root of the documents.
const PAGE: &str = "reference/checks.md";

/// Serves `CheckService`.
pub struct MeshCheckService {
    checker: Arc<MeshChecker>,
    /// The round that was begun last.
    last: Mutex<Option<Round>>,
}

/// Finds out what is known of the mesh, and judges it.
pub struct MeshChecker {
    pub registry: Arc<Registry>,
    /// What this node says of itself.
    pub own: Node,
    pub peers: Peers,
    pub gossip: Option<Arc<Gossip>>,
    pub asker: NodeAsker,
}

/// All nodes are asked once, and what they say is judged.
#[derive(Clone)]
struct Round {
    began: Instant,
    /// What it finds; `None`: it came to nothing.
    found: Shared<BoxFuture<'static, Option<Arc<pb::CheckResponse>>>>,
}

serve! {
    CheckService for MeshCheckService {
        check(CheckRequest) -> CheckResponse: |checks, _, _| checks.answer();
    }
}

impl MeshCheckService {
    pub fn new(checker: MeshChecker) -> Self {
        Self { checker: Arc::new(checker), last: Mutex::default() }
    }

    async fn answer(&self) -> Result<Response<pb::CheckResponse>, Fault> {
        let came = Instant::now();
        loop {
            let round = self.current();
            let is_of_now = round.began >= came;
            let Some(found) = round.found.await else {
                return Err(Fault::new(reasons::INTERNAL, "the check came to nothing"));
            };
            if is_of_now {
                let cursor = found.cursor.clone();
                return Ok(at_cursor((*found).clone(), &cursor));
            }
        }
    }

    /// The round that is under way, or a new one. Those who ask at one time share a round, and it goes on whoever goes away:
    /// however many ask, a node is asked once at a time.
    fn current(&self) -> Round {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        // One that nobody waits for any more is under way until somebody sees that it has ended.
        if let Some(round) = last.as_ref().filter(|round| round.found.peek().is_none()) {
            return round.clone();
        }
        let checker = self.checker.clone();
        let began = Instant::now();
        let running = tokio::spawn(async move { Arc::new(checker.check().await) });
        let round = Round { began, found: running.map(Result::ok).boxed().shared() };
        *last = Some(round.clone());
        round
    }
}

impl MeshChecker {
    async fn check(&self) -> pb::CheckResponse {
        let is_loaded = self.registry.view().head().caught_up;
        let (asked, registry) = match is_loaded {
            true => {
                let asked = self.asker.ask_all(self.registry.node_id(), &self.peers.all().await).await;
                // It is read after the asking: what has changed meanwhile is no finding, and who has left is not silent.
                (asked, Some(self.registry_facts().await))
            }
            false => (AskedNodes::default(), None),
        };
        let lives = |id: &str| registry.as_ref().and_then(|registry| registry.peer(id)).is_some_and(is_alive);
        let own = self.own.describe();
        let id = own.local_node_id.clone();
        let itself = pb::CheckedNode { node_id: id.clone(), by: "itself".to_owned(), ..Default::default() };
        let said = NodeSaid { id, said: Ok(Box::new(own)) };
        let (mut nodes, mut said) = (vec![told(itself, &said)], vec![said]);
        for (checked, one) in asked.nodes.into_iter().filter(|(_, one)| lives(&one.id)) {
            nodes.push(told(checked, &one));
            said.push(one);
        }
        let facts = MeshFacts { nodes: said, not_asked: asked.not_asked, registry };
        let (cursor, envelope) = (head_cursor(self.registry.view()), envelope(&self.registry));
        let not_asked = u32::try_from(asked.not_asked).unwrap_or(u32::MAX);
        let found = judged(&facts);
        nodes.iter_mut().for_each(|node| note_wrong(node, &found));
        pb::CheckResponse { cursor, nodes, not_asked, ..found }.within(envelope)
    }

    /// What the registry has.
    async fn registry_facts(&self) -> RegistryFacts {
        RegistryFacts {
            own: self.registry.node_id().to_owned(),
            peers: self.peers.all().await,
            scopes: leaders::all_scopes(self.registry.view()),
            namespaces: all_namespaces(&self.registry, self.gossip.as_deref()).await,
        }
    }
}

/// A node that was asked, with what it says of itself.
fn told(checked: pb::CheckedNode, node: &NodeSaid) -> pb::CheckedNode {
    let Ok(said) = &node.said else { return checked };
    pb::CheckedNode {
        version: said.version.clone(),
        ready: said.ready,
        store_silent_ms: said.stale_ms.filter(|_| said.stale),
        clock_ahead_ms: clock_ahead_ms(said),
        certificate_ends_at: said.certificate_ends_at,
        disk_free_bytes: said.disk_free_bytes,
        ..checked
    }
}

/// Notes what was found wrong with a node.
fn note_wrong(node: &mut pb::CheckedNode, found: &pb::CheckResponse) {
    let is_about = |check: &&pb::CheckFinding| check.about.contains(&node.node_id);
    let checks = found.categories.iter().flat_map(|category| &category.checks).filter(is_about);
    let badness = |result: Found| match result {
        Found::Fail => 3,
        Found::Unknown => 2,
        Found::Warn => 1,
        Found::Pass | Found::Skip | Found::Unspecified => 0,
    };
    let mut wrong: Vec<&pb::CheckFinding> = checks.filter(|check| badness(check.result()) > 0).collect();
    wrong.sort_by_key(|check| Reverse(badness(check.result())));
    node.set_worst(wrong.first().map_or(Found::Pass, |worst| worst.result()));
    node.wrong = wrong.iter().map(|check| check.id.clone()).collect();
}

/// What the checks find, as it is answered.
fn judged(facts: &MeshFacts) -> pb::CheckResponse {
    let mut categories: Vec<pb::CheckCategory> = Vec::new();
    let mut summary = pb::CheckSummary::default();
    for (category, check, finding) in judge(facts) {
        count(&mut summary, finding.verdict);
        let row = shown(check, finding);
        match categories.last_mut().filter(|last| last.name == category.name) {
            Some(last) => last.checks.push(row),
            None => categories.push(pb::CheckCategory { name: category.name.to_owned(), checks: vec![row] }),
        }
    }
    let success = summary.fail == 0 && summary.unknown == 0;
    pb::CheckResponse { success, summary: Some(summary), categories, ..Default::default() }
}

fn count(summary: &mut pb::CheckSummary, verdict: Verdict) {
    let of = match verdict {
        Verdict::Pass => &mut summary.pass,
        Verdict::Warn => &mut summary.warn,
        Verdict::Fail => &mut summary.fail,
        Verdict::Skip => &mut summary.skip,
        Verdict::Unknown => &mut summary.unknown,
    };
    *of += 1;
}

fn shown(check: &OneCheck, finding: Finding) -> pb::CheckFinding {
    let result = match finding.verdict {
        Verdict::Pass => Found::Pass,
        Verdict::Warn => Found::Warn,
        Verdict::Fail => Found::Fail,
        Verdict::Skip => Found::Skip,
        Verdict::Unknown => Found::Unknown,
    };
    pb::CheckFinding {
        id: check.id.to_owned(),
        description: check.description.to_owned(),
        result: result.into(),
        message: finding.text,
        hint: finding.hint.unwrap_or_default(),
        page: format!("{PAGE}#{}", check.id),
        seen_by: finding.seen_by,
        about: finding.about,
    }
}
