//! The exchange of advertisements with other clusters: fetches what their nodes offer, and keeps it true.

mod asking;
mod clusters;
mod known;
#[cfg(test)]
mod reload_test;
mod taking;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::join_all;
use futures_util::stream;
use omnirelay_core::text::chain;
use omnirelay_core::time::Millis;
use omnirelay_decisions::range_digest::{PARTS, RangeDigests, rank};
use omnirelay_host::chance::random_part;
use omnirelay_host::live::Live;
use omnirelay_host::wall_clock;
use omnirelay_node::transport::NodeTransport;
use omnirelay_peer_records as peers;
use omnirelay_registry::Registry;
use omnirelay_settings::Config;
use omnirelay_transport::carrier::ConnectionProtocol;
use omnirelay_wire::pb::omnirelay::mesh::control::v1::peer_health::State;
use omnirelay_wire::pb::omnirelay::mesh::control::v1::{HeardMember, PeerHealth};
use omnirelay_wire::pb::omnirelay::registers::v1 as pb;
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};
use tracing::{debug, info, warn};

use crate::advertisements::ClusterFetches;
use crate::advertisements::pool::ENTRIES_MAX;
use crate::fetch_metrics::ExchangeMetrics;
use asking::ClusterNeighbour;
use clusters::FetchedCluster;
use known::{ClusterNeighbours, KnownNeighbour};
use taking::{HeldOffers, OfferReceiver};

pub use clusters::{ClusterRelation, FetchedClusters};

/// How many nodes of one cluster are asked at a time.
const ASKED_AT_ONCE: usize = 8;
/// How many seeds of a cluster are asked at a time.
const SEEDS_AT_ONCE: usize = 3;
/// How long all that is asked of one node may take.
const EXCHANGE_WITHIN: Duration = Duration::from_secs(30);
/// How many nodes of a mesh may ask one of another: the first does, the others once it has not for some time.
const STAND_BY: usize = 3;
/// After so many intervals the next one asks.
const SILENT_INTERVALS: u32 = 4;

/// Parts that an exchange of advertisements is made with.
pub struct ExchangeParts {
    pub registry: Arc<Registry>,
    pub transport: Arc<NodeTransport>,
    /// Clusters that are fetched of.
    pub clusters: FetchedClusters,
    pub metrics: ExchangeMetrics,
}

/// Settings of the exchange: how often it is made, and how long what was fetched lives.
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

impl ExchangeSettings {
    /// As a configuration says, of a node with this secret.
    pub fn of(config: &Config, secret: &str) -> Self {
        let registers = &config.registers;
        let (every, ttl) = (registers.exchange_every(), registers.advertisement_ttl.0);
        Self { every, ttl, grace: config.session_ttl(), secret: secret.to_owned() }
    }
}

/// Fetches what nodes of other clusters offer.
pub struct AdvertisementFetch {
    parts: ExchangeParts,
    settings: Live<ExchangeSettings>,
    /// By cluster.
    known: Mutex<BTreeMap<String, ClusterNeighbours>>,
    begun: Instant,
}

/// Turn of one node to be asked by this one.
struct FetchTurn {
    source: String,
    known: KnownNeighbour,
    held: HeldOffers,
}

/// Outcome of an exchange with one node.
struct FetchOutcome {
    /// As metrics have it.
    result: &'static str,
    changes: usize,
    /// What of its answers is not taken, in words.
    untaken: String,
    /// Until when all that is held of it lives now, by what was done here.
    kept_until: Option<Millis>,
}

impl FetchOutcome {
    fn of(result: &'static str) -> Self {
        Self { result, changes: 0, untaken: String::new(), kept_until: None }
    }
}

impl AdvertisementFetch {
    /// Nothing is asked until [`Self::run`] is.
    pub fn new(parts: ExchangeParts, settings: impl Into<Live<ExchangeSettings>>) -> Self {
        Self { parts, settings: settings.into(), known: Mutex::default(), begun: Instant::now() }
    }

    /// The clusters that are fetched of.
    pub fn clusters(&self) -> &FetchedClusters {
        &self.parts.clusters
    }

    /// Asks again and again, for ever, those that are fetched of by then.
    pub async fn run(self: Arc<Self>) {
        let mut chosen = self.parts.clusters.subscribe();
        loop {
            let fetched = chosen.borrow_and_update().clone();
            let of = |cluster: &str| fetched.iter().find(|fetched| fetched.cluster == cluster);
            self.known
                .lock()
                .retain(|cluster, known| of(cluster).is_some_and(|of| of.relation == known.relation()));
            self.parts.metrics.retain(|cluster| of(cluster).is_some());
            // Each goes by itself: one that is slow keeps no other one waiting.
            let all = async {
                join_all(fetched.iter().map(|fetched| self.follow(fetched))).await;
                std::future::pending::<()>().await;
            };
            tokio::select! {
                changed = chosen.changed() => if changed.is_err() { return },
                () = all => {}
            }
        }
    }

    async fn follow(&self, fetched: &FetchedCluster) {
        loop {
            let (registry, view) = (&self.parts.registry, self.parts.registry.view());
            let ttl = self.settings.get().ttl;
            if view.head().caught_up && view.silence().is_none() && peers::own_session(registry).is_some() {
                self.round(fetched).await;
            }
            self.pause(ttl).await;
        }
    }

    /// Waits until the next round is due: after an interval, or because what was fetched is to live for another time than `ttl`.
    async fn pause(&self, ttl: Duration) {
        let part = 1.0 - 0.2 * random_part();
        let every = self.settings.map(move |settings| settings.every.mul_f64(part));
        let other_ttl = async {
            let mut settings = self.settings.clone();
            while settings.get().ttl == ttl {
                settings.replaced().await;
            }
        };
        tokio::select! {
            () = every.sleep() => {}
            () = other_ttl => {}
        }
    }

    /// Asks each node of a cluster whose turn it is for this one.
    async fn round(&self, fetched: &FetchedCluster) {
        let cluster = &fetched.cluster;
        self.discover(fetched).await;
        let mut held = HeldOffers::of_cluster(self.parts.registry.view(), cluster, self.settings.get().ttl);
        let count: usize = held.values().map(HeldOffers::len).sum();
        let room = AtomicUsize::new(ENTRIES_MAX.saturating_sub(count));
        let fetchers = peers::fetchers(&self.parts.registry, cluster);
        let mut turns = Vec::new();
        let due = self.of_cluster(fetched, |known| known.due());
        for (source, known) in due {
            let held = held.remove(&source).unwrap_or_default();
            let asked = self.is_turn(&source, &known, &held, &fetchers);
            self.of_node(fetched, &source, |known| known.asked = asked);
            if asked {
                turns.push(FetchTurn { source, known, held });
            }
        }
        let asked = turns.iter().map(|turn| self.exchange_with(fetched, turn, &room));
        stream::iter(asked).for_each_concurrent(ASKED_AT_ONCE, |asked| asked).await;
    }

    /// Finds out which nodes of a cluster there are, when nobody has said so for some time.
    async fn discover(&self, fetched: &FetchedCluster) {
        let FetchedCluster { cluster, relation, seeds } = fetched;
        if !self.of_cluster(fetched, |known| known.wants_list()) {
            return;
        }
        let mut seeds = seeds.clone();
        fastrand::shuffle(&mut seeds);
        seeds.truncate(SEEDS_AT_ONCE);
        let asked = join_all(seeds.iter().map(|seed| async move {
            let way = ClusterNeighbour::at(seed, (cluster, *relation), None, &self.parts.transport)?;
            way.compare(0, true).await.map_err(|error| format!("{seed}: {error}"))
        }));
        let (mut found, mut failed) = (false, String::new());
        for answer in asked.await {
            match answer {
                Ok(answer) => {
                    self.of_cluster(fetched, |known| {
                        known.list(cluster, answer.nodes, &self.parts.transport);
                    });
                    found = true;
                }
                Err(error) => failed = error,
            }
        }
        if !found && self.of_cluster(fetched, |known| known.note_lost(failed.clone())) {
            warn!(cluster, error = failed, "no seed of another cluster answers");
        }
    }

    /// Whether it is for this node to ask: the first of those that fetch of its cluster, by rendezvous, does. The next does once
    /// what is held was not confirmed for some time, and goes on until somebody else confirms it.
    fn is_turn(&self, source: &str, known: &KnownNeighbour, held: &HeldOffers, fetchers: &[String]) -> bool {
        let own = self.parts.registry.node_id();
        let rank = rank(own, fetchers.iter().map(String::as_str), source);
        let Some(rank) = rank.filter(|rank| *rank < STAND_BY) else { return false };
        let patience = self.settings.get().every * SILENT_INTERVALS * u32::try_from(rank).unwrap_or(u32::MAX);
        let is_silent = self.begun.elapsed() >= patience && self.age(held) >= patience;
        let is_kept_here = known.kept_until.is_some() && held.until <= known.kept_until;
        rank == 0 || is_silent || is_kept_here
    }

    /// For how long nobody has confirmed what is held.
    fn age(&self, held: &HeldOffers) -> Duration {
        let now = self.parts.registry.view().now();
        held.confirmed_at.map_or(Duration::MAX, |at| Duration::from_millis(now.0.saturating_sub(at.0)))
    }

    /// Asks a node what it offers, and takes it over.
    async fn exchange_with(&self, fetched: &FetchedCluster, turn: &FetchTurn, room: &AtomicUsize) {
        let (cluster, source) = (&fetched.cluster, &turn.source);
        let ended = timeout(EXCHANGE_WITHIN, self.try_exchange(fetched, turn, room)).await;
        match ended.unwrap_or_else(|_| Err(format!("not done within {} s", EXCHANGE_WITHIN.as_secs()))) {
            Ok(FetchOutcome { result, changes, untaken, kept_until }) => {
                self.parts.metrics.count(cluster, result);
                if changes > 0 {
                    info!(source, changes, "advertisements of another mesh taken over");
                }
                if !untaken.is_empty() && untaken != turn.known.error {
                    warn!(source, error = untaken, "not all advertisements of another mesh taken over");
                }
                self.of_node(fetched, source, |known| {
                    known.kept_until = kept_until.or(known.kept_until);
                    known.note_answer(wall_clock::unix(), untaken);
                });
            }
            Err(error) => {
                self.parts.metrics.count(cluster, "failed");
                let is_news = self.of_node(fetched, source, |known| known.note_failure(error.clone()));
                if is_news == Some(true) {
                    warn!(source, error, "a node of another mesh could not be asked");
                }
            }
        }
    }

    async fn try_exchange(
        &self,
        fetched: &FetchedCluster,
        turn: &FetchTurn,
        room: &AtomicUsize,
    ) -> Result<FetchOutcome, String> {
        let FetchTurn { source, known, held } = turn;
        let offered = held.offered();
        let digests = RangeDigests::of(&offered);
        let wants_list = self.of_cluster(fetched, |known| known.wants_list());
        let answer = known.way.compare(digests.whole(), wants_list).await?;
        if wants_list {
            self.of_cluster(fetched, |known| {
                known.list(&fetched.cluster, answer.nodes, &self.parts.transport);
            });
        }
        let (group, opened_until, untaken) = (None, None, None);
        let (exchange, offered) = (self, &offered);
        let mut taking =
            OfferReceiver { exchange, source, held, offered, room, group, opened_until, changes: 0, untaken };
        if !answer.ready {
            return Ok(FetchOutcome::of("not_ready"));
        }
        taking.rebind().await?;
        let (is_same, mut from) = (answer.same, 0);
        while !is_same && (from as usize) < PARTS {
            let answer = known.way.fetch(&digests, from).await?;
            if !answer.ready {
                return Ok(FetchOutcome::of("not_ready"));
            }
            taking.take(&answer).await?;
            from = answer.next;
        }
        let result = if taking.changes > 0 { "changed" } else { "same" };
        let untaken =
            taking.untaken.map(|(count, why)| format!("{count} of its registers are not taken: {why}"));
        let (changes, untaken) = (taking.changes, untaken.unwrap_or_default());
        let kept_until = self.confirm(held).await.max(taking.opened_until);
        Ok(FetchOutcome { result, changes, untaken, kept_until })
    }

    /// Keeps what was found to be true from running out, and says until when.
    async fn confirm(&self, held: &HeldOffers) -> Option<Millis> {
        let (registry, ExchangeSettings { every, grace, .. }) = (&self.parts.registry, self.settings.get());
        // What was loaded at the start is confirmed at once.
        let is_of_before = held.confirmed_at.is_some_and(|at| at < registry.begun_at());
        if held.groups.is_empty() || self.age(held) < every / 2 && !is_of_before {
            return None;
        }
        let groups = held.groups.iter().cloned().collect();
        match registry.renew_groups(groups, grace).await {
            Ok(renewed) => renewed.into_iter().flatten().min(),
            Err(error) => {
                debug!(error = %chain(&error), "advertisements of another mesh not confirmed; trying again");
                None
            }
        }
    }

    /// The nodes of federated clusters that are known, with how this one has found those that it asks.
    pub fn members(&self) -> Vec<HeardMember> {
        let own = self.parts.registry.node_id();
        let all = self.known.lock();
        let federated = all.iter().filter(|(_, known)| known.relation() == ClusterRelation::Federated);
        let nodes = federated.flat_map(|(cluster, known)| known.nodes().map(move |node| (cluster, node)));
        let members = nodes.map(|(cluster, (source, known))| {
            let (state, by) = match (known.asked, known.answered, known.failures) {
                (true, Some(_), 0) => (State::Alive, Vec::new()),
                (true, Some(_), _) => (State::Suspect, vec![own.to_owned()]),
                (true, None, _) | (false, ..) => (State::Unknown, Vec::new()),
            };
            HeardMember {
                node_id: source.clone(),
                cluster_id: cluster.clone(),
                endpoint: known.control.clone(),
                federated: true,
                health: Some(PeerHealth {
                    state: state.into(),
                    by,
                    heard_at: known.answered_at(),
                    ..PeerHealth::default()
                }),
            }
        });
        members.collect()
    }

    /// Trouble that keeps advertisements of other meshes from being fetched; `None`: there is none.
    pub fn trouble(&self) -> Option<String> {
        let all = self.known.lock();
        let told = all.iter().filter_map(|(cluster, known)| {
            Some(format!("no node of cluster {cluster} answers: {}", known.trouble()?))
        });
        Some(told.collect::<Vec<_>>().join("; ")).filter(|told| !told.is_empty())
    }

    fn of_cluster<T>(&self, of: &FetchedCluster, act: impl FnOnce(&mut ClusterNeighbours) -> T) -> T {
        let mut known = self.known.lock();
        act(known.entry(of.cluster.clone()).or_insert_with(|| ClusterNeighbours::of(of.relation)))
    }

    fn of_node<T>(
        &self,
        of: &FetchedCluster,
        source: &str,
        act: impl FnOnce(&mut KnownNeighbour) -> T,
    ) -> Option<T> {
        self.of_cluster(of, |known| known.get_mut(source).map(act))
    }
}

impl ClusterFetches for AdvertisementFetch {
    fn states(&self) -> Vec<pb::FederatedClusterState> {
        let (view, ttl) = (self.parts.registry.view(), self.settings.get().ttl);
        let all = self.known.lock();
        let states = all.iter().map(|(cluster, known)| {
            let held = HeldOffers::of_cluster(view, cluster, ttl);
            let nodes = known.nodes().map(|(source, known)| pb::FederatedNodeState {
                source: source.clone(),
                control: known.control.clone(),
                asked: known.asked,
                last_answer_at: known.answered_at(),
                error: known.error.clone(),
                failures: known.failures,
                protocol: known.way.protocol().map(ConnectionProtocol::word).unwrap_or_default().to_owned(),
                registers: u32::try_from(held.get(source).map_or(0, HeldOffers::len)).unwrap_or(u32::MAX),
            });
            pb::FederatedClusterState {
                cluster: cluster.clone(),
                error: known.trouble().unwrap_or_default().to_owned(),
                sibling: known.relation() == ClusterRelation::Sibling,
                nodes: nodes.collect(),
            }
        });
        states.collect()
    }
}
