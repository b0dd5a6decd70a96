//! The optimistic store, on a medium of these tests: rows in memory, of which each knows when it was changed last.

mod contention;
mod losses;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use omnirelay_store::optimistic::{
    ConditionalStore, KeyRange, MediumReading, OptimisticStore, RangeQuery, RangeRows, RowVersion, RowWrite,
    WriteConditions,
};
use omnirelay_store::{
    Clock, Commit, CommitError, GroupId, ManualClock, OpenGroup, OpenedGroup, Precondition, RecordId,
    RecordKind, Scan, Store, StoreError, Write,
};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::defects::{assert_noticed, watch_panics};
use crate::harness::{BEGIN, Harness, epoch};
use crate::suite::rule;

/// The most rows of one answer: fewer than rules ask for, so that they get them by and by.
const ANSWER_ROWS_MAX: usize = 7;

/// Defect of the adapter, as its medium sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AdapterDefect {
    /// It writes whatever has changed since it has read.
    ChecksNoVersions,
    /// It writes even where a life that it found live has ended.
    ChecksNoTime,
}

/// Rows that several stores share.
#[derive(Clone)]
struct RowsInMemory {
    clock: ManualClock,
    kept: Arc<Mutex<KeptRows>>,
    version: watch::Sender<u64>,
    /// How many ms pass between the next reading and the write behind it.
    write_takes_ms: Arc<AtomicU64>,
    others: Arc<OthersAtWork>,
    defect: Option<AdapterDefect>,
}

/// What others do to the rows meanwhile, and what came of that.
#[derive(Default)]
struct OthersAtWork {
    /// Behind each reading the rows whose keys begin with this are written, as they are.
    rewrite: Mutex<Option<Vec<u8>>>,
    /// How many readings there were, and how many writes that were refused.
    readings: AtomicU64,
    refused: AtomicU64,
    /// Whoever waits for a change is woken at once.
    wakes_early: AtomicBool,
    /// Nothing can be read once this version is there; 0: always.
    away_from: AtomicU64,
}

/// By key, when it was changed last, and what is there.
type KeptRows = BTreeMap<Vec<u8>, (u64, Option<Bytes>)>;

pub(crate) struct Optimistic {
    medium: RowsInMemory,
    store: Arc<OptimisticStore<RowsInMemory>>,
}

impl RowsInMemory {
    fn empty(defect: Option<AdapterDefect>) -> Self {
        let (kept, write_takes_ms) = (Arc::default(), Arc::default());
        let version = watch::Sender::new(1);
        let others = Arc::default();
        Self { clock: ManualClock::at(BEGIN), kept, version, write_takes_ms, others, defect }
    }

    fn store(&self) -> Arc<OptimisticStore<Self>> {
        Arc::new(OptimisticStore::new(self.clone(), Duration::from_secs(60)))
    }

    fn is_changed(&self, range: &KeyRange, since: RowVersion) -> bool {
        let kept = self.kept.lock();
        kept.range(range.from.clone()..range.to.clone()).any(|(_, (changed, _))| *changed > since.0)
    }

    /// When a row was changed last.
    fn changed_at(&self, key: &[u8]) -> Option<u64> {
        self.kept.lock().get(key).map(|(changed, _)| *changed)
    }

    /// How many rows there are whose keys begin with `prefix`.
    fn count(&self, prefix: u8) -> usize {
        let kept = self.kept.lock();
        kept.range(vec![prefix]..vec![prefix + 1]).filter(|(_, (_, row))| row.is_some()).count()
    }

    fn refused(&self) -> u64 {
        self.others.refused.load(Ordering::SeqCst)
    }

    fn let_others_write(&self, kept: &mut KeptRows) {
        let Some(prefix) = self.others.rewrite.lock().clone() else { return };
        let version = *self.version.borrow() + 1;
        let rows = kept.range_mut(prefix.clone()..).take_while(|(key, _)| key.starts_with(&prefix));
        rows.for_each(|(_, (changed, _))| *changed = version);
        self.version.send_replace(version);
    }

    fn holds(&self, kept: &KeptRows, conditions: &WriteConditions) -> bool {
        let is_unchanged = |(range, read): &(KeyRange, RowVersion)| {
            kept.range(range.from.clone()..range.to.clone()).all(|(_, (changed, _))| *changed <= read.0)
        };
        let is_early = conditions.before.is_none_or(|before| self.clock.now() < before);
        let checks = |defect| self.defect != Some(defect);
        (!checks(AdapterDefect::ChecksNoVersions) || conditions.unchanged.iter().all(is_unchanged))
            && (!checks(AdapterDefect::ChecksNoTime) || is_early)
    }
}

fn answer(kept: &KeptRows, query: &RangeQuery) -> RangeRows {
    let KeyRange { from, to } = query.range.clone();
    let there = kept.range(from..to).filter_map(|(key, (_, row))| Some((key.clone(), row.clone()?)));
    let mut rows: Vec<_> = if query.backwards { there.rev().collect() } else { there.collect() };
    let more = rows.len() > query.rows_max.min(ANSWER_ROWS_MAX);
    rows.truncate(query.rows_max.min(ANSWER_ROWS_MAX));
    RangeRows { rows, more }
}

#[async_trait]
impl ConditionalStore for RowsInMemory {
    fn name(&self) -> &str {
        "rows in memory"
    }

    async fn read(&self, queries: &[RangeQuery]) -> Result<MediumReading, StoreError> {
        // Others come in between, as they would on a network.
        tokio::task::yield_now().await;
        let mut kept = self.kept.lock();
        let version = RowVersion(*self.version.borrow());
        if (1..=version.0).contains(&self.others.away_from.load(Ordering::SeqCst)) {
            return Err(StoreError::Unavailable("it is away".into()));
        }
        self.others.readings.fetch_add(1, Ordering::SeqCst);
        let answers = queries.iter().map(|query| answer(&kept, query)).collect();
        self.let_others_write(&mut kept);
        Ok(MediumReading { now: self.clock.now(), version, answers })
    }

    async fn write_if(&self, conditions: &WriteConditions, writes: &[RowWrite]) -> Result<bool, StoreError> {
        tokio::task::yield_now().await;
        self.clock.advance(Duration::from_millis(self.write_takes_ms.swap(0, Ordering::SeqCst)));
        let mut kept = self.kept.lock();
        if !self.holds(&kept, conditions) {
            self.others.refused.fetch_add(1, Ordering::SeqCst);
            return Ok(false);
        }
        if !writes.is_empty() {
            let version = *self.version.borrow() + 1;
            kept.extend(writes.iter().map(|write| (write.key.clone(), (version, write.row.clone()))));
            self.version.send_replace(version);
        }
        Ok(true)
    }

    async fn await_change(
        &self,
        range: &KeyRange,
        since: RowVersion,
        wait: Duration,
    ) -> Result<(), StoreError> {
        if self.others.wakes_early.load(Ordering::SeqCst) {
            return Ok(());
        }
        let mut versions = self.version.subscribe();
        let changed = async { while !self.is_changed(range, since) && versions.changed().await.is_ok() {} };
        // Whether it came in time or not is seen by reading.
        let _ = tokio::time::timeout(wait, changed).await;
        Ok(())
    }
}

impl Optimistic {
    pub(crate) async fn fresh() -> Box<dyn Harness> {
        Self::with(None)
    }

    fn with(defect: Option<AdapterDefect>) -> Box<dyn Harness> {
        let medium = RowsInMemory::empty(defect);
        Box::new(Self { store: medium.store(), medium })
    }
}

#[async_trait]
impl Harness for Optimistic {
    fn store(&self) -> Arc<dyn Store> {
        self.store.clone()
    }

    async fn advance(&mut self, by: Duration) {
        self.medium.clock.advance(by);
    }

    /// The rows and the time are the medium's, which goes on.
    async fn reopen(&mut self, _: Duration) {
        self.store = self.medium.store();
    }

    async fn quarantine(&self, length: Duration) {
        self.store.quarantine(length).await.unwrap();
    }
}

/// Gives each client a store of its own on one medium, as each daemon has.
pub(crate) fn one_medium() -> impl Fn(usize) -> Arc<dyn Store> {
    let medium = RowsInMemory::empty(None);
    move |_| medium.store()
}

#[tokio::test]
async fn an_adapter_that_checks_no_versions_is_noticed() {
    watch_panics();
    let broken = Optimistic::with(Some(AdapterDefect::ChecksNoVersions));
    let verdict = tokio::spawn(rule::commits::of_rivals_on_one_version_one_wins(broken)).await;
    assert_noticed("checks_no_versions", verdict, &[]);
}

const KIND: RecordKind = RecordKind::of("thing");

/// A commit in the present epoch that puts a record under each key.
async fn puts(store: &dyn Store, keys: impl Iterator<Item = String>) -> Commit {
    let id = |key| RecordId::new(KIND, key);
    let writes = keys.map(|key| Write::Put { id: id(key), value: Bytes::from_static(b"x"), group: None });
    Commit { writes: writes.collect(), epoch: epoch(store).await, ..Commit::default() }
}

/// Whether a page that is read in parts is as the records were at one moment, while others write.
async fn pages_are_of_one_moment(defect: Option<AdapterDefect>) -> bool {
    const TOGETHER: usize = 8;
    let medium = RowsInMemory::empty(defect);
    let (reader, writer) = (medium.store(), medium.store());
    let scan = Scan { kind: KIND, after: None, backwards: false, limit: 1_000 };
    for round in 0..20 {
        let commit = puts(writer.as_ref(), (0..TOGETHER).map(|key| format!("{key}-{round}"))).await;
        let (page, made) = tokio::join!(reader.scan(scan.clone()), writer.commit(commit));
        made.unwrap();
        let page = page.unwrap();
        let is_ahead = page.records.iter().any(|record| record.revision > page.head);
        if page.records.len() % TOGETHER != 0 || is_ahead {
            return false;
        }
    }
    true
}

#[tokio::test]
async fn a_page_that_is_read_in_parts_is_of_one_moment() {
    assert!(pages_are_of_one_moment(None).await);
    assert!(!pages_are_of_one_moment(Some(AdapterDefect::ChecksNoVersions)).await, "it is not noticed");
}

/// Whether what a session begins is refused where the session ends before that is written.
async fn a_late_write_is_judged_anew(defect: Option<AdapterDefect>) -> bool {
    let medium = RowsInMemory::empty(defect);
    let store = medium.store();
    let (id, ttl, secret) = (GroupId("n1".to_owned()), Duration::from_secs(8), "secret".to_owned());
    let open = OpenGroup { epoch: epoch(store.as_ref()).await, id, ttl, secret };
    let OpenedGroup::Open(group) = store.open_group(open).await.unwrap() else { panic!("it is not opened") };
    let mut commit = puts(store.as_ref(), std::iter::once("a".to_owned())).await;
    commit.preconditions = vec![Precondition::GroupLive(group.of.clone())];
    store.commit(commit.clone()).await.unwrap();
    medium.write_takes_ms.store(8_000, Ordering::SeqCst);
    matches!(store.commit(commit).await, Err(CommitError::GroupOver(over)) if over == group.of)
}

#[tokio::test]
async fn a_write_that_comes_after_a_deadline_is_judged_anew() {
    assert!(a_late_write_is_judged_anew(None).await);
    assert!(!a_late_write_is_judged_anew(Some(AdapterDefect::ChecksNoTime)).await, "it is not noticed");
}
