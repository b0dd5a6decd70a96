//! The exchange of advertisements with federated clusters: fetches what their nodes offer, and keeps it true.

mod asking;
mod known;
mod taking;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::join_all;
use futures_util::stream;
use omnirelay_core::time::{Millis, whole_ms};
use omnirelay_store::{GroupRef, Write};
use omnirelay_wire::pb::omnirelay::mesh::control::v1::peer_health::State;
use omnirelay_wire::pb::omnirelay::mesh::control::v1::{HeardMember, PeerHealth};
use omnirelay_wire::pb::omnirelay::registers::v1 as pb;
use omnirelay_wire::timestamp::timestamp;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::core::exchange::{Digests, PARTS, cluster_of, rank};
use crate::daemon::chance::random_part;
use crate::daemon::identity::federation::{Federation, Named};
use crate::daemon::identity::trust::Trust;
use crate::daemon::metrics::ExchangeMetrics;
use crate::daemon::objects::advertisements::Fetches;
use crate::daemon::objects::advertisements::pool::ENTRIES_MAX;
use crate::daemon::objects::peers;
use crate::daemon::registry::Registry;
use crate::daemon::wall_clock;
use asking::Neighbour;
use known::{Known, KnownNodes};
use taking::Held;

/// How many nodes of other meshes are asked at a time.
const ASKED_AT_ONCE: usize = 16;
/// How many seeds of a cluster are asked at a time.
const SEEDS_AT_ONCE: usize = 3;
/// How many nodes of a mesh may ask one of another: the first does, the others once it has not for some time.
const STAND_BY: usize = 3;
/// After so many intervals the next one asks.
const SILENT_INTERVALS: u32 = 4;

/// What an exchange is made with.
pub struct ExchangeParts {
    pub registry: Arc<Registry>,
    pub trust: Arc<Trust>,
    pub federation: Federation,
    pub metrics: ExchangeMetrics,
}

/// How often it is made, and how long what was fetched lives.
#[derive(Clone, Debug)]
pub struct ExchangeSettings {
    pub every: Duration,
    /// How long what was fetched lives that nobody confirms.
    pub ttl: Duration,
    /// As of the session: how long others get to be heard after a silence of the store.
    pub grace: Duration,
    /// Opens the groups of what was fetched.
    pub secret: String,
}

/// Fetches what nodes of federated clusters offer.
pub struct Exchange {
    parts: ExchangeParts,
    settings: ExchangeSettings,
    known: Mutex<KnownNodes>,
    /// Why no seed of a cluster has answered.
    lost: Mutex<BTreeMap<String, String>>,
}

/// How an exchange with one node ended.
enum Ended {
    Same,
    Changed(usize),
    /// The node has just started.
    NotReady,
}

impl Exchange {
    /// Nothing is asked until [`Self::run`] is.
    pub fn new(parts: ExchangeParts, settings: ExchangeSettings) -> Self {
        Self { parts, settings, known: Mutex::default(), lost: Mutex::default() }
    }

    /// Asks again and again, and at once when other clusters are named, for ever.
    pub async fn run(self: Arc<Self>) {
        let (mut chosen, begun) = (self.parts.federation.subscribe(), Instant::now());
        loop {
            let clusters = chosen.borrow_and_update().clone();
            let view = self.parts.registry.view();
            if view.head().caught_up
                && view.silence().is_none()
                && peers::own_session(&self.parts.registry).is_some()
            {
                self.round(&clusters, begun).await;
            }
            let pause = self.settings.every.mul_f64(1.0 - 0.2 * random_part());
            tokio::select! {
                changed = chosen.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    async fn round(&self, clusters: &[Named], begun: Instant) {
        let fetched: Vec<&Named> = clusters.iter().filter(|named| !named.seeds.is_empty()).collect();
        let names: Vec<&str> = fetched.iter().map(|named| named.cluster.as_str()).collect();
        self.known().keep(&names);
        self.lost().retain(|cluster, _| names.contains(&cluster.as_str()));
        join_all(fetched.iter().map(|named| self.discover(named))).await;
        let held = Held::all(self.parts.registry.view());
        let held: BTreeMap<_, _> = held.into_iter().map(|(source, held)| (source, Arc::new(held))).collect();
        let mut turns = Vec::new();
        let due = self.known().due();
        for (source, known) in due {
            let of = held.get(&source).cloned().unwrap_or_default();
            let asks = self.is_turn(&source, &of, begun);
            self.known().note_asked(&source, asks);
            if asks {
                turns.push((source, known, of));
            }
        }
        let asked = turns.into_iter().map(|(source, known, of)| {
            let room = ENTRIES_MAX.saturating_sub(taking::count(&held, &known.cluster));
            async move { self.exchange_with(&source, &known, &of, room).await.then_some(of) }
        });
        let asked: Vec<Option<Arc<Held>>> =
            stream::iter(asked).buffer_unordered(ASKED_AT_ONCE).collect().await;
        let now = self.parts.registry.view().now();
        let due =
            |held: Arc<Held>| held.group.clone().filter(|_| self.age(&held, now) >= self.settings.every);
        let confirmed: Vec<GroupRef> = asked.into_iter().flatten().filter_map(due).collect();
        if let Err(error) = self.renew(confirmed).await {
            debug!(error, "advertisements of other meshes not renewed; trying again");
        }
        self.clear(&held).await;
    }

    /// Finds out which nodes of a cluster there are, when none is known that answers.
    async fn discover(&self, named: &Named) {
        let Named { cluster, seeds, .. } = named;
        if !self.known().is_lost(cluster) {
            self.lost().remove(cluster);
            return;
        }
        let mut seeds = seeds.clone();
        fastrand::shuffle(&mut seeds);
        seeds.truncate(SEEDS_AT_ONCE);
        let asked = join_all(seeds.iter().map(|seed| async move {
            let way = Neighbour::at(seed, cluster, None, &self.parts.trust)?;
            way.compare(Digests::of(&BTreeMap::new()).whole())
                .await
                .map_err(|error| format!("{seed}: {error}"))
        }));
        let (mut found, mut failed) = (false, String::new());
        for answer in asked.await {
            match answer {
                Ok(answer) => {
                    self.known().list(cluster, answer.nodes, &self.parts.trust);
                    found = true;
                }
                Err(error) => failed = error,
            }
        }
        let mut lost = self.lost();
        let before = lost.remove(cluster);
        if !found {
            if before.is_none() {
                warn!(
                    cluster,
                    error = failed,
                    "no node of a federated cluster answers; what it advertises runs out"
                );
            }
            lost.insert(cluster.clone(), failed);
        }
    }

    /// Whether it is for this node to ask: of those that are alive the first by rendezvous, and the next once what is held was
    /// not confirmed for some time.
    fn is_turn(&self, source: &str, held: &Held, begun: Instant) -> bool {
        let registry = &self.parts.registry;
        let own = registry.node_id();
        let others = peers::controls(registry);
        let nodes = others.iter().map(|(node, _)| node.as_str()).chain([own]);
        let Some(rank) = rank(own, nodes, source).filter(|rank| *rank < STAND_BY) else { return false };
        let patience = self.settings.every * SILENT_INTERVALS * u32::try_from(rank).unwrap_or(u32::MAX);
        rank == 0 || begun.elapsed() >= patience && self.age(held, registry.view().now()) >= patience
    }

    /// For how long nobody has confirmed what is held.
    fn age(&self, held: &Held, now: Millis) -> Duration {
        let at = held.renewed_at;
        at.map_or(Duration::MAX, |at| Duration::from_millis(now.0.saturating_sub(at.0)))
    }

    /// Asks a node what it offers, and takes it over. Whether what is held is what it offers.
    async fn exchange_with(&self, source: &str, known: &Known, held: &Held, room: usize) -> bool {
        let ended = self.try_exchange(source, known, held, room).await;
        let result = match &ended {
            Ok(Ended::Same) => "same",
            Ok(Ended::Changed(_)) => "changed",
            Ok(Ended::NotReady) => "not_ready",
            Err(_) => "failed",
        };
        self.parts.metrics.count(&known.cluster, result);
        match &ended {
            Ok(Ended::Changed(changes)) => {
                info!(source, changes, "advertisements of another mesh taken over");
            }
            Err(error) if known.failures == 0 => {
                warn!(source, error, "a node of another mesh could not be asked");
            }
            Ok(_) | Err(_) => {}
        }
        let confirmed = matches!(ended, Ok(Ended::Same | Ended::Changed(_)));
        self.known().note(source, ended.map(|_| wall_clock::unix()));
        confirmed
    }

    async fn try_exchange(
        &self,
        source: &str,
        known: &Known,
        held: &Held,
        room: usize,
    ) -> Result<Ended, String> {
        let digests = Digests::of(&held.offered);
        let answer = known.way.compare(digests.whole()).await?;
        self.known().list(&known.cluster, answer.nodes, &self.parts.trust);
        match (answer.ready, answer.same) {
            (false, _) => return Ok(Ended::NotReady),
            (true, true) => return Ok(Ended::Same),
            (true, false) => {}
        }
        let (mut from, mut changes) = (0, 0);
        while (from as usize) < PARTS {
            let answer = known.way.fetch(&digests, from).await?;
            if !answer.ready {
                return Ok(Ended::NotReady);
            }
            changes += self.take(source, held, &answer, room.saturating_sub(changes)).await?;
            from = answer.next;
        }
        Ok(Ended::Changed(changes))
    }

    /// Removes what was fetched of clusters that are not federated any more, once no other node confirms it either.
    async fn clear(&self, held: &BTreeMap<String, Arc<Held>>) {
        let now = self.parts.registry.view().now();
        let barred = held.iter().filter(|(source, held)| {
            let is_federated = cluster_of(source).is_some_and(|cluster| self.parts.federation.has(cluster));
            !is_federated && self.age(held, now) >= self.settings.every * SILENT_INTERVALS
        });
        let gone = barred.flat_map(|(_, held)| &held.records);
        let gone: Vec<Write> = gone.map(|id| Write::Delete { id: id.clone() }).collect();
        match self.write(gone).await {
            Ok(0) => {}
            Ok(removed) => {
                info!(removed, "advertisements of clusters removed that are not federated any more");
            }
            Err(error) => debug!(error, "advertisements of clusters that are not federated not removed"),
        }
    }

    /// The nodes that are known, with how this one has found them.
    pub fn members(&self) -> Vec<HeardMember> {
        let own = self.parts.registry.node_id();
        let known = self.known();
        let members = known.all().map(|(source, known)| {
            let (state, by) = match (known.answered, known.failures) {
                (Some(_), 0) => (State::Alive, Vec::new()),
                (Some(_), _) => (State::Suspect, vec![own.to_owned()]),
                (None, _) => (State::Unknown, Vec::new()),
            };
            let heard_at = known.answered.map(|at| timestamp(Millis(whole_ms(at))));
            HeardMember {
                node_id: source.clone(),
                cluster_id: known.cluster.clone(),
                endpoint: known.control.clone(),
                federated: true,
                health: Some(PeerHealth { state: state.into(), by, heard_at, ..PeerHealth::default() }),
            }
        });
        members.collect()
    }

    /// What keeps advertisements of other meshes from being fetched; `None`: nothing.
    pub fn trouble(&self) -> Option<String> {
        let told = self.lost();
        let told =
            told.iter().map(|(cluster, error)| format!("no node of cluster {cluster} answers: {error}"));
        Some(told.collect::<Vec<_>>().join("; ")).filter(|told| !told.is_empty())
    }

    fn known(&self) -> MutexGuard<'_, KnownNodes> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lost(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Fetches for Exchange {
    fn states(&self) -> Vec<pb::FederatedClusterState> {
        let held = Held::all(self.parts.registry.view());
        let mut states = BTreeMap::<String, pb::FederatedClusterState>::new();
        for (source, known) in self.known().all() {
            let registers = held.get(source).map_or(0, |held| held.records.len());
            states.entry(known.cluster.clone()).or_default().nodes.push(pb::FederatedNodeState {
                source: source.clone(),
                control: known.control.clone(),
                asked: known.asked,
                last_answer_at: known.answered.map(|at| timestamp(Millis(whole_ms(at)))),
                error: known.error.clone(),
                failures: known.failures,
                registers: u32::try_from(registers).unwrap_or(u32::MAX),
            });
        }
        for (cluster, error) in self.lost().iter() {
            states.entry(cluster.clone()).or_default().error.clone_from(error);
        }
        let states = states.into_iter();
        states.map(|(cluster, state)| pb::FederatedClusterState { cluster, ..state }).collect()
    }
}
