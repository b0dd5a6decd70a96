//! Reading of what is advertised: this node's from its memory, everybody else's from the view.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use omnirelay_core::time::Millis;
use omnirelay_decisions::range_digest::cluster_of;
use omnirelay_nouns::listing::is_among;
use omnirelay_nouns::timestamp;
use omnirelay_peer_records as peers;
use omnirelay_registry::Registry;
use omnirelay_registry::past::PastView;
use omnirelay_registry::view::{View, ViewRecord};
use omnirelay_store::GroupRef;
use omnirelay_wire::pb::omnirelay::registers::v1 as pb;
use omnirelay_wire::pb::omnirelay::store::v1::AdvertisementValue;

use super::pool::{LocalEntry, Pool};
use super::{ADVERTISEMENT, advertisement_id, parts};
use pb::advertisement::SyncState;

/// Advertisements of a register, in the order of the sources: what anybody may see, and what this node hides.
pub fn of_register(pool: &Pool, register_id: &str) -> Vec<pb::Advertisement> {
    all(pool, |_, register| register == register_id)
}

/// The advertisements of the sources and registers that are `wanted`, in the order of their keys;
/// those that are not public only if they are this node's own.
pub(super) fn all(pool: &Pool, wanted: impl Fn(&str, &str) -> bool) -> Vec<pb::Advertisement> {
    let mut shown = gather(pool, wanted);
    shown.sort_by_cached_key(key);
    shown
}

/// Those that were in the registry at a moment and that anybody may see, in the order of their keys.
pub(super) fn past(past: &PastView, wanted: impl Fn(&str, &str) -> bool) -> Vec<pb::Advertisement> {
    let mut showing = AdvertisementReading::at(past);
    let records = past.view.list(&ADVERTISEMENT).records;
    let wanted = records.iter().filter(|record| {
        parts(&record.record.id).is_some_and(|(source, register, _)| wanted(source, register))
    });
    let shown = wanted.filter_map(|record| showing.record(record)).filter(|shown| shown.is_public);
    shown.collect()
}

/// The same in no order.
fn gather(pool: &Pool, wanted: impl Fn(&str, &str) -> bool) -> Vec<pb::Advertisement> {
    let registry = pool.registry();
    let (view, node) = (registry.view(), registry.node_id());
    let (mut showing, sources) = (AdvertisementReading::of(registry), pool.sources());
    let mut shown: Vec<pb::Advertisement> = Vec::new();
    let records = view.list(&ADVERTISEMENT).records;
    for record in records.iter() {
        let Some((source, register, _)) = parts(&record.record.id) else { continue };
        if source == node || !wanted(source, register) || !sources.count(source) {
            continue;
        }
        shown.extend(showing.record(record).filter(|shown| shown.is_public));
    }
    let own = pool.entries(|register| wanted(node, register));
    shown.extend(own.into_iter().map(|entry| written(local(node, entry), &records)));
    shown
}

/// An advertisement of this node with what the store has of it besides, out of all records in the order of their keys.
fn written(shown: pb::Advertisement, records: &[Arc<ViewRecord>]) -> pb::Advertisement {
    let key = key(&shown);
    let place = records.binary_search_by(|record| record.record.id.key.as_str().cmp(&key));
    match place.ok().and_then(|place| records.get(place)) {
        Some(found) => pb::Advertisement {
            version: found.record.version.0,
            last_writer_id: found.record.writer.to_string(),
            ..shown
        },
        None => shown,
    }
}

/// The key of the record of an advertisement, in whose order they are listed.
pub(super) fn key(shown: &pb::Advertisement) -> String {
    advertisement_id(&shown.source, &shown.register_id, &shown.producer).key
}

/// Number of advertisements of other nodes that can be seen.
pub fn remote_count(pool: &Pool) -> usize {
    let (view, node) = (pool.registry().view(), pool.registry().node_id());
    let (records, sources) = (view.list(&ADVERTISEMENT).records, pool.sources());
    let remote = records.iter().filter(|record| {
        let foreign =
            parts(&record.record.id).is_some_and(|(source, ..)| source != node && sources.count(source));
        foreign && record.value::<AdvertisementValue>().is_some_and(|value| value.is_public)
    });
    remote.count()
}

/// The ids of the public registers, each once, in their order; `sources` empty: of all nodes.
pub(super) fn available_ids(pool: &Pool, sources: &[String]) -> Vec<String> {
    let (view, node) = (pool.registry().view(), pool.registry().node_id());
    let counting = pool.sources();
    let mut ids = if is_among(sources, node) { pool.public_ids() } else { Vec::new() };
    for record in view.list(&ADVERTISEMENT).records.iter() {
        let Some((source, register, _)) = parts(&record.record.id) else { continue };
        let shown = source != node
            && is_among(sources, source)
            && counting.count(source)
            && record.value::<AdvertisementValue>().is_some_and(|value| value.is_public);
        if shown {
            ids.push(register.to_owned());
        }
    }
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// Those of the public registers whose ids, which are in order, are `wanted`.
pub(super) fn available(pool: &Pool, sources: &[String], wanted: &[String]) -> Vec<pb::AvailableRegister> {
    let node = pool.registry().node_id();
    let is_wanted = |source: &str, register: &str| {
        is_among(sources, source) && wanted.binary_search_by(|id| id.as_str().cmp(register)).is_ok()
    };
    gathered(gather(pool, is_wanted).into_iter().filter(|shown| shown.is_public), node)
}

/// Registers that were public at a moment, in the order of their ids; `sources` empty: of all nodes.
pub(super) fn past_available(
    past_view: &PastView,
    node: &str,
    sources: &[String],
) -> Vec<pb::AvailableRegister> {
    gathered(past(past_view, |source, _| is_among(sources, source)).into_iter(), node)
}

/// Registers of which these are the advertisements, in the order of their ids, as `node` shows them.
fn gathered(shown: impl Iterator<Item = pb::Advertisement>, node: &str) -> Vec<pb::AvailableRegister> {
    let mut registers: BTreeMap<String, GatheredRegister> = BTreeMap::new();
    for shown in shown {
        registers.entry(shown.register_id.clone()).or_default().add(shown, node);
    }
    registers.into_iter().map(|(id, gathered)| gathered.register(id)).collect()
}

/// Register as it is gathered from its advertisements.
#[derive(Default)]
struct GatheredRegister {
    register: pb::AvailableRegister,
    sources: BTreeSet<String>,
    others: BTreeSet<String>,
    replicas: BTreeSet<String>,
    confirmed: bool,
    /// What this node says counts before what others say.
    named_here: bool,
    described_here: bool,
}

impl GatheredRegister {
    fn add(&mut self, shown: pb::Advertisement, node: &str) {
        let here = shown.source == node;
        let state = shown.sync_state();
        let register = &mut self.register;
        register.latest_version = register.latest_version.max(shown.latest_version);
        register.latest_docket_version = register.latest_docket_version.max(shown.latest_docket_version);
        prefer(&mut register.name, shown.name, here, &mut self.named_here);
        prefer(&mut register.description, shown.description, here, &mut self.described_here);
        let at = |time: &Option<omnirelay_wire::timestamp::Timestamp>| time.map(|at| (at.seconds, at.nanos));
        if at(&shown.expires_at) > at(&register.expires_at) {
            register.expires_at = shown.expires_at;
        }
        self.confirmed |= state != SyncState::Unverified;
        if !here {
            self.others.insert(shown.source.clone());
            if state == SyncState::FullyReplicated {
                self.replicas.insert(shown.source.clone());
            }
        }
        self.sources.insert(shown.source);
    }

    fn register(self, register_id: String) -> pb::AvailableRegister {
        let state = if self.confirmed { SyncState::Active } else { SyncState::Unverified };
        pb::AvailableRegister {
            register_id,
            is_public: true,
            peer_count: self.others.len() as u32,
            full_replica_peer_count: self.replicas.len() as u32,
            sources: self.sources.into_iter().collect(),
            sync_state: state.into(),
            ..self.register
        }
    }
}

fn prefer(known: &mut String, said: String, here: bool, from_here: &mut bool) {
    if !said.is_empty() && (known.is_empty() || here && !*from_here) {
        *known = said;
        *from_here |= here;
    }
}

/// Shows advertisements of one moment; what is asked of a group or a source is asked once.
pub(super) struct AdvertisementReading<'a> {
    view: &'a View,
    begun_at: Millis,
    groups: BTreeMap<GroupRef, GroupEnd>,
    alive_since: BTreeMap<String, Option<Millis>>,
}

/// End of a group, and whether it is confirmed.
#[derive(Clone, Copy)]
struct GroupEnd {
    /// `None`: nobody knows.
    ends_at: Option<Millis>,
    /// Whether it was refreshed since its source is there.
    confirmed: bool,
}

impl<'a> AdvertisementReading<'a> {
    pub(super) fn of(registry: &'a Registry) -> Self {
        Self::new(registry.view(), registry.begun_at())
    }

    fn at(past: &'a PastView) -> Self {
        Self::new(&past.view, past.at)
    }

    fn new(view: &'a View, begun_at: Millis) -> Self {
        Self { view, begun_at, groups: BTreeMap::new(), alive_since: BTreeMap::new() }
    }

    /// An advertisement of another node, or of this one as the store has it.
    pub(super) fn record(&mut self, record: &ViewRecord) -> Option<pb::Advertisement> {
        let (source, register_id, producer) = parts(&record.record.id)?;
        let value = record.value::<AdvertisementValue>()?;
        let standing = record.record.group.as_ref().map(|group| self.end_of(source, group));
        let state = match standing {
            Some(GroupEnd { confirmed: true, .. }) => value.sync_state(),
            Some(_) | None => SyncState::Unverified,
        };
        Some(pb::Advertisement {
            register_id: register_id.to_owned(),
            source: source.to_owned(),
            producer: producer.to_owned(),
            name: value.name.clone(),
            description: value.description.clone(),
            is_public: value.is_public,
            latest_version: value.latest_version,
            latest_docket_version: value.latest_docket_version,
            sync_state: state.into(),
            timestamp: Some(timestamp(record.record.updated_at)),
            expires_at: standing.and_then(|standing| standing.ends_at).map(timestamp),
            version: record.record.version.0,
            last_writer_id: record.record.writer.to_string(),
        })
    }

    fn end_of(&mut self, source: &str, of: &GroupRef) -> GroupEnd {
        if let Some(known) = self.groups.get(of) {
            return *known;
        }
        let since = match self.alive_since.get(source) {
            Some(since) => *since,
            None => {
                // What was fetched of another mesh is confirmed if that was done since this daemon has started.
                let since = match cluster_of(source) {
                    Some(_) => Some(self.begun_at),
                    None => peers::alive_since(self.view, source),
                };
                self.alive_since.insert(source.to_owned(), since);
                since
            }
        };
        let standing = match self.view.group(&of.id) {
            Some(group) => GroupEnd {
                ends_at: self.view.ends_at(of),
                confirmed: since.is_some_and(|since| group.renewed_at >= since),
            },
            // It was opened a moment ago: the next beat tells of it.
            None => GroupEnd { ends_at: None, confirmed: since.is_some() },
        };
        self.groups.insert(of.clone(), standing);
        standing
    }
}

/// An advertisement of this node.
fn local(node: &str, entry: LocalEntry) -> pb::Advertisement {
    let state = if entry.confirmed { entry.value.sync_state() } else { SyncState::Unverified };
    pb::Advertisement {
        register_id: entry.register_id,
        source: node.to_owned(),
        producer: entry.producer.as_str().to_owned(),
        name: entry.value.name,
        description: entry.value.description,
        is_public: entry.value.is_public,
        latest_version: entry.value.latest_version,
        latest_docket_version: entry.value.latest_docket_version,
        sync_state: state.into(),
        timestamp: Some(timestamp(entry.changed_at)),
        expires_at: entry.ends_at.map(timestamp),
        ..pb::Advertisement::default()
    }
}
