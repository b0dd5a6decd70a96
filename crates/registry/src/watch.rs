//! Watches: the changes of one kind or some, from a place in the log on, without a gap.
//!
//! A watcher has no queue that others fill. It reads the view's newest commits from its own
//! place, a few at a time, and the store's log when it has fallen behind them; one that has fallen
//! behind the log is told so with [`WatchEvent::Reset`] and begins anew with a snapshot.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use omnirelay_core::time::Millis;
use omnirelay_store::{LogEntry, RecordKind};
use tokio::time::Instant;

use super::Registry;
use super::audit_record::AUDIT;
use super::commits::HistoryCut;
use super::cursor::Cursor;
use super::view::{RegistryHead, ViewChange, ViewEntry, ViewRecord};

/// How often a quiet watch says how far it has looked.
pub const PROGRESS_EVERY: Duration = Duration::from_secs(15);
/// How many commits a watcher takes at a time.
const BATCH: usize = 64;
/// How many events a watcher keeps room for while it is idle.
const READY_KEPT: usize = 4;

/// Reason why a watch began anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResetReason {
    /// The log no longer reaches back to the cursor.
    Compacted,
    /// The cursor is of another epoch.
    EpochChanged,
    /// The watcher fell behind the log while it was being served.
    SlowConsumer,
    /// The filter lets other records through than before, none of which was changed.
    FilterChanged,
    /// What the view showed differed from the store, and was mended.
    ViewMended,
}

/// One thing a watcher is told.
#[derive(Clone)]
pub enum WatchEvent {
    /// A record as it was when the snapshot was taken.
    Snapshot(Arc<ViewRecord>),
    /// The snapshot is complete up to here.
    Synced {
        cursor: Cursor,
    },
    /// A record is new, or has come into the filter.
    Added(WatchStep),
    Modified(WatchStep),
    /// A record is gone, or has left the filter; this is what it was last.
    Removed(WatchStep),
    /// What was sent before is void; a snapshot follows.
    Reset(ResetReason),
    /// Nothing that this watch is about has happened up to `cursor`.
    Progress {
        cursor: Cursor,
        previous: Cursor,
    },
}

impl WatchEvent {
    /// The change that it tells of.
    pub fn step(&self) -> Option<&WatchStep> {
        match self {
            Self::Added(step) | Self::Modified(step) | Self::Removed(step) => Some(step),
            Self::Snapshot(_) | Self::Synced { .. } | Self::Reset(_) | Self::Progress { .. } => None,
        }
    }
}

/// A change and its place in the log.
#[derive(Clone)]
pub struct WatchStep {
    pub cursor: Cursor,
    /// The cursor of the event before: whoever saw another one has missed something.
    pub previous: Cursor,
    pub at: Millis,
    pub record: Arc<ViewRecord>,
    /// The commit that it is of.
    pub entry: Arc<ViewEntry>,
    /// Which change of the commit it is.
    pub place: usize,
    /// Which of the events of that change; see [`Watch::with_parts`].
    pub part: usize,
}

impl WatchStep {
    /// The change that this is of.
    pub fn change(&self) -> Option<&ViewChange> {
        self.entry.changes.get(self.place)
    }
}

/// Progress through a snapshot: its records, and how many of them have been looked at.
struct SnapshotProgress {
    records: Arc<Vec<Arc<ViewRecord>>>,
    /// How many have been looked at.
    seen: usize,
    cursor: Cursor,
}

/// Filter of the records that a watch tells of.
type RecordFilter = Box<dyn Fn(&ViewRecord) -> bool + Send + Sync>;
/// Version of a filter: differs whenever it lets other records through.
type FilterVersion = Box<dyn Fn() -> u64 + Send + Sync>;
/// Makes the event of a step.
type EventMaker = fn(WatchStep) -> WatchEvent;
/// Says how many events a change of a commit is.
pub type EventCounter = Box<dyn Fn(&ViewEntry, &ViewChange) -> usize + Send + Sync>;

/// A running watch.
pub struct Watch {
    registry: Arc<Registry>,
    kinds: Vec<RecordKind>,
    filter: RecordFilter,
    parts: EventCounter,
    /// With what it was when the watch began, or began anew; `None`: the filter never does.
    sense: Option<(FilterVersion, u64)>,
    /// Everything up to here has been looked at.
    examined: Cursor,
    /// The cursor of the last event.
    sent: Cursor,
    /// The events of the commits looked at last.
    ready: VecDeque<WatchEvent>,
    /// What is left of a snapshot; goes out when `ready` is empty.
    snapshot: Option<SnapshotProgress>,
    /// How often the view had been mended when it was looked at last.
    mends: u64,
    /// Once it has served something, falling behind is the watcher's own slowness.
    serving: bool,
    quiet_since: Instant,
}

impl Watch {
    /// Begins to watch one kind behind `since`, or with a snapshot when there is none.
    ///
    /// The view must have caught up.
    pub fn begin(
        registry: Arc<Registry>,
        kind: RecordKind,
        filter: RecordFilter,
        since: Option<Cursor>,
    ) -> Self {
        Self::begin_all(registry, vec![kind], filter, since)
    }

    /// The same of several kinds, whose snapshots come in this order.
    pub fn begin_all(
        registry: Arc<Registry>,
        kinds: Vec<RecordKind>,
        filter: RecordFilter,
        since: Option<Cursor>,
    ) -> Self {
        let head = registry.view().head();
        // Whoever comes back from before a mend was told what is void, as those were who have stayed.
        let is_void = since.is_some_and(|since| since.epoch == head.epoch && since.revision <= head.mended);
        let mends = head.mends.wrapping_sub(u64::from(is_void && head.mends > 0));
        let mut watch = Self {
            registry,
            kinds,
            filter,
            parts: Box::new(|_, _| 1),
            sense: None,
            examined: since.unwrap_or_default(),
            sent: since.unwrap_or_default(),
            ready: VecDeque::new(),
            snapshot: None,
            mends,
            serving: false,
            quiet_since: Instant::now(),
        };
        if since.is_none() {
            watch.take_snapshot();
        }
        watch
    }

    /// Tells a change as so many events, each with a cursor of its own; as none, it is no event. What it says of a change must not
    /// differ from one daemon to another.
    #[must_use]
    pub fn with_parts(self, parts: EventCounter) -> Self {
        Self { parts, ..self }
    }

    /// Begins anew whenever `sense` is another; it is looked at with each commit, and before each [`WatchEvent::Progress`].
    #[must_use]
    pub fn anew_with(self, sense: FilterVersion) -> Self {
        let now = sense();
        Self { sense: Some((sense, now)), ..self }
    }

    /// The next event. Never ends; dropping the call loses nothing.
    pub async fn next(&mut self) -> WatchEvent {
        loop {
            if let Some(event) = self.ready.pop_front().or_else(|| self.next_of_snapshot()) {
                self.serving = true;
                self.quiet_since = Instant::now();
                return event;
            }
            // A burst leaves no room behind: there may be ten thousand watchers.
            self.ready.shrink_to(READY_KEPT);
            self.look().await;
        }
    }

    /// The cursor of the last event; `None`: within a snapshot.
    pub fn cursor(&self) -> Option<Cursor> {
        self.snapshot.is_none().then_some(self.sent)
    }

    /// Whether the next event is of the same look at the registry as the last one.
    pub fn has_more(&self) -> bool {
        !self.ready.is_empty() || self.snapshot.is_some()
    }

    fn next_of_snapshot(&mut self) -> Option<WatchEvent> {
        let snapshot = self.snapshot.as_mut()?;
        while let Some(record) = snapshot.records.get(snapshot.seen) {
            snapshot.seen += 1;
            if (self.filter)(record) {
                return Some(WatchEvent::Snapshot(record.clone()));
            }
        }
        let cursor = snapshot.cursor;
        self.snapshot = None;
        Some(WatchEvent::Synced { cursor })
    }

    /// Looks at what is behind `examined`, waiting when there is nothing.
    async fn look(&mut self) {
        let mut heads = self.registry.view().follow_head();
        let head = *heads.borrow_and_update();
        if head.epoch != self.examined.epoch {
            return self.reset(ResetReason::EpochChanged);
        }
        if self.is_filter_other() {
            return self.reset(ResetReason::FilterChanged);
        }
        if self.mends != head.mends && self.is_void_by(head) {
            return self.reset(ResetReason::ViewMended);
        }
        if self.examined.revision == head.revision {
            return self.wait(&mut heads).await;
        }
        if self.examined.revision > head.revision {
            // Either this daemon's view is behind, or the log never came as far: the store knows.
            self.look_in_store().await;
            if self.snapshot.is_none() && self.ready.is_empty() {
                self.wait(&mut heads).await;
            }
            return;
        }
        match self.registry.view().recent(self.examined.revision, BATCH) {
            Some(entries) => entries.iter().for_each(|entry| self.examine(entry)),
            None => self.look_in_store().await,
        }
    }

    /// Whether the mend of the view makes void what this watch has told, and it may begin anew: at once where the view holds all that it
    /// tells of; otherwise once it has told of everything before the mend, as what is only followed is in no snapshot.
    fn is_void_by(&self, head: RegistryHead) -> bool {
        let mirrored = self.registry.view().mirrored();
        let held = self.kinds.iter().filter(|kind| mirrored.contains(kind)).count();
        held > 0 && (held == self.kinds.len() || self.examined.revision >= head.mended)
    }

    /// Whether the filter lets other records through than when this was asked last.
    fn is_filter_other(&mut self) -> bool {
        let Some((sense, seen)) = &mut self.sense else { return false };
        let before = std::mem::replace(seen, sense());
        before != *seen
    }

    async fn wait(&mut self, heads: &mut tokio::sync::watch::Receiver<RegistryHead>) {
        let changed = tokio::time::timeout_at(self.quiet_since + PROGRESS_EVERY, heads.changed()).await;
        if changed.is_err() {
            let cursor = self.examined;
            self.ready.push_back(WatchEvent::Progress { cursor, previous: self.sent });
            self.sent = cursor;
        }
    }

    async fn look_in_store(&mut self) {
        match self.registry.commits_behind(self.examined, BATCH).await {
            Ok(entries) => entries.iter().flatten().for_each(|entry| {
                let entry = Arc::new(self.of_interest(entry));
                self.examine(&entry);
            }),
            Err(HistoryCut::EpochChanged) => self.reset(ResetReason::EpochChanged),
            Err(HistoryCut::Compacted) if self.serving => self.reset(ResetReason::SlowConsumer),
            Err(HistoryCut::Compacted | HistoryCut::Unreadable) => self.reset(ResetReason::Compacted),
        }
    }

    fn of_interest(&self, entry: &LogEntry) -> ViewEntry {
        // And who had them made.
        let of_interest = |kind: &RecordKind| *kind == AUDIT || self.kinds.contains(kind);
        let changes = entry.changes.iter().filter(|change| of_interest(&change.after.id.kind));
        ViewEntry {
            revision: entry.revision,
            previous: entry.previous,
            at: entry.at,
            changes: changes.filter_map(|change| self.registry.view().change_of_log(change)).collect(),
            leases: entry.leases.clone(),
        }
    }

    /// Turns one commit into events; those seen before a resume in its middle are left out.
    fn examine(&mut self, entry: &Arc<ViewEntry>) {
        let seen = self.examined.part as usize;
        let changes = entry.changes.iter().enumerate();
        let of_kind = changes.filter(|(_, change)| self.kinds.contains(&change.after.record.id.kind));
        let steps: Vec<_> = of_kind
            .filter_map(|(place, change)| self.event_of(change).map(|event| (place, change, event)))
            .flat_map(|(place, change, (make, record))| {
                (0..(self.parts)(entry, change)).map(move |part| (place, part, make, record.clone()))
            })
            .collect();
        let count = steps.len();
        for (index, (place, part, make, record)) in steps.into_iter().enumerate().skip(seen) {
            let cursor = if index + 1 == count {
                Cursor::at(self.examined.epoch, entry.revision)
            } else {
                Cursor { part: index as u32 + 1, revision: entry.previous, ..self.examined }
            };
            let (previous, at, entry) = (self.sent, entry.at, entry.clone());
            self.ready.push_back(make(WatchStep { cursor, previous, at, record, entry, place, part }));
            self.sent = cursor;
        }
        self.examined = Cursor::at(self.examined.epoch, entry.revision);
    }

    fn event_of(&self, change: &ViewChange) -> Option<(EventMaker, Arc<ViewRecord>)> {
        let matches = |record: &&Arc<ViewRecord>| (self.filter)(record);
        let before = change.before.as_ref().filter(matches);
        let after = change.live().filter(matches);
        match (before, after) {
            (None, None) => None,
            (None, Some(after)) => Some((WatchEvent::Added, after.clone())),
            (Some(_), Some(after)) => Some((WatchEvent::Modified, after.clone())),
            // A record that has left the filter is shown as it is now; a deleted one as it was.
            (Some(before), None) => Some((WatchEvent::Removed, change.live().unwrap_or(before).clone())),
        }
    }

    fn reset(&mut self, reason: ResetReason) {
        self.ready.push_back(WatchEvent::Reset(reason));
        self.take_snapshot();
    }

    fn take_snapshot(&mut self) {
        self.mends = self.registry.view().head().mends;
        let reading = self.registry.view().list_all(&self.kinds);
        self.snapshot = Some(SnapshotProgress { records: reading.records, seen: 0, cursor: reading.cursor });
        self.examined = reading.cursor;
        self.sent = reading.cursor;
    }
}
