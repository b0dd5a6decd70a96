//! Namespaces and their shards as this daemon knows them, and the nodes that may own them.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use omnirelay_cluster_records::domain::{DomainKind, FollowedDomains, NamespacePlace};
use omnirelay_core::time::Millis;
use omnirelay_decisions::shards::map::{self, MapEdit};
use omnirelay_decisions::shards::member::{self, MemberObservation, ShardMember};
use omnirelay_decisions::shards::spec::{NamespaceRules, check_namespace};
use omnirelay_gossip::Gossip;
use omnirelay_gossip::gossip_health::doubted_for;
use omnirelay_leadership_records as leaders;
use omnirelay_nouns::listing::{self, ListMoment};
use omnirelay_peer_records as peers;
use omnirelay_peer_records::roster::PeerRoster;
use omnirelay_registry::Registry;
use omnirelay_registry::act::put;
use omnirelay_registry::cursor::Cursor;
use omnirelay_registry::view::{View, ViewReading, ViewRecord};
use omnirelay_store::{Precondition, Record, RecordId, RecordKind, Version, Write};
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::store::v1::namespace_value::Phase;
use omnirelay_wire::pb::omnirelay::store::v1::{
    NamespaceLoad, NamespaceValue, RebalancePlanValue, ShardLoadValue, ShardValue,
};
use omnirelay_wire::reasons;
use omnirelay_wire::timestamp::millis;
use prost::Message as _;

use super::pb;

/// Records of namespaces; the key is the name.
pub const NAMESPACE: RecordKind = RecordKind::of("namespace");
/// Records of shards; the key is `<namespace>/<shard>`.
pub const SHARD: RecordKind = RecordKind::of("shard");
/// Records of what has changed in a map; the key is `<namespace>/<version>`. They are read from the store alone.
pub const SHARD_CHANGE: RecordKind = RecordKind::of("shard-change");
/// Records of plans; the key is the id.
pub const PLAN: RecordKind = RecordKind::of("rebalance-plan");
/// What a node has to do; the key is its id, and the record is of its session.
pub const LOAD: RecordKind = RecordKind::of("shard-load");
/// What a node serves no more; the key is its id, and the record is of its session.
pub const RELEASE: RecordKind = RecordKind::of("shard-release");
/// What a commit changes besides the record of a namespace, when it changes shards.
pub(crate) static OF_MAP: [RecordKind; 3] = [NAMESPACE, SHARD, SHARD_CHANGE];

/// How many records one commit removes, and how many bytes of values.
const REMOVED_MAX: usize = 200;
const REMOVED_BYTES_MAX: usize = 4 * 1024 * 1024;

pub(crate) fn namespace_id(name: &str) -> RecordId {
    RecordId::new(NAMESPACE, name)
}

pub(crate) fn shard_id(namespace: &str, shard: &str) -> RecordId {
    RecordId::new(SHARD, format!("{namespace}/{shard}"))
}

/// The namespace that a shard's record is part of.
pub fn namespace_of_shard(shard: &Record) -> RecordId {
    let key = shard.id.key.as_str();
    namespace_id(key.split_once('/').map_or(key, |(namespace, _)| namespace))
}

/// The namespace that a plan's record is about.
pub fn namespace_of_plan(plan: &Record) -> RecordId {
    namespace_id(&namespace_of_plan_value(&plan.value))
}

/// Records that clusters follow of each other: all of a namespace but what its nodes say of themselves.
pub const DOMAIN_KINDS: [DomainKind; 4] = [
    DomainKind { kind: NAMESPACE, namespace: Some(NamespacePlace::Key(first_part)) },
    DomainKind { kind: SHARD, namespace: Some(NamespacePlace::Key(first_part)) },
    DomainKind { kind: SHARD_CHANGE, namespace: Some(NamespacePlace::Key(first_part)) },
    DomainKind { kind: PLAN, namespace: Some(NamespacePlace::Value(namespace_of_plan_value)) },
];

fn first_part(key: &str) -> String {
    key.split_once('/').map_or(key, |(namespace, _)| namespace).to_owned()
}

fn namespace_of_plan_value(value: &[u8]) -> String {
    RebalancePlanValue::decode(value).unwrap_or_default().plan.unwrap_or_default().namespace
}

pub(crate) fn plan_id(plan: &str) -> RecordId {
    RecordId::new(PLAN, plan)
}

/// The key of a change of a map.
pub(crate) fn change_key(namespace: &str, version: i64) -> String {
    format!("{namespace}/{version:020}")
}

/// The namespace and the shard that a record is of.
pub(crate) fn parts(id: &RecordId) -> Option<(&str, &str)> {
    id.key.split_once('/')
}

/// The records of one namespace, out of those of all in the order of their keys.
pub(crate) fn of_namespace<'r>(records: &'r [Arc<ViewRecord>], namespace: &str) -> &'r [Arc<ViewRecord>] {
    // `0` is what follows `/`.
    let place = |end: char| {
        let end = format!("{namespace}{end}");
        records.partition_point(|record| record.record.id.key < end)
    };
    records.get(place('/')..place('0')).unwrap_or_default()
}

/// All namespaces and all shards of one moment.
pub(crate) struct NamespaceMaps {
    pub cursor: Cursor,
    /// The newest commit that touched any of them.
    pub changed: Cursor,
    pub namespaces: Arc<Vec<Arc<ViewRecord>>>,
    pub shards: Arc<Vec<Arc<ViewRecord>>>,
}

impl NamespaceMaps {
    /// As they are now.
    pub(crate) fn of(view: &View) -> Self {
        loop {
            let (namespaces, shards) = (view.list(&NAMESPACE), view.list(&SHARD));
            // Each is read under its own lock.
            if namespaces.cursor == shards.cursor {
                return Self::both(namespaces, shards);
            }
        }
    }

    /// As they were when `shards` was read; `None`: the view does not reach back.
    pub(crate) fn at(view: &View, shards: ViewReading) -> Option<Self> {
        Some(Self::both(view.list_at(&NAMESPACE, shards.cursor.revision)?, shards))
    }

    /// As they were at the moment that a list shows.
    ///
    /// # Errors
    /// As of [`listing::read`].
    pub(crate) async fn of_moment(registry: &Registry, moment: &ListMoment<'_>) -> Result<Self, Fault> {
        match moment {
            ListMoment::Now => return Ok(registry.look(Self::of).await),
            ListMoment::Past(past) => return Ok(Self::of(&past.view)),
            ListMoment::Page(_) => {}
        }
        let read = listing::read(registry, &SHARD, moment).await?;
        Self::at(registry.view(), read).ok_or_else(listing::expired)
    }

    fn both(namespaces: ViewReading, shards: ViewReading) -> Self {
        let changed = match namespaces.changed.revision > shards.changed.revision {
            true => namespaces.changed,
            false => shards.changed,
        };
        Self { cursor: shards.cursor, changed, namespaces: namespaces.records, shards: shards.records }
    }

    /// A namespace by its name, whether it is ready or not.
    pub(crate) fn find(&self, name: &str) -> Option<NamespaceMap<'_>> {
        let place =
            self.namespaces.binary_search_by(|record| record.record.id.key.as_str().cmp(name)).ok()?;
        self.namespaces.get(place).and_then(|record| NamespaceMap::of(record, &self.shards))
    }

    /// All namespaces, in the order of their names.
    pub(crate) fn all(&self) -> impl Iterator<Item = NamespaceMap<'_>> {
        self.namespaces.iter().filter_map(|record| NamespaceMap::of(record, &self.shards))
    }

    /// The namespaces that no other cluster is active for, as a view has it: what is followed from there is nobody's business here.
    pub(crate) fn here(&self, view: &View) -> impl Iterator<Item = NamespaceMap<'_>> {
        let followed = FollowedDomains::of(view);
        self.all().filter(move |map| !followed.has(map.name()))
    }

    /// A namespace all of whose shards there are.
    ///
    /// # Errors
    /// `NAMESPACE_NOT_FOUND`, `NAMESPACE_NOT_READY`.
    pub(crate) fn ready(&self, name: &str) -> Result<NamespaceMap<'_>, Fault> {
        check_namespace(name).map_err(Fault::invalid)?;
        let map = self.find(name).ok_or_else(|| namespace_not_found(name))?;
        if map.is_ready() { Ok(map) } else { Err(not_ready(name, &map.value)) }
    }
}

/// A namespace and its shards.
pub struct NamespaceMap<'m> {
    pub record: &'m Arc<ViewRecord>,
    pub value: Arc<NamespaceValue>,
    pub shards: &'m [Arc<ViewRecord>],
}

impl<'m> NamespaceMap<'m> {
    fn of(record: &'m Arc<ViewRecord>, shards: &'m [Arc<ViewRecord>]) -> Option<Self> {
        let shards = of_namespace(shards, &record.record.id.key);
        Some(Self { record, value: record.value::<NamespaceValue>()?, shards })
    }

    pub fn name(&self) -> &'m str {
        &self.record.record.id.key
    }

    pub fn is_ready(&self) -> bool {
        self.value.phase() == Phase::Ready
    }

    pub fn version(&self) -> pb::ShardMapVersion {
        map::version(self.name(), &self.value)
    }

    pub fn spec(&self) -> NamespaceRules {
        NamespaceRules::stored(self.value.spec.as_ref())
    }

    /// Its shards with their values, in the order of their ids.
    pub fn values(&self) -> ShardValues<'m> {
        let of = |record: &'m Arc<ViewRecord>| Some((parts(&record.record.id)?.1, record.value()?));
        ShardValues(self.shards.iter().filter_map(of).collect())
    }

    /// The record of one of its shards.
    pub fn shard(&self, id: &str) -> Option<&'m Arc<ViewRecord>> {
        let id_of = |record: &Arc<ViewRecord>| parts(&record.record.id).map(|(_, shard)| shard.cmp(id));
        let place = self.shards.binary_search_by(|record| id_of(record).unwrap_or(Ordering::Less)).ok()?;
        self.shards.get(place)
    }
}

/// Shards with their values.
pub struct ShardValues<'m>(pub Vec<(&'m str, Arc<ShardValue>)>);

impl ShardValues<'_> {
    /// As decisions take them.
    pub fn all(&self) -> Vec<(&str, &ShardValue)> {
        self.0.iter().map(|(id, value)| (*id, &**value)).collect()
    }

    pub fn owners(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(_, value)| value.owner.as_str())
    }
}

/// Leads of shards: who holds their scopes of leadership.
pub(crate) struct ShardLeads(BTreeMap<String, String>);

impl ShardLeads {
    pub(crate) fn of(view: &View) -> Self {
        Self(leaders::of_shards(view))
    }

    /// Of one shard alone.
    pub(crate) fn of_one(view: &View, id: &RecordId) -> Self {
        Self(leaders::of_shard(view, &id.key).into_iter().map(|node| (id.key.clone(), node)).collect())
    }

    fn get(&self, id: &RecordId) -> Option<&str> {
        self.0.get(&id.key).map(String::as_str)
    }

    /// Texts of the scopes and their leaders, for a tag.
    pub(crate) fn texts(&self) -> impl Iterator<Item = &str> {
        self.0.iter().flat_map(|(scope, node)| [scope.as_str(), node.as_str()])
    }
}

/// A shard as the API shows it; `None`: the record is none.
pub(crate) fn show(leads: &ShardLeads, record: &ViewRecord) -> Option<pb::ShardRecord> {
    let value = record.value::<ShardValue>()?;
    let of = &record.record;
    let written = (of.version.0, &*of.writer, of.updated_at);
    Some(map::show(parts(&of.id)?, &value, written, leads.get(&of.id)))
}

/// The nodes of the mesh, as those see them who place shards.
pub struct ShardNodes {
    roster: PeerRoster,
    silent: BTreeMap<String, Millis>,
    suspected: BTreeSet<String>,
    /// Those with a later session than their record tells of, which lives.
    back: BTreeSet<String>,
    sessions_max: Duration,
    loads: BTreeMap<String, (Arc<ShardLoadValue>, Millis)>,
    now: Millis,
}

impl ShardNodes {
    pub fn of(view: &View, gossip: Option<&Gossip>) -> Self {
        let roster = PeerRoster::of(view);
        let (mut silent, mut heard, mut back) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        let (mut sessions_max, mut live, now) = (Duration::ZERO, 0, view.now());
        for node in roster.nodes() {
            live += usize::from(node.session_live);
            let session = view.group(&peers::session_id(node.id));
            if let Some(session) = &session {
                // It may have been to live for longer a moment ago, and be promised that.
                let promised = session.deadline.since(session.renewed_at);
                sessions_max = session.ttl.max(promised).max(sessions_max);
                if !node.session_live {
                    silent.insert(node.id.to_owned(), session.deadline);
                    if view.live_group(&peers::session_id(node.id)).is_some() {
                        back.insert(node.id.to_owned());
                    }
                }
            }
            if let Some(since) = gossip.and_then(|gossip| doubted_for(gossip, view, node.id)) {
                let renewed = session.filter(|_| node.session_live).map(|session| session.renewed_at);
                let has_renewed = renewed.is_some_and(|renewed| now.since(renewed) < since);
                heard.insert(node.id.to_owned(), has_renewed);
            }
        }
        let suspected = member::doubted(heard, live);
        Self { roster, silent, suspected, back, sessions_max, loads: loads(view), now }
    }

    /// Longest time that a session of any of the nodes lives without a renewal.
    pub fn sessions_max(&self) -> Duration {
        self.sessions_max
    }

    /// Load of a node in a namespace, as its daemon says it.
    pub fn load(&self, namespace: &str, node: &str) -> Option<&NamespaceLoad> {
        self.loads.get(node)?.0.namespaces.iter().find(|of| of.namespace == namespace)
    }

    pub fn now(&self) -> Millis {
        self.now
    }

    /// Nodes that gossip takes for suspect or dead.
    pub fn doubted(&self) -> &BTreeSet<String> {
        &self.suspected
    }

    /// Those whose session lives.
    pub fn live(&self) -> BTreeSet<String> {
        self.roster.nodes().iter().filter(|node| node.session_live).map(|node| node.id.to_owned()).collect()
    }

    /// Precondition that a gone node's session is over, or one without a record has none still; `None`: it is not gone.
    pub fn session_over_precondition(&self, node: &str) -> Option<Precondition> {
        use pb::peer::Status;
        let nodes = self.roster.nodes();
        let Some(known) = nodes.iter().find(|known| known.id == node) else {
            return Some(Precondition::Version { id: peers::peer_id(node), version: Version(0) });
        };
        let is_gone = matches!(known.peer.status(), Status::Suspect | Status::Dead | Status::Left);
        self.roster.session_of(node).filter(|_| is_gone).map(Precondition::GroupOver)
    }

    /// Nodes that have too much to do in a namespace, and since when.
    pub fn over_since(&self, namespace: &str) -> BTreeMap<String, Millis> {
        let of = |node: &String| {
            let since = self.load(namespace, node)?.over_since.as_ref().map(millis)?;
            Some((node.clone(), since))
        };
        self.loads.keys().filter_map(of).collect()
    }

    /// Time at which a node has said its load.
    pub fn load_at(&self, node: &str) -> Option<Millis> {
        self.loads.get(node).map(|(_, at)| *at)
    }

    /// As owners of shards of a namespace.
    pub fn members(
        &self,
        namespace: &str,
        spec: &NamespaceRules,
        values: &ShardValues<'_>,
    ) -> BTreeMap<String, ShardMember> {
        let seen: Vec<MemberObservation<'_>> = self
            .roster
            .nodes()
            .into_iter()
            .map(|node| MemberObservation {
                node,
                silent_since: self.silent.get(node.id).copied(),
                suspected: self.suspected.contains(node.id),
                is_back: self.back.contains(node.id),
                over_since: self
                    .load(namespace, node.id)
                    .and_then(|load| load.over_since.as_ref())
                    .map(millis),
            })
            .collect();
        member::members(spec, &seen, values.owners(), self.now)
    }
}

/// What nodes have to do, and when they have said so.
fn loads(view: &View) -> BTreeMap<String, (Arc<ShardLoadValue>, Millis)> {
    let of = |record: &Arc<ViewRecord>| {
        let value = record.value::<ShardLoadValue>()?;
        Some((record.record.id.key.clone(), (value, record.record.updated_at)))
    };
    view.list(&LOAD).records.iter().filter_map(of).collect()
}

/// The plans of a namespace by their ids.
pub(crate) fn plans_of(
    plans: &[Arc<ViewRecord>],
    namespace: &str,
) -> BTreeMap<String, Arc<RebalancePlanValue>> {
    let of = |record: &Arc<ViewRecord>| {
        let value = record.value::<RebalancePlanValue>()?;
        let is_of = value.plan.as_ref().is_some_and(|plan| plan.namespace == namespace);
        is_of.then(|| (record.record.id.key.clone(), value))
    };
    plans.iter().filter_map(of).collect()
}

/// Records in pieces that one commit can remove: what it replaces counts against its bytes.
pub(crate) fn removable(records: impl IntoIterator<Item = (RecordId, usize)>) -> Vec<Vec<RecordId>> {
    let (mut pieces, mut bytes) = (vec![Vec::new()], 0);
    for (id, size) in records {
        bytes += size;
        let is_full = pieces.last().is_some_and(|piece: &Vec<RecordId>| {
            !piece.is_empty() && (piece.len() >= REMOVED_MAX || bytes > REMOVED_BYTES_MAX)
        });
        if is_full {
            pieces.push(Vec::new());
            bytes = size;
        }
        pieces.last_mut().into_iter().for_each(|piece| piece.push(id.clone()));
    }
    pieces.retain(|piece| !piece.is_empty());
    pieces
}

/// The writes by which a new version of a map comes about.
pub(crate) fn writes(name: &str, edit: &MapEdit<'_>, now: Millis) -> Vec<Write> {
    let shards = edit.changed().iter().map(|changed| match &changed.after {
        Some(after) => put(shard_id(name, &changed.shard_id), after),
        None => Write::Delete { id: shard_id(name, &changed.shard_id) },
    });
    let key = change_key(name, edit.value.map_version);
    let change = put(RecordId::new(SHARD_CHANGE, key), &edit.change(now));
    let namespace = put(namespace_id(name), &edit.value);
    shards.chain([change, namespace]).collect()
}

/// # Errors
/// `SHARD_NOT_FOUND`.
pub(crate) fn shard_not_found(namespace: &str, shard: &str) -> Fault {
    Fault::new(reasons::SHARD_NOT_FOUND, format!("there is no shard `{shard}` in namespace `{namespace}`"))
        .hint(format!("omnirelay mesh shards list -n {namespace}"))
}

/// # Errors
/// `NAMESPACE_NOT_FOUND`.
pub(crate) fn namespace_not_found(name: &str) -> Fault {
    Fault::new(reasons::NAMESPACE_NOT_FOUND, format!("there is no namespace `{name}`"))
        .hint("omnirelay mesh namespaces list")
}

/// # Errors
/// `NAMESPACE_NOT_READY`.
pub(crate) fn not_ready(name: &str, value: &NamespaceValue) -> Fault {
    let what = match value.phase() {
        Phase::Deleting => "being removed".to_owned(),
        _ => format!("being made: {} of {} shards are there", value.made, value.shards),
    };
    Fault::new(reasons::NAMESPACE_NOT_READY, format!("namespace `{name}` is {what}"))
        .hint(format!("omnirelay mesh namespaces get {name}"))
}

/// All namespaces, for a read of one that must be there with all its shards.
///
/// # Errors
/// As of [`NamespaceMaps::ready`], once the store has confirmed it.
pub(crate) async fn maps_with(registry: &Registry, name: &str) -> Result<NamespaceMaps, Fault> {
    let read = |view: &View| {
        let maps = NamespaceMaps::of(view);
        maps.ready(name)?;
        Ok(maps)
    };
    match registry.look_confirmed(read).await {
        // It is about to be there again, with its shards.
        Err(_) if registry.awaits(&namespace_id(name)) => Err(missing(name)),
        read => read,
    }
}

fn missing(name: &str) -> Fault {
    let message =
        format!("cannot say yet: the registry has lost namespace `{name}`, which is about to be put back");
    Fault::new(reasons::STORE_UNAVAILABLE, message)
        .hint("try again; `lost-records` of `/readyz` says what is missing")
}

/// A shard's record, for a read of it alone.
///
/// # Errors
/// `NAMESPACE_NOT_FOUND`, `NAMESPACE_NOT_READY`, `SHARD_NOT_FOUND`; those of [`Registry::find`].
pub(crate) async fn find_shard(
    registry: &Registry,
    namespace: &str,
    shard: &str,
) -> Result<(Arc<ViewRecord>, Arc<NamespaceValue>), Fault> {
    check_namespace(namespace).map_err(Fault::invalid)?;
    let found = registry.find(&namespace_id(namespace)).await?;
    let value = found.and_then(|record| record.value::<NamespaceValue>());
    let value = value.ok_or_else(|| namespace_not_found(namespace))?;
    if value.phase() != Phase::Ready {
        return Err(not_ready(namespace, &value));
    }
    let record = registry.find(&shard_id(namespace, shard)).await?;
    Ok((record.ok_or_else(|| shard_not_found(namespace, shard))?, value))
}
