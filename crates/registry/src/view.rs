//! The view: the registry as this daemon knows it, in memory.
//!
//! It answers every read and feeds every watch. It mirrors the records of some kinds, every group's deadline, and the newest commits.

mod awaited;
mod confirmed;
mod cut;
mod derived;
mod entry;
mod groups;
mod head;
mod loaded;
mod lock;
mod past;
mod ranges;
mod record;
mod records;
mod signed;
mod tenancy;
mod totals;

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use omnirelay_core::time::Millis;
use omnirelay_host::live::Live;
use omnirelay_store::{
    Epoch, Group, GroupId, GroupRef, Lease, LogEntry, PulseAnswer, RecordChange, RecordId, RecordKind,
    RenewalGrace, Revision,
};
use parking_lot::RwLock;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use awaited::UnseenPriorRecords;
use confirmed::{ConfirmedState, SeenSplits};
pub use confirmed::{LeaseSplit, ToConfirm};
pub use cut::RegistryCut;
pub use derived::DerivedRecords;
pub use entry::{ViewChange, ViewEntry};
pub use head::RegistryHead;
pub use loaded::{LoadedRecords, OrderedLoad};
use lock::{read, write};
pub(crate) use past::{UndoneChanges, ViewCopy};
pub use ranges::{ExpectedRecord, RecordScope, digest_of, place_of};
pub use record::{ViewRecord, record_bytes};
use records::{OrderedRecords, RecordList};
pub(super) use signed::ToSign;
pub use signed::{AuthoritySuccession, RecordIssuers, RecordSigning, RefusedRecord, VerifiedSignatures};
pub use tenancy::LeaseTenancy;
pub use totals::{HeldVersions, RecordTotals};

use super::connectivity::StoreConnectivity;
use super::cursor::Cursor;
use super::epoch_loss::EpochChange;

/// How many commits the view keeps to serve watches and pages without asking the store.
const RECENT_MAX: usize = 1024;
/// How many bytes of values those commits may hold, but for the newest. A watcher that is further behind reads the store's log.
const RECENT_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Everything the view holds; changed only under the lock, in the order of the log.
#[derive(Default)]
struct State {
    head: RegistryHead,
    kinds: BTreeMap<RecordKind, OrderedRecords>,
    /// The records of each kind as a list, made when it is first asked for after a change.
    lists: BTreeMap<RecordKind, OnceLock<RecordList>>,
    /// The newest commits, each one's `previous` the revision before it.
    recent: VecDeque<Arc<ViewEntry>>,
    /// The bytes of the values in `recent`.
    recent_bytes: usize,
    /// The newest commit behind `loaded` that touched a kind.
    changed: BTreeMap<RecordKind, Revision>,
    /// The revision of the last load.
    loaded: Revision,
    /// The next load mends what differs from the store.
    is_mended_by_load: bool,
    /// In no order: there may be many, and each renewal looks for one.
    groups: HashMap<GroupId, Group>,
    /// The epoch of `groups`: what was heard in another says nothing about them.
    groups_epoch: Epoch,
    quarantine_until: Millis,
    grace: Option<RenewalGrace>,
    /// By scope.
    leases: BTreeMap<String, Lease>,
    /// The scopes of the leases that were not released, by their group.
    held: BTreeMap<GroupId, BTreeSet<String>>,
    /// The greatest token that was ever seen of each scope, in whatever epoch.
    tokens_seen: BTreeMap<String, u64>,
    /// How many leases came behind one that they should have come before, or with the token of another's.
    double_leases: u64,
    /// Store time of the last answer in the epoch of `head`.
    heard_at: Millis,
    /// Where the log ended at that time.
    heard_of: Revision,
    confirmed: ConfirmedState,
    splits: SeenSplits,
    awaited: UnseenPriorRecords,
    signed: signed::SignedRecords,
    /// Asks the heart for a beat.
    beats: Arc<Notify>,
    /// How often something was met past its deadline of which the store was not heard since.
    doubts: AtomicU64,
}

/// The mirror. Cheap to read from many tasks.
pub struct View {
    mirrored: Vec<RecordKind>,
    followed: Vec<RecordKind>,
    state: RwLock<State>,
    connectivity: StoreConnectivity,
    head: watch::Sender<RegistryHead>,
    /// Through when what was granted counts.
    confirmed: watch::Sender<Millis>,
    /// Asks for a confirmation.
    confirmations: Notify,
    /// Whether nodes are believed by certificates of files, whom the registry does not know.
    believes_files: Box<dyn Fn() -> bool + Send + Sync>,
}

/// Outcome of the entries given to [`View::apply`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppliedEntries {
    Yes,
    /// They were known already.
    Known,
    /// Entries before one of them are missing.
    Gap,
}

/// A consistent reading: records and the place in the log they belong to.
pub struct ViewReading {
    pub cursor: Cursor,
    /// The newest commit that touched the kind, or the load if none has since.
    pub changed: Cursor,
    /// Shared by all who read it before the next change.
    pub records: Arc<Vec<Arc<ViewRecord>>>,
}

impl View {
    /// An empty view of these kinds.
    pub fn new(mirrored: &[RecordKind]) -> Self {
        Self {
            mirrored: mirrored.to_vec(),
            followed: Vec::new(),
            state: RwLock::new(State {
                lists: mirrored.iter().map(|kind| (kind.clone(), OnceLock::new())).collect(),
                ..State::default()
            }),
            connectivity: StoreConnectivity::new(),
            head: watch::Sender::new(RegistryHead::default()),
            confirmed: watch::Sender::new(Millis(0)),
            confirmations: Notify::new(),
            believes_files: Box::new(|| false),
        }
    }

    /// Follows these kinds as well: their changes are told to watches, their records are not held.
    #[must_use]
    pub fn following(self, followed: &[RecordKind]) -> Self {
        Self { followed: followed.to_vec(), ..self }
    }

    /// Asks `believes` whether nodes are believed by certificates of files; by default they are not.
    #[must_use]
    pub fn believing_files(self, believes: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self { believes_files: Box::new(believes), ..self }
    }

    /// Whether nodes are believed by certificates of files.
    pub fn believes_files(&self) -> bool {
        (self.believes_files)()
    }

    /// Awaits what a new epoch has lost until others than its owner, whose turn comes first, can have restored it.
    #[must_use]
    pub fn awaiting(self, own_turn: Live<Duration>) -> Self {
        write(&self.state).awaited.set_own_turn(own_turn);
        self
    }

    /// The kinds that are mirrored.
    pub fn mirrored(&self) -> &[RecordKind] {
        &self.mirrored
    }

    /// Head of the registry, at which the view stands.
    pub fn head(&self) -> RegistryHead {
        *self.head.borrow()
    }

    /// Wakes whenever the head moves.
    pub fn follow_head(&self) -> watch::Receiver<RegistryHead> {
        self.head.subscribe()
    }

    /// Connectivity of the store.
    pub fn connectivity(&self) -> &StoreConnectivity {
        &self.connectivity
    }

    /// Store time now, by the last answer and the time since.
    pub fn now(&self) -> Millis {
        self.connectivity.now()
    }

    /// Duration for which the store has been silent; `None` while it answers.
    pub fn silence(&self) -> Option<Duration> {
        self.connectivity.silence()
    }

    /// Notes the answer to a pulse that was sent at `asked`: the store's time, and the deadlines that
    /// moved.
    pub fn note_beat(&self, beat: &PulseAnswer, asked: Instant) {
        self.take_beat(beat);
        // Told last: by then it is known whom the store spares after a silence.
        self.connectivity.note_answer(beat.now, beat.epoch, asked);
    }

    fn take_beat(&self, beat: &PulseAnswer) {
        let mut state = write(&self.state);
        if state.groups_epoch != beat.epoch {
            state.remember_leaders(beat.now);
            state.groups_epoch = beat.epoch;
            state.groups.clear();
        }
        if beat.epoch == state.head.epoch {
            state.heard_at = beat.now;
            state.heard_of = beat.head;
        }
        state.quarantine_until = beat.quarantine_until;
        state.grace = beat.grace;
        for group in &beat.moved {
            state.groups.insert(group.of.id.clone(), group.clone());
        }
    }

    /// Whether nobody is to be judged gone now: in a quarantine, in a grace, and while the store
    /// does not answer.
    pub fn spares_all(&self) -> bool {
        let now = self.now();
        let state = read(&self.state);
        now < state.quarantine_until
            || state.grace.is_some_and(|grace| now < grace.until)
            || self.silence().is_some()
    }

    /// Whether the log goes on behind what this view has seen of it, as a beat has told.
    pub(super) fn is_behind(&self) -> bool {
        let state = read(&self.state);
        state.heard_of > state.head.revision
    }

    /// A group as it was last heard of.
    pub fn group(&self, id: &GroupId) -> Option<Group> {
        read(&self.state).groups.get(id).cloned()
    }

    /// Whether this life of a group is live, as its records are judged: while the store is silent no deadline
    /// passes. One that was not heard of yet is, and one that others may have spoken for since the last beat: the next
    /// one tells of it.
    pub fn is_live(&self, of: &GroupRef) -> bool {
        let state = read(&self.state);
        let now = self.judged_at(&state);
        state.has_records(of, now)
    }

    /// Forgets groups whose end is longer ago than `age`.
    pub fn forget_groups(&self, age: Duration) {
        let now = self.connectivity.judged_now();
        write(&self.state).groups.retain(|_, group| now < group.deadline.after(age));
    }

    /// One record; `None` if there is none, or its group is over.
    pub fn get(&self, id: &RecordId) -> Option<Arc<ViewRecord>> {
        let state = read(&self.state);
        let now = self.judged_at(&state);
        let record = state.kinds.get(&id.kind)?.get(&id.key)?;
        state.is_live(record, now).then(|| record.clone())
    }

    /// Number of leases seen with two holders under one token: never any, unless a store is broken.
    pub fn double_leases(&self) -> u64 {
        read(&self.state).double_leases
    }

    /// Groups and leases. They end at their deadlines while the store is silent as well: it may have given
    /// the leases to somebody else.
    pub fn tenancy(&self) -> LeaseTenancy<'_> {
        LeaseTenancy::of_state(read(&self.state), self.connectivity.now())
    }

    /// Every record of a kind in the order of their keys, and where that was.
    pub fn list(&self, kind: &RecordKind) -> ViewReading {
        let state = read(&self.state);
        let now = self.judged_at(&state);
        let records = state.live(state.shared_list(kind), now);
        let cursor = state.head.cursor();
        ViewReading { cursor, changed: state.changed_any(std::slice::from_ref(kind)), records }
    }

    /// Every record of some kinds, kind by kind.
    pub fn list_all(&self, kinds: &[RecordKind]) -> ViewReading {
        if let [kind] = kinds {
            return self.list(kind);
        }
        let state = read(&self.state);
        let now = self.judged_at(&state);
        let of_kind = |kind| state.live(state.shared_list(kind), now);
        let records = kinds.iter().flat_map(|kind| of_kind(kind).iter().cloned().collect::<Vec<_>>());
        let at = |revision| Cursor::at(state.head.epoch, revision);
        ViewReading {
            cursor: at(state.head.revision),
            changed: state.changed_any(kinds),
            records: Arc::new(records.collect()),
        }
    }

    /// Every record of a kind as it was at a revision; `None` when the view does not reach back.
    pub fn list_at(&self, kind: &RecordKind, revision: Revision) -> Option<ViewReading> {
        let state = read(&self.state);
        let now = self.judged_at(&state);
        if revision > state.head.revision || revision < state.oldest() {
            return None;
        }
        if state.changed.get(kind).is_none_or(|changed| *changed <= revision) {
            let records = state.live(state.shared_list(kind), now);
            let cursor = Cursor::at(state.head.epoch, revision);
            return Some(ViewReading { cursor, changed: cursor, records });
        }
        // As they were before the oldest change since.
        let mut changed = BTreeMap::new();
        for entry in state.recent.iter().rev().take_while(|entry| entry.revision > revision) {
            for change in entry.changes.iter().filter(|change| change.after.record.id.kind == *kind) {
                changed.insert(change.after.record.id.key.as_str(), change.before.as_ref());
            }
        }
        let all = state.kinds.get(kind).into_iter().flat_map(OrderedRecords::iter);
        let others = all.filter(|record| !changed.contains_key(record.record.id.key.as_str()));
        let mut records: Vec<_> = others.chain(changed.values().copied().flatten()).cloned().collect();
        records.sort_by(|one, other| one.record.id.key.cmp(&other.record.id.key));
        let records = state.live(RecordList::of(records), now);
        let cursor = Cursor::at(state.head.epoch, revision);
        Some(ViewReading { cursor, changed: cursor, records })
    }

    /// The newest commit that touched a kind, or the load if none has since.
    pub fn changed(&self, kind: &RecordKind) -> Cursor {
        self.changed_any(std::slice::from_ref(kind))
    }

    /// The same of any of some kinds.
    pub fn changed_any(&self, kinds: &[RecordKind]) -> Cursor {
        read(&self.state).changed_any(kinds)
    }

    /// The commits behind `revision`, at most `limit`; `None` when the view does not reach back.
    pub fn recent(&self, revision: Revision, limit: usize) -> Option<Vec<Arc<ViewEntry>>> {
        let state = read(&self.state);
        if revision < state.oldest() {
            return None;
        }
        let first = state.recent.partition_point(|entry| entry.revision <= revision);
        Some(state.recent.range(first..).take(limit).cloned().collect())
    }

    /// The instant by which it is judged whether a record's group is over: the last one at which
    /// the store could be heard, and all others by the store.
    fn judged_at(&self, state: &State) -> Millis {
        let now = self.connectivity.judged_now();
        state.grace.filter(|grace| now < grace.until).map_or(now, |grace| grace.from)
    }

    /// Takes in a stretch of the log, up to the first gap in it. Whoever waits for the head is woken once.
    pub fn apply<'a>(
        &self,
        entries: impl DoubleEndedIterator<Item = &'a LogEntry> + Clone,
    ) -> AppliedEntries {
        // Whoever has committed has mostly shown it before the log tells of it.
        let head = self.head().revision;
        if entries.clone().next_back().is_none_or(|last| last.revision <= head) {
            return AppliedEntries::Known;
        }
        let mut state = write(&self.state);
        let (before, mut has_leases, mut applied) = (state.head, false, AppliedEntries::Known);
        for entry in entries {
            if entry.revision <= state.head.revision || entry.is_empty() {
                continue;
            }
            if entry.previous != state.head.revision {
                applied = AppliedEntries::Gap;
                break;
            }
            state.take_in(&self.mirrored, &self.followed, entry);
            has_leases |= !entry.leases.is_empty();
            applied = AppliedEntries::Yes;
        }
        if has_leases {
            self.ask_confirmation();
        }
        if state.head != before {
            // Said under the lock, so that heads are heard in order.
            self.head.send_replace(state.head);
        }
        applied
    }

    /// Puts a complete load in the place of everything held: the records and leases as they were read at
    /// `revision` or later, and the log behind `revision`. `lose` is told, before anybody can read
    /// them, what is lost where they are of another epoch than what they replace.
    pub fn replace(
        &self,
        epoch: Epoch,
        revision: Revision,
        loaded: OrderedLoad,
        log: &[Arc<LogEntry>],
        lose: impl FnOnce(EpochChange),
    ) {
        let mut state = write(&self.state);
        let kinds = loaded.kinds;
        let old = std::mem::replace(&mut state.kinds, kinds);
        let before = state.head;
        state.lists.values_mut().for_each(|list| *list = OnceLock::new());
        state.recent.clear();
        state.recent_bytes = 0;
        state.changed.clear();
        state.loaded = revision;
        let end = log.last().map_or(revision, |entry| entry.revision);
        let is_same = before.epoch == epoch;
        let (mends, mended) = match loaded.mends {
            // What was shown meanwhile rests on what is void.
            true => (before.mends + 1, if is_same { end.max(before.revision) } else { end }),
            false => (before.mends, if is_same { before.mended } else { Revision(0) }),
        };
        state.head = RegistryHead { epoch, revision, caught_up: true, mends, mended };
        state.heard_of = Revision(0);
        state.leases.clear();
        state.held.clear();
        state.load_signed(&old, &loaded.verified, before, (end, self.connectivity.now()));
        for lease in loaded.leases {
            state.take_lease(lease);
        }
        for entry in log {
            state.take_in(&self.mirrored, &self.followed, entry);
        }
        if before.caught_up && before.epoch != epoch {
            lose(state.lose(before, &old));
        }
        self.ask_confirmation();
        self.head.send_replace(state.head);
    }
}

impl State {
    /// The oldest revision from which the view can still go forward.
    fn oldest(&self) -> Revision {
        self.recent.front().map_or(self.head.revision, |entry| entry.previous)
    }

    fn changed_any(&self, kinds: &[RecordKind]) -> Cursor {
        let changed = kinds.iter().filter_map(|kind| self.changed.get(kind)).max();
        // Another one after each mend, though no commit came between.
        let part = u32::try_from(self.head.mends).unwrap_or(u32::MAX);
        Cursor { part, ..Cursor::at(self.head.epoch, changed.copied().unwrap_or(self.loaded)) }
    }

    fn shared_list(&self, kind: &RecordKind) -> RecordList {
        let make = || self.kinds.get(kind).map(OrderedRecords::list).unwrap_or_default();
        self.lists.get(kind).map_or_else(make, |list| list.get_or_init(make).clone())
    }

    /// The list without the records whose group is over; itself when there are none.
    fn live(&self, RecordList { records, has_bound }: RecordList, now: Millis) -> Arc<Vec<Arc<ViewRecord>>> {
        if !has_bound || records.iter().all(|record| self.is_live(record, now)) {
            return records;
        }
        Arc::new(records.iter().filter(|record| self.is_live(record, now)).cloned().collect())
    }

    fn is_live(&self, record: &ViewRecord, now: Millis) -> bool {
        record.record.group.as_ref().is_none_or(|bound| self.has_records(bound, now))
    }

    /// Whether this life of a group is live. One that this view has not heard of yet is: it was when something
    /// was committed for it, and the next beat will tell of it.
    fn lives(&self, of: &GroupRef, now: Millis) -> bool {
        let Some(group) = self.groups.get(&of.id) else { return true };
        match group.of.instance.cmp(&of.instance) {
            Ordering::Less => true,
            Ordering::Equal => !group.closed && now < group.deadline,
            Ordering::Greater => false,
        }
    }

    fn take_in(&mut self, mirrored: &[RecordKind], followed: &[RecordKind], entry: &LogEntry) {
        let mut taken = self.take_authority(entry);
        let changes = entry.changes.iter().filter_map(|change| match &change.after.id {
            id if self.is_authority(id) => taken.take(),
            id if self.is_signed(id) => self.change_signed(change, entry),
            id if mirrored.contains(&id.kind) => Some(self.change_record(change, entry.revision)),
            id if followed.contains(&id.kind) => Some(ViewChange::of(self.head.epoch, change)),
            _ => None,
        });
        let changes: Vec<ViewChange> = changes.collect();
        for kind in entry.changes.iter().map(|change| &change.after.id.kind) {
            self.changed.insert(kind.clone(), entry.revision);
            if let Some(list) = self.lists.get_mut(kind) {
                *list = OnceLock::new();
            }
        }
        self.remember(ViewEntry {
            revision: entry.revision,
            previous: entry.previous,
            at: entry.at,
            changes,
            leases: entry.leases.clone(),
        });
        for lease in &entry.leases {
            self.take_lease(lease.clone());
        }
        for scope in &entry.forgotten {
            self.forget_lease(scope);
        }
        self.head.revision = entry.revision;
    }

    /// Keeps the newest commit, and of those before it as many as there is room for.
    fn remember(&mut self, entry: ViewEntry) {
        self.recent_bytes += entry.value_bytes();
        self.recent.push_back(Arc::new(entry));
        while self.recent.len() > RECENT_MAX || self.recent.len() > 1 && self.recent_bytes > RECENT_BYTES_MAX
        {
            let forgotten = self.recent.pop_front().map_or(0, |oldest| oldest.value_bytes());
            self.recent_bytes = self.recent_bytes.saturating_sub(forgotten);
        }
    }

    /// Takes in a lease, keeping the newer one when a load was ahead of the log.
    fn take_lease(&mut self, lease: Lease) {
        self.note_granted(&lease);
        let seen = self.tokens_seen.entry(lease.scope.clone()).or_default();
        *seen = lease.token.max(*seen);
        let known = self.leases.get(&lease.scope);
        if known.is_some_and(|known| known.token == lease.token && known.holder != lease.holder) {
            self.double_leases += 1;
        }
        if known.is_some_and(|known| (known.token, known.released) > (lease.token, lease.released)) {
            return;
        }
        if let Some(known) = known {
            confirmed::let_go(&mut self.held, &known.holder.id, &lease.scope);
        }
        if !lease.released {
            self.held.entry(lease.holder.id.clone()).or_default().insert(lease.scope.clone());
        }
        self.leases.insert(lease.scope.clone(), lease);
    }

    /// Applies one change of a commit, keeping the newer record when a load was ahead of the log.
    fn change_record(&mut self, change: &RecordChange, of: Revision) -> ViewChange {
        let (epoch, id) = (self.head.epoch, &change.after.id);
        self.awaited.forget(id);
        let records = self.kinds.entry(id.kind.clone()).or_default();
        let known = records.get(&id.key).cloned();
        let before = change.before.as_ref().map(|before| match &known {
            Some(known) if known.record.version == before.version => known.clone(),
            Some(_) | None => Arc::new(ViewRecord::new(epoch, before.clone())),
        });
        let after = Arc::new(ViewRecord::new(epoch, change.after.clone()));
        if known.is_none_or(|known| known.record.revision < of) {
            if change.after.deleted {
                records.remove(&id.key);
            } else {
                records.put(after.clone());
            }
        }
        ViewChange { before, after }
    }
}
