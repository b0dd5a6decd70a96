//! The pool of one node: what it advertises, in memory and in the store.
//!
//! Memory is what the node wants to advertise and what its readers see; the store is brought to it, in commits of
//! a bounded size, at once when it can be reached and as soon as it can otherwise. What other nodes advertise is
//! read from the view and never touched.

mod keep;
mod memory;
#[cfg(test)]
mod pool_test;
mod push;
mod shelf;
mod write;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use omnirelay_core::time::Millis;
use omnirelay_decisions::range_digest::{OfferedRegisters, cluster_of, offer};
use omnirelay_decisions::register::EntryBefore;
use omnirelay_decisions::register::group_refresh::EntryKeeping;
use omnirelay_host::live::Live;
use omnirelay_host::log::FaultLimiter;
use omnirelay_identity::caller::cluster_kin;
use omnirelay_peer_records::own_session;
use omnirelay_peer_records::unproven::{UnprovenNodes, UnprovenReasons};
use omnirelay_registry::Registry;
use omnirelay_registry::view::ViewRecord;
use omnirelay_settings::Config;
use omnirelay_store::{COMMIT_WRITES_MAX, GroupRef, Record, StoreError};
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::store::v1::AdvertisementValue;
use parking_lot::Mutex;
use prost::Message;
use tokio::time::Instant;
use xxhash_rust::xxh64::Xxh64;

use super::{ADVERTISEMENT, parts};
use memory::{PoolMemory, TakenIn};
pub use push::{ProducerPush, PushOutcome};
use shelf::{Entry, StoreReading, StoredEntry};

/// The most changes of one commit: the audit record of the push needs a place as well.
pub const BATCH_MAX: usize = COMMIT_WRITES_MAX - 1;
/// How many changes a commit has unless it is said: others wait for it, and so does the server of the store.
pub const BATCH: usize = 64;
/// The most entries of one producer.
pub const ENTRIES_MAX: usize = 100_000;
/// The most producers of one node, those of federated clusters not counted.
const PRODUCERS_MAX: usize = 64;
/// The most of one federated cluster; together they have no more entries than one producer may.
const FEDERATED_MAX: usize = 32;
/// The longest name of a producer in bytes.
const PRODUCER_BYTES_MAX: usize = 256;
/// How many entries of the store are compared at a time.
const TAKEN_AT_ONCE: usize = 256;
/// How long what a comparison has found is left to the push behind it.
const COMPARED_WAIT: Duration = Duration::from_secs(2);

/// Producer that pushes: `catalogue`, `http:NAME` or `file`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Producer(String);

impl Producer {
    /// The node's own catalogue.
    pub fn catalogue() -> Self {
        Self("catalogue".to_owned())
    }

    /// A file of an operator.
    pub fn file() -> Self {
        Self("file".to_owned())
    }

    /// A register service outside, which calls as `principal`.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` when its name is too long to be kept.
    pub fn http(principal: &str) -> Result<Self, Fault> {
        let name = format!("http:{principal}");
        if name.len() > PRODUCER_BYTES_MAX {
            let message = format!("the name of the caller is longer than {PRODUCER_BYTES_MAX} bytes");
            return Err(Fault::invalid(message));
        }
        Ok(Self(name))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What the nodes of its federated cluster have in common; `None`: it is of this mesh.
    fn kin(&self) -> Option<&str> {
        self.0.strip_prefix("http:").and_then(cluster_kin)
    }

    fn keeping(&self) -> EntryKeeping {
        match self.0.as_str() {
            "catalogue" => EntryKeeping::WhileRunning,
            "file" => EntryKeeping::NotAtAll,
            _ => EntryKeeping::OnceMore,
        }
    }
}

/// Settings by which the pool keeps what it holds.
#[derive(Clone, Debug)]
pub struct PoolSettings {
    /// How long an advertisement lives without a refresh.
    pub ttl: Duration,
    /// As of the session: how long others get to be heard after a silence of the store.
    pub grace: Duration,
    /// Opens the groups of this node's advertisements.
    pub secret: String,
}

impl PoolSettings {
    /// As a configuration says, of a node with this secret.
    pub fn of(config: &Config, secret: &str) -> Self {
        let (ttl, grace) = (config.registers.advertisement_ttl.0, config.session_ttl());
        Self { ttl, grace, secret: secret.to_owned() }
    }
}

/// One entry of this node, as readers see it.
pub struct LocalEntry {
    pub producer: Producer,
    pub register_id: String,
    pub value: AdvertisementValue,
    /// True: its producer has pushed it since this process started.
    pub confirmed: bool,
    pub changed_at: Millis,
    /// When it runs out unless it is refreshed; `None`: it is only in memory, or the store does not answer.
    pub ends_at: Option<Millis>,
}

/// Counts of this node's entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LocalCounts {
    pub entries: usize,
    pub unverified: usize,
    /// What waits for the store, withdrawals included.
    pub deferred: usize,
}

/// Sources whose advertisements count at one moment.
pub struct CountedSources<'a> {
    pool: &'a Pool,
    unproven: Arc<UnprovenReasons>,
}

impl CountedSources<'_> {
    /// Whether what a source advertises is anybody's business here: of a cluster that is federated, or of a node that is one of the
    /// mesh. What this node itself advertises is known to it.
    pub fn count(&self, source: &str) -> bool {
        match cluster_of(source) {
            Some(cluster) => (self.pool.federates)(cluster),
            None => source == self.pool.registry.node_id() || !self.unproven.contains_key(source),
        }
    }
}

/// Check whether another daemon has the id of this node.
type RivalCheck = Box<dyn Fn() -> bool + Send + Sync>;
/// Check whether a cluster of another mesh is federated.
type FederationCheck = Box<dyn Fn(&str) -> bool + Send + Sync>;

/// Pool of what this node advertises.
pub struct Pool {
    registry: Arc<Registry>,
    settings: Live<PoolSettings>,
    /// Whether another daemon has this node's id.
    rival: RivalCheck,
    /// Whether a cluster of another mesh is federated.
    federates: FederationCheck,
    /// Which nodes are none of the mesh.
    unproven: UnprovenNodes,
    memory: Mutex<PoolMemory>,
    /// One comparison at a time: each has to know what is written meanwhile.
    comparing: tokio::sync::Mutex<()>,
    /// One commit at a time, so that each writes what memory wants by then.
    turn: tokio::sync::Mutex<()>,
    refused: FaultLimiter<StoreError>,
}

impl Pool {
    /// A pool of the registry's node. `rival` says whether another daemon is known to have the node's id.
    pub fn new(
        registry: Arc<Registry>,
        settings: impl Into<Live<PoolSettings>>,
        rival: impl Fn() -> bool + Send + Sync + 'static,
    ) -> Self {
        Self {
            registry,
            settings: settings.into(),
            rival: Box::new(rival),
            federates: Box::new(|_| false),
            unproven: UnprovenNodes::default(),
            memory: Mutex::default(),
            comparing: tokio::sync::Mutex::default(),
            turn: tokio::sync::Mutex::default(),
            refused: FaultLimiter::default(),
        }
    }

    /// Shows what was fetched of the clusters that `federates` knows by then, and of no others.
    #[must_use]
    pub fn federating(mut self, federates: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        self.federates = Box::new(federates);
        self
    }

    /// Sources whose advertisements count now, as this node judges it.
    pub fn sources(&self) -> CountedSources<'_> {
        CountedSources { pool: self, unproven: self.unproven.of(self.registry.view()) }
    }

    /// Differs whenever the nodes that count do, though no advertisement was changed.
    pub fn sources_seen(&self) -> u64 {
        let unproven = self.unproven.of(self.registry.view());
        let mut names = Xxh64::new(0);
        // Its own count in any case.
        unproven.keys().filter(|node| **node != *self.registry.node_id()).for_each(|node| {
            names.update(node.as_bytes());
            names.update(b" ");
        });
        names.digest()
    }

    pub fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// The entries of a producer, as memory and the last comparison with the store have them.
    pub fn held(&self, producer: &Producer) -> BTreeMap<String, EntryBefore> {
        self.take_in_epoch();
        let memory = self.memory.lock();
        let entries = memory.shelves.get(producer).map(|shelf| &shelf.entries);
        entries.into_iter().flatten().map(|(id, entry)| (id.clone(), entry.held.clone())).collect()
    }

    /// What this node advertises of the registers that are `wanted`, hidden entries included, in the order of
    /// producers and ids.
    pub fn entries(&self, wanted: impl Fn(&str) -> bool) -> Vec<LocalEntry> {
        self.take_in_epoch();
        let mut shown = Vec::new();
        self.visit(|producer, id, entry, ends_at| {
            if !wanted(id) {
                return;
            }
            shown.push(LocalEntry {
                producer: producer.clone(),
                register_id: id.to_owned(),
                value: entry.held.value.clone(),
                confirmed: entry.pushed.is_some(),
                changed_at: entry.changed_at,
                ends_at,
            });
        });
        shown
    }

    /// The ids of the registers that this node advertises to everybody, in no order, some more than once.
    pub fn public_ids(&self) -> Vec<String> {
        self.take_in_epoch();
        let mut ids = Vec::new();
        self.visit(|_, id, entry, _| {
            if entry.held.value.is_public {
                ids.push(id.to_owned());
            }
        });
        ids
    }

    /// Offer of this node to other meshes: what it advertises to everybody, and has not from another mesh itself.
    pub fn offered(&self) -> OfferedRegisters {
        self.take_in_epoch();
        let mut offered = OfferedRegisters::new();
        self.visit(|producer, id, entry, _| {
            if producer.kin().is_none() && entry.held.value.is_public {
                offer(&mut offered, id, &entry.held.value);
            }
        });
        offered
    }

    /// Counts of the entries.
    pub fn counts(&self) -> LocalCounts {
        self.take_in_epoch();
        let mut counts = LocalCounts::default();
        self.visit(|_, _, entry, _| {
            counts.entries += 1;
            counts.unverified += usize::from(entry.pushed.is_none());
        });
        counts.deferred = self.memory.lock().waiting().iter().map(|(_, ids)| ids.len()).sum();
        counts
    }

    /// Shows every entry that has not run out.
    fn visit(&self, mut show: impl FnMut(&Producer, &str, &Entry, Option<Millis>)) {
        let (ttl, memory, now) = (self.ttl(), self.memory.lock(), Instant::now());
        let view = self.registry.view();
        for (producer, shelf) in &memory.shelves {
            let keeping = producer.keeping();
            let group = shelf.group.as_ref();
            let lives = group.is_some_and(|group| view.is_live(group));
            let heard = group.filter(|_| lives).and_then(|group| view.ends_at(group));
            // The view hears of a refresh a moment later.
            let ends_at = heard.max(shelf.deadline.filter(|_| lives && view.silence().is_none()));
            for (id, entry) in &shelf.entries {
                if lives || entry.is_wanted(keeping, ttl, now) {
                    show(producer, id, entry, ends_at);
                }
            }
        }
    }

    /// Compares what the store holds of this node with memory, by reading all of it: what is missing or other there
    /// is written by the next push, or two seconds later, and what memory does not know is held as unverified from now on.
    /// True: they were the same.
    ///
    /// # Errors
    /// Those of the store; memory is as it was.
    pub async fn compare_with_store(&self) -> Result<bool, StoreError> {
        let _alone = self.comparing.lock().await;
        self.take_in_epoch();
        let epoch = {
            let mut memory = self.memory.lock();
            memory.comparing = Some(Default::default());
            memory.epoch
        };
        let read = self.read_store().await;
        let mut found = read.inspect_err(|_| self.memory.lock().comparing = None)?.into_iter().peekable();
        let mut taken = TakenIn::default();
        // In pieces, so that nobody who reads or pushes waits for ten thousand.
        while found.peek().is_some() {
            let some = found.by_ref().take(TAKEN_AT_ONCE).collect();
            {
                let mut memory = self.memory.lock();
                if memory.epoch != epoch {
                    break;
                }
                memory.take_some(some, StoreReading::Comparing, &mut taken);
            }
            tokio::task::yield_now().await;
        }
        let mut memory = self.memory.lock();
        if memory.epoch != epoch {
            memory.comparing = None;
            return Ok(false);
        }
        let same = memory.end_taking(taken);
        // Comparisons that follow each other quickly do not put it off: the push behind them is of one producer only.
        let until = memory.leave_until.unwrap_or_else(|| Instant::now() + COMPARED_WAIT);
        memory.leave_until = (!same).then_some(until);
        Ok(same)
    }

    async fn read_store(&self) -> Result<Vec<StoredEntry>, StoreError> {
        let prefix = format!("{}/", self.registry.node_id());
        let records = self.registry.read_under(&ADVERTISEMENT, &prefix).await?;
        Ok(records.iter().filter(|record| !record.deleted).filter_map(found_of).collect())
    }

    /// Takes in what the store has of this node, once in each epoch. False: the view has not loaded it.
    fn take_in_epoch(&self) -> bool {
        let view = self.registry.view();
        let head = view.head();
        if !head.caught_up {
            return false;
        }
        if self.memory.lock().epoch == head.epoch {
            return true;
        }
        let records = view.list(&ADVERTISEMENT).records;
        let own = records.iter().filter(|record| self.is_own(record));
        let found = own.filter_map(|record| found_of(&record.record)).collect();
        let mut memory = self.memory.lock();
        if memory.epoch != head.epoch {
            memory.begin_epoch(head.epoch, found, self.ttl(), Instant::now());
        }
        true
    }

    /// How long an advertisement lives without a refresh, as is set by now.
    fn ttl(&self) -> Duration {
        self.settings.get().ttl
    }

    fn is_own(&self, record: &ViewRecord) -> bool {
        parts(&record.record.id).is_some_and(|(source, ..)| source == self.registry.node_id())
    }

    /// The life of the session that this node's records need.
    fn session(&self) -> Option<GroupRef> {
        own_session(&self.registry)
    }
}

fn found_of(record: &Record) -> Option<StoredEntry> {
    let (_, register, producer) = parts(&record.id)?;
    Some(StoredEntry {
        producer: Producer(producer.to_owned()),
        register_id: register.to_owned(),
        value: AdvertisementValue::decode(record.value.clone()).ok(),
        group: record.group.clone(),
        changed_at: record.updated_at,
    })
}
