//! What a death costs a mesh of fifty: the verdicts on it are recorded by whose turn it is, and attempted by nobody else.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use async_trait::async_trait;
use omnirelay_core::time::Millis;
use omnirelay_decisions::lease::place_of;
use omnirelay_peer_records::presence::{Presence, PresenceSettings};
use omnirelay_peer_records::roster::PeerRoster;
use omnirelay_peer_records::{PEER, peer_id, session_id};
use omnirelay_peers::keep_present::keep_present;
use omnirelay_registry::Registry;
use omnirelay_registry::follow::follow_log;
use omnirelay_scripted::{Answered, Call, Script, Scripted};
use omnirelay_store::redis::link::RedisOptions;
use omnirelay_store::{RecordKind, RedisStore};
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use omnirelay_wire::pb::omnirelay::store::v1::PeerValue;
use omnirelay_wire::timestamp::millis;
use pb::peer::Status;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::process::until;
use crate::servers::RedisServer;

static MIRRORED: [RecordKind; 1] = [PEER];
const NODES: usize = 50;
const SESSION_TTL: Duration = Duration::from_secs(4);
const DEAD_AFTER: Duration = Duration::from_secs(6);
/// How often sessions are renewed, and how much later than the one before it each daemon records a verdict.
const RENEW_EVERY: Duration = Duration::from_secs(1);
/// The most commits that may be attempted for a death, of which two are made: suspect, and dead.
const ATTEMPTS_MAX: u64 = 3;

/// A store that counts the commits that are attempted at it.
struct Counted {
    inner: RedisStore,
    commits: Arc<AtomicU64>,
}

#[async_trait]
impl Script for Counted {
    async fn pass(&self, call: Call) -> Answered {
        if let Call::Commit(_) = call {
            self.commits.fetch_add(1, Ordering::SeqCst);
        }
        call.on(&self.inner).await
    }
}

/// A daemon without its listener. Dropping it is a crash.
struct Node {
    registry: Arc<Registry>,
    _tasks: JoinSet<()>,
}

impl Node {
    fn start(server: &RedisServer, id: &str, commits: &Arc<AtomicU64>) -> Result<Self> {
        let inner = RedisStore::new(server.url().parse()?, RedisOptions::default(), "many", Duration::ZERO);
        let store = Arc::new(Scripted(Counted { inner, commits: commits.clone() }));
        let registry = Arc::new(Registry::new(id, store, &MIRRORED));
        let settings = PresenceSettings {
            audited: false,
            session_ttl: SESSION_TTL,
            dead_after: DEAD_AFTER,
            forget_after: Duration::from_secs(3600),
            session_secret: id.to_owned(),
        };
        let presence = Presence::new(registry.clone(), settings, pb::PeerMetadata::default());
        let mut tasks = JoinSet::new();
        tasks.spawn(follow_log(registry.clone()));
        tasks.spawn(keep_present(registry.clone(), Arc::new(presence), RENEW_EVERY));
        Ok(Self { registry, _tasks: tasks })
    }

    fn id(&self) -> &str {
        self.registry.node_id()
    }

    fn sees(&self, id: &str) -> Option<Arc<PeerValue>> {
        self.registry.view().get(&peer_id(id))?.value::<PeerValue>()
    }
}

/// Fifty daemons that know each other, and what they have attempted.
struct Mesh {
    nodes: Vec<Node>,
    commits: Arc<AtomicU64>,
    _server: RedisServer,
}

impl Mesh {
    async fn start() -> Result<Self> {
        let (server, commits) = (RedisServer::start(&[])?, Arc::<AtomicU64>::default());
        let nodes = (0..NODES).map(|at| Node::start(&server, &format!("node-{at:02}"), &commits));
        let mesh = Self { nodes: nodes.collect::<Result<_>>()?, commits, _server: server };
        until("all know all", async || {
            let knows_all = |node: &Node| {
                let roster = PeerRoster::of(node.registry.view());
                roster.nodes().iter().filter(|node| node.session_live).count() == NODES
            };
            Ok(mesh.nodes.iter().all(knows_all))
        })
        .await?;
        Ok(mesh)
    }

    /// The nodes in the order in which they record verdicts on this one.
    fn order_for(&self, victim: &str) -> Result<Vec<String>> {
        let view = self.nodes.first().context("nobody")?.registry.view();
        let roster = PeerRoster::of(view);
        let nodes = roster.nodes();
        let mut ids: Vec<String> = nodes.iter().map(|node| node.id.to_owned()).collect();
        ids.retain(|id| id != victim);
        ids.sort_by_cached_key(|id| place_of(victim, &nodes, id));
        Ok(ids)
    }

    fn kill(&mut self, id: &str) {
        self.nodes.retain(|node| node.id() != id);
    }

    /// Until when the session of a node lives, as all others have heard.
    fn deadline(&self, id: &str) -> Option<Millis> {
        let deadlines = self.nodes.iter().map(|node| node.registry.view().group(&session_id(id)));
        deadlines.map(|group| group.map(|group| group.deadline)).max()?
    }

    /// Waits until all know that a node is so, and says since when it is.
    async fn until_all_say(&self, id: &str, status: Status) -> Result<Millis> {
        until("all know the verdict", async || {
            Ok(self.nodes.iter().all(|node| node.sees(id).is_some_and(|peer| peer.status() == status)))
        })
        .await?;
        let peer = self.nodes.first().and_then(|node| node.sees(id)).context("nobody")?;
        Ok(peer.status_since.as_ref().map(millis).unwrap_or_default())
    }

    /// How many commits were attempted since this was asked last.
    fn attempted(&self) -> u64 {
        self.commits.swap(0, Ordering::SeqCst)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_death_costs_a_mesh_of_fifty_three_commits_at_most() -> Result<()> {
    let mut mesh = Mesh::start().await?;
    mesh.attempted();
    sleep(SESSION_TTL * 2).await;
    ensure!(mesh.attempted() == 0, "nothing has changed");
    // The one that dies, and then one whose first judge dies with it, a little later.
    mesh.kill("node-07");
    mesh.until_all_say("node-07", Status::Dead).await?;
    let alone = mesh.attempted();
    println!("one death: {alone} commits attempted");
    ensure!((2..=ATTEMPTS_MAX).contains(&alone), "{alone}");
    let order = mesh.order_for("node-11")?;
    let first = order.first().context("nobody")?.clone();
    mesh.kill("node-11");
    sleep(RENEW_EVERY * 2).await;
    let due = mesh.deadline("node-11").context("no session")?;
    mesh.kill(&first);
    let since = mesh.until_all_say("node-11", Status::Suspect).await?;
    for dead in ["node-11", &first] {
        mesh.until_all_say(dead, Status::Dead).await?;
    }
    let both = mesh.attempted();
    println!("a death with that of its first judge: {both} commits attempted, {:?} late", since.since(due));
    ensure!((4..=2 * ATTEMPTS_MAX).contains(&both), "{both}");
    // A beat may have to be waited for before it is certain.
    ensure!(since.since(due) <= RENEW_EVERY + RENEW_EVERY / 2, "{:?}", since.since(due));
    Ok(())
}
