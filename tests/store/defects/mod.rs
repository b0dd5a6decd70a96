//! Stores with one defect each, to show that the contract suite would notice.
//!
//! A [`Defect`] says where a store differs from a sound one; everything else is the memory
//! store's. Each function below it makes one, named by what the store does wrong.

mod commits;
mod graces;
mod groups;
mod histories;
mod imports;
mod leases;
mod records;
mod replaced;
mod restarts;
mod verdict;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use omnirelay_core::time::Millis;
use omnirelay_store::{
    Commit, CommitError, CommitOutcome, Epoch, GroupRef, HousekeepingOutcome, IdempotencyKey, Lease, Leases,
    LogEntry, LogPage, ManualClock, MemoryStore, OpenGroup, OpenedGroup, Pulse, PulseAnswer, Record,
    Retention, Revision, Scan, ScanPage, Store, StoreError,
};

pub(crate) use self::commits::*;
pub(crate) use self::graces::*;
pub(crate) use self::groups::*;
pub(crate) use self::histories::*;
pub(crate) use self::imports::*;
pub(crate) use self::leases::*;
pub(crate) use self::records::*;
pub(crate) use self::replaced::*;
pub(crate) use self::restarts::*;
pub(crate) use self::verdict::{assert_noticed, watch_panics};
use crate::harness::{BEGIN, Harness, epoch};

type Alter<T> = Box<dyn Fn(T) -> T + Send + Sync>;
type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
type Instead<Q, R> = Box<dyn for<'a> Fn(&'a MemoryStore, Q) -> Answer<'a, R> + Send + Sync>;
type LogCall = (Revision, usize, Duration);

/// Where a store differs from a sound one: requests that arrive altered, answers that leave
/// altered, and calls that do something else instead.
#[derive(Default)]
pub(crate) struct Defect {
    commit: Option<Alter<Commit>>,
    scan: Option<Alter<Scan>>,
    pulse: Option<Alter<Pulse>>,
    open: Option<Alter<OpenGroup>>,
    log: Option<Alter<(usize, Duration)>>,
    keep: Option<Alter<Retention>>,
    record: Option<Alter<Record>>,
    page: Option<Alter<ScanPage>>,
    entry: Option<Alter<LogEntry>>,
    log_page: Option<Alter<LogPage>>,
    /// The log as it is in memory.
    remembered: Option<Alter<LogPage>>,
    leases: Option<Alter<Vec<Lease>>>,
    beat: Option<Alter<PulseAnswer>>,
    opened: Option<Alter<OpenedGroup>>,
    recalled: Option<Alter<Option<(u64, CommitOutcome)>>>,
    commit_instead: Option<Instead<Commit, Result<CommitOutcome, CommitError>>>,
    scan_instead: Option<Instead<Scan, Result<ScanPage, StoreError>>>,
    pulse_instead: Option<Instead<Pulse, Result<PulseAnswer, StoreError>>>,
    open_instead: Option<Instead<OpenGroup, Result<OpenedGroup, StoreError>>>,
    close_instead: Option<Instead<(Epoch, GroupRef), Result<bool, StoreError>>>,
    log_instead: Option<Instead<LogCall, Result<LogPage, StoreError>>>,
    housekeep_instead: Option<Instead<(Epoch, Retention), Result<HousekeepingOutcome, StoreError>>>,
    pub no_quarantine: bool,
    pub restart: Restart,
}

/// What a store with a defect does when it is opened again.
#[derive(Clone, Copy, Default)]
pub(crate) enum Restart {
    #[default]
    KeepsAll,
    /// Has this defect from then on.
    Has(fn() -> Defect),
    /// Opens every group anew under its old secret, so that the old lives look live.
    RevivesGroups,
    BelievesTheWallClock,
}

/// A memory store with a defect.
pub(crate) struct Broken {
    sound: Arc<MemoryStore>,
    defect: Defect,
}

/// A [`Broken`] store on a clock that stands still.
pub(crate) struct BrokenHarness {
    clock: ManualClock,
    store: Arc<Broken>,
    defect: fn() -> Defect,
}

fn alter<T>(how: &Option<Alter<T>>, what: T) -> T {
    match how {
        Some(alter) => alter(what),
        None => what,
    }
}

/// Alters what it is given in place.
pub(crate) fn altering<T: 'static>(alter: impl Fn(&mut T) + Send + Sync + 'static) -> Option<Alter<T>> {
    Some(Box::new(move |mut what| {
        alter(&mut what);
        what
    }))
}

/// An empty commit in the present epoch.
pub(crate) async fn blank(store: &MemoryStore) -> Commit {
    Commit { epoch: epoch(store).await, ..Commit::default() }
}

/// A junk commit: what a store writes that should have written nothing.
pub(crate) async fn write_junk(store: &MemoryStore) {
    use omnirelay_store::{RecordId, RecordKind, Write};
    let id = RecordId::new(RecordKind::of("junk"), "junk");
    let writes = vec![Write::Put { id, value: bytes::Bytes::new(), group: None }];
    store.commit(Commit { writes, ..blank(store).await }).await.expect("a junk commit");
}

impl Broken {
    fn shown_entry(&self, entry: &LogEntry) -> Arc<LogEntry> {
        let mut entry = entry.clone();
        for change in &mut entry.changes {
            change.after = alter(&self.defect.record, change.after.clone());
        }
        if let Some(leases) = &self.defect.leases {
            entry.leases = entry.leases.into_iter().flat_map(|lease| leases(vec![lease])).collect();
        }
        Arc::new(alter(&self.defect.entry, entry))
    }

    fn shown_commit(&self, committed: CommitOutcome) -> CommitOutcome {
        match committed {
            CommitOutcome::Done(entry) => CommitOutcome::Done(self.shown_entry(&entry)),
            replayed @ CommitOutcome::Replayed { .. } => replayed,
        }
    }
}

#[async_trait]
impl Store for Broken {
    fn name(&self) -> &str {
        "broken"
    }

    async fn pulse(&self, pulse: Pulse) -> Result<PulseAnswer, StoreError> {
        let pulse = alter(&self.defect.pulse, pulse);
        let beat = match &self.defect.pulse_instead {
            Some(instead) => instead(&self.sound, pulse).await?,
            None => self.sound.pulse(pulse).await?,
        };
        Ok(alter(&self.defect.beat, beat))
    }

    async fn open_group(&self, open: OpenGroup) -> Result<OpenedGroup, StoreError> {
        let open = alter(&self.defect.open, open);
        let opened = match &self.defect.open_instead {
            Some(instead) => instead(&self.sound, open).await?,
            None => self.sound.open_group(open).await?,
        };
        Ok(alter(&self.defect.opened, opened))
    }

    async fn close_group(&self, epoch: Epoch, group: GroupRef) -> Result<bool, StoreError> {
        match &self.defect.close_instead {
            Some(instead) => instead(&self.sound, (epoch, group)).await,
            None => self.sound.close_group(epoch, group).await,
        }
    }

    async fn commit(&self, commit: Commit) -> Result<CommitOutcome, CommitError> {
        let commit = alter(&self.defect.commit, commit);
        let committed = match &self.defect.commit_instead {
            Some(instead) => instead(&self.sound, commit).await?,
            None => self.sound.commit(commit).await?,
        };
        Ok(self.shown_commit(committed))
    }

    async fn recall(&self, key: &IdempotencyKey) -> Result<Option<(u64, CommitOutcome)>, StoreError> {
        Ok(alter(&self.defect.recalled, self.sound.recall(key).await?))
    }

    async fn scan(&self, scan: Scan) -> Result<ScanPage, StoreError> {
        let scan = alter(&self.defect.scan, scan);
        let mut page = match &self.defect.scan_instead {
            Some(instead) => instead(&self.sound, scan).await?,
            None => self.sound.scan(scan).await?,
        };
        page.records = page.records.into_iter().map(|record| alter(&self.defect.record, record)).collect();
        Ok(alter(&self.defect.page, page))
    }

    async fn leases(&self) -> Result<Leases, StoreError> {
        let Leases { epoch, leases } = self.sound.leases().await?;
        Ok(Leases { epoch, leases: alter(&self.defect.leases, leases) })
    }

    async fn log(&self, after: Revision, limit: usize, wait: Duration) -> Result<LogPage, StoreError> {
        let (limit, wait) = alter(&self.defect.log, (limit, wait));
        let mut page = match &self.defect.log_instead {
            Some(instead) => instead(&self.sound, (after, limit, wait)).await?,
            None => self.sound.log(after, limit, wait).await?,
        };
        page.entries = page.entries.iter().map(|entry| self.shown_entry(entry)).collect();
        Ok(alter(&self.defect.log_page, page))
    }

    fn log_in_memory(&self, after: Revision) -> Option<LogPage> {
        Some(alter(&self.defect.remembered, self.sound.log_in_memory(after)?))
    }

    async fn housekeep(&self, epoch: Epoch, keep: Retention) -> Result<HousekeepingOutcome, StoreError> {
        let keep = alter(&self.defect.keep, keep);
        match &self.defect.housekeep_instead {
            Some(instead) => instead(&self.sound, (epoch, keep)).await,
            None => self.sound.housekeep(epoch, keep).await,
        }
    }
}

impl BrokenHarness {
    pub(crate) async fn fresh(defect: fn() -> Defect) -> Box<dyn Harness> {
        let clock = ManualClock::at(BEGIN);
        Box::new(Self { store: Arc::new(Self::store(&clock, defect)), clock, defect })
    }

    fn store(clock: &ManualClock, defect: fn() -> Defect) -> Broken {
        Broken { sound: Arc::new(MemoryStore::new(clock.clone())), defect: defect() }
    }
}

#[async_trait]
impl Harness for BrokenHarness {
    fn store(&self) -> Arc<dyn Store> {
        self.store.clone()
    }

    async fn advance(&mut self, by: Duration) {
        self.clock.advance(by);
    }

    async fn reopen(&mut self, wall_back: Duration) {
        match self.store.defect.restart {
            Restart::KeepsAll => {}
            Restart::Has(defect) => {
                let sound = Arc::clone(&self.store.sound);
                self.store = Arc::new(Broken { sound, defect: defect() });
            }
            Restart::RevivesGroups => groups::revive(&self.store.sound).await,
            Restart::BelievesTheWallClock => {
                let now = self.clock.advance(Duration::ZERO);
                self.clock = ManualClock::at(Millis(now.0 - wall_back.as_millis() as u64));
                self.store = Arc::new(Self::store(&self.clock, self.defect));
            }
        }
    }

    async fn quarantine(&self, length: Duration) {
        if !self.store.defect.no_quarantine {
            self.store.sound.quarantine(length);
        }
    }
}
