//! Keeps the view up to date: loads it and follows the log.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use omnirelay_core::text::chain;
use omnirelay_host::log::FaultLimiter;
use omnirelay_store::{
    CommitError, Epoch, Leases, LogEntry, LogPage, PAGE_MAX, Pulse, PulseAnswer, Record, RecordKind,
    Revision, Scan, Store, StoreError, Version,
};
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use tracing::{debug, info, warn};

use super::Registry;
use super::backoff::StoreFailures;
use super::view::{AppliedEntries, LoadedRecords, RegistryHead, View, ViewRecord};

/// How long one call may wait for the log to grow.
const LOG_WAIT: Duration = Duration::from_secs(20);
/// How much longer than that its answer may take, and how long any other call of a load at most.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a call of a load may take first, and twice as long after each that took longer: mostly it was lost, and
/// a large one must come through in the end.
const FIRST_TIMEOUT: Duration = Duration::from_secs(1);
/// After the log could be followed for so long, the next trouble is met without patience: as long as the longest wait.
const CALM: Duration = Duration::from_secs(2);
/// How long the log may be known to go on while a call that waits for it says nothing.
const BEHIND_MAX: Duration = Duration::from_secs(1);
/// How soon the log is asked again that answered at once, and with nothing new.
const NOTHING_NEW: Duration = Duration::from_millis(50);

/// Reason why the view must be loaded.
enum ReloadReason {
    /// The store said something that changes everything, or has come back: at once.
    Now,
    /// The log does not reach back, or has a gap.
    Behind,
    Failed(StoreError),
}

/// Loads the view and follows the log for ever.
pub async fn follow_log(registry: Arc<Registry>) {
    let connectivity = registry.view().connectivity();
    let (mut failures, faults_told) = (StoreFailures::default(), FaultLimiter::default());
    let mut limit = FIRST_TIMEOUT;
    loop {
        let asked = Instant::now();
        let reload = match load(&registry, limit).await {
            Ok(()) => {
                limit = FIRST_TIMEOUT;
                let loaded = Instant::now();
                let reload = follow(&registry).await;
                if loaded.elapsed() > CALM {
                    failures = StoreFailures::default();
                }
                reload
            }
            Err(reload) => {
                if matches!(reload, ReloadReason::Failed(_)) && asked.elapsed() >= limit {
                    limit = (limit * 2).min(CALL_TIMEOUT);
                }
                reload
            }
        };
        let news = connectivity.news();
        if registry.view().head().caught_up {
            // Until the next load is complete, what is shown may be old.
            connectivity.note_log(false);
        }
        match reload {
            ReloadReason::Now => continue,
            ReloadReason::Behind => {}
            ReloadReason::Failed(error) => {
                connectivity.note_trouble(&chain(&error));
                connectivity.note_log(false);
                if faults_told.is_due(&error) {
                    warn!(error = %chain(&error), "log could not be read; trying again");
                } else {
                    debug!(error = %chain(&error), "log could still not be read");
                }
            }
        }
        // Whoever loads again and again because the log runs away is slowed down as well.
        tokio::select! {
            biased;
            () = failures.wait() => {}
            () = news => {}
        }
    }
}

/// Follows the log until the view must be loaded again.
async fn follow(registry: &Registry) -> ReloadReason {
    loop {
        let head = registry.view().head();
        let connectivity = registry.view().connectivity();
        let news = connectivity.news();
        if connectivity.epoch() != head.epoch {
            info!(epoch = %connectivity.epoch(), "registry began a new epoch; the view is loaded again");
            return ReloadReason::Now;
        }
        let asked = Instant::now();
        let page = registry.store().log(head.revision, PAGE_MAX, LOG_WAIT);
        let page = tokio::select! {
            biased;
            page = in_time(LOG_WAIT + CALL_TIMEOUT, page) => page,
            // After a silence the call may be waiting for a connection that is gone.
            () = news => continue,
            // Others sign records than those by whom they were judged.
            () = registry.look_until_found(|view| view.must_judge_anew().then_some(())) => return ReloadReason::Now,
            () = registry.reload.notified() => return ReloadReason::Now,
            // Or it is the only one that does: other calls are answered.
            () = left_behind(registry.view()) => {
                debug!("log call has missed what beats tell of; asking again");
                continue;
            }
        };
        match page {
            Ok(page) if must_load_again(registry.view(), head.epoch, &page) => return ReloadReason::Behind,
            Ok(_) => connectivity.note_log(true),
            Err(error) => return ReloadReason::Failed(error),
        }
        if registry.view().head() == head && asked.elapsed() < NOTHING_NEW {
            sleep(NOTHING_NEW).await;
        }
    }
}

/// Waits until the log has gone on for so long without this view that its call must have been lost.
async fn left_behind(view: &View) {
    loop {
        let seen = view.head();
        sleep(BEHIND_MAX).await;
        if view.is_behind() && view.head() == seen {
            return;
        }
    }
}

/// Takes in a page of the log, unless something is missing before it.
fn must_load_again(view: &View, epoch: Epoch, page: &LogPage) -> bool {
    if page.epoch != epoch || page.compacted {
        info!(revision = %view.head().revision, "view fell behind the log and is loaded again");
        return true;
    }
    let has_gap = view.apply(page.entries.iter().map(Arc::as_ref)) == AppliedEntries::Gap;
    if has_gap {
        warn!(revision = %view.head().revision, "log has a gap behind this revision; the view is loaded again");
    }
    has_gap
}

/// Gives a call so long to answer.
pub async fn in_time<T, E: From<StoreError>>(
    limit: Duration,
    call: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let late = |_| Err(StoreError::Unavailable("no answer in time".into()).into());
    timeout(limit, call).await.unwrap_or_else(late)
}

/// Reads everything, unless the store has come back meanwhile from where a call may be lost. Each call has this `limit`.
async fn load(registry: &Registry, limit: Duration) -> Result<(), ReloadReason> {
    let mends = registry.view().takes_mend();
    let loaded = load_once(registry, limit, mends).await;
    if loaded.is_err() && mends {
        registry.view().mend_by_next_load();
    }
    loaded
}

async fn load_once(registry: &Registry, limit: Duration, mends: bool) -> Result<(), ReloadReason> {
    let (store, connectivity, asked) = (registry.store(), registry.view().connectivity(), Instant::now());
    let beat = tokio::select! {
        biased;
        beat = in_time(limit, store.pulse(Pulse::default())) => beat.map_err(ReloadReason::Failed)?,
        () = connectivity.news() => return Err(ReloadReason::Now),
    };
    registry.view().note_beat(&beat, asked);
    tokio::select! {
        biased;
        loaded = load_from(registry, &beat, limit, mends) => loaded,
        () = connectivity.news() => Err(ReloadReason::Now),
    }
}

/// Reads the records and then the log behind the revision that the beat found.
async fn load_from(
    registry: &Registry,
    beat: &PulseAnswer,
    limit: Duration,
    mends: bool,
) -> Result<(), ReloadReason> {
    let (store, view) = (registry.store(), registry.view());
    let mut records = BTreeMap::new();
    for kind in view.mirrored() {
        records.insert(kind.clone(), read_kind(store, beat.epoch, kind, limit).await?);
    }
    let Some(log) = read_log(store, beat, limit).await.map_err(ReloadReason::Failed)? else {
        debug!("log was trimmed while the view was being loaded");
        return Err(ReloadReason::Behind);
    };
    let Leases { epoch, leases } = in_time(limit, store.leases()).await.map_err(ReloadReason::Failed)?;
    if epoch != beat.epoch {
        return Err(ReloadReason::Behind);
    }
    let verified = view.verify_loaded(&records).await;
    let count: usize = records.values().flatten().map(Vec::len).sum();
    if let Some(loss) = store.accepted_loss().filter(|_| !view.head().caught_up) {
        registry.losses().note_accepted(loss, beat.epoch, beat.now);
    }
    if !view.head().caught_up {
        registry.losses().note_began(beat.head);
    }
    let lose = |change| registry.losses().note(change, beat.now);
    let loaded = LoadedRecords { records, leases, verified, mends };
    let ordered = loaded.ordered_in_turns(&view.signed_kinds()).await;
    view.replace(beat.epoch, beat.head, ordered, &log, lose);
    view.connectivity().note_log(true);
    info!(records = count, revision = %view.head().revision, "view loaded");
    Ok(())
}

/// Reads the records of a kind, page by page. While the store reads one, the one before is made what the view holds.
async fn read_kind(
    store: &dyn Store,
    epoch: Epoch,
    kind: &RecordKind,
    limit: Duration,
) -> Result<Vec<Vec<Arc<ViewRecord>>>, ReloadReason> {
    let (mut after, mut read, mut pages) = (None, None, Vec::new());
    loop {
        let scan = Scan { kind: kind.clone(), after, backwards: false, limit: PAGE_MAX };
        let make = async { pages.extend(read.take().map(|records| view_records(epoch, records))) };
        let (page, ()) = tokio::join!(in_time(limit, store.scan(scan)), make);
        let page = page.map_err(ReloadReason::Failed)?;
        if page.epoch != epoch {
            return Err(ReloadReason::Behind);
        }
        after = page.records.last().map(|record| record.id.key.clone());
        if !page.more || after.is_none() {
            pages.push(view_records(epoch, page.records));
            return Ok(pages);
        }
        read = Some(page.records);
    }
}

fn view_records(epoch: Epoch, records: Vec<Record>) -> Vec<Arc<ViewRecord>> {
    let there = records.into_iter().filter(|record| !record.deleted);
    there.map(|record| Arc::new(ViewRecord::new(epoch, record))).collect()
}

/// The log behind the beat's head; `None` when it no longer reaches back, so the load is void.
async fn read_log(
    store: &dyn Store,
    beat: &PulseAnswer,
    limit: Duration,
) -> Result<Option<Vec<Arc<LogEntry>>>, StoreError> {
    let mut entries: Vec<Arc<LogEntry>> = Vec::new();
    loop {
        let after = entries.last().map_or(beat.head, |entry| entry.revision);
        let page = in_time(limit, store.log(after, PAGE_MAX, Duration::ZERO)).await?;
        if page.compacted || page.epoch != beat.epoch {
            return Ok(None);
        }
        let caught_up = page.entries.is_empty();
        entries.extend(page.entries);
        if caught_up {
            return Ok(Some(entries));
        }
    }
}

/// Waits until the view has loaded and has seen `revision`.
pub async fn wait_for(view: &View, revision: Revision) {
    let mut head = view.follow_head();
    // The view lives as long as its registry, so the sender is never gone while we wait.
    let _ = head.wait_for(|head| head.caught_up && head.revision >= revision).await;
}

/// How long somebody waits to know all that the store knew.
pub(super) const SEE_ALL_MAX: Duration = Duration::from_millis(500);
/// What has refused a commit is shown sooner as a rule, without asking for a beat.
const SHOWN_SOON: Duration = Duration::from_millis(20);

impl Registry {
    /// Waits a moment until the view shows all that the store had when this was called: whoever was told of it at
    /// another daemon may be faster here than the log. At once while the store is silent.
    pub async fn see_all(&self) {
        let now = Instant::now();
        // Whoever is still behind then is told so by the view.
        self.confirm_since(now, now + SEE_ALL_MAX).await;
    }

    /// Waits at most until then, and half a second at most, for the view to show all that the store had at `asked`;
    /// whether it does. Before anybody is told that something is not there, or is not as it would have to be, the view
    /// is confirmed so: another daemon may just have acknowledged it. All who ask share the beats of the heart, of which
    /// there are 20 a second at most, and one that was sent after `asked` does for all that came before it. At once while
    /// the store is silent.
    pub(crate) async fn confirm_since(&self, asked: Instant, until: Instant) -> bool {
        let until = until.min(Instant::now() + SEE_ALL_MAX);
        timeout_at(until, self.all_seen_since(asked)).await.is_ok()
    }

    async fn all_seen(&self) {
        self.all_seen_since(Instant::now()).await;
    }

    async fn all_seen_since(&self, asked: Instant) {
        let (view, connectivity) = (self.view(), self.view().connectivity());
        if !connectivity.was_heard_since(asked) {
            view.ask_beat();
            connectivity.heard_since(asked).await;
        }
        if connectivity.is_silent() {
            return;
        }
        let mut head = view.follow_head();
        // Of another epoch nothing is known before it is loaded.
        let (epoch, heard_of) = (connectivity.epoch(), view.heard_of());
        let is_seen =
            |head: &RegistryHead| head.caught_up && (head.epoch != epoch || head.revision >= heard_of);
        if view.head().epoch == epoch {
            let _ = head.wait_for(is_seen).await;
        } else {
            let _ = head.wait_for(|head| head.caught_up && head.epoch == epoch).await;
        }
    }

    /// Waits until the view shows what stood in the way of a commit, or something newer, at most until then; whether it
    /// does.
    pub(crate) async fn catch_up(&self, refused: &CommitError, until: Instant) -> bool {
        let CommitError::Conflict { id, expected, actual } = refused else {
            return timeout_at(until, self.all_seen()).await.is_ok();
        };
        // With a beat, groups end and their records with them.
        let shown = self.look_until_found(|view| {
            let version = view.version_of(view.get(id).as_deref(), id);
            (version != *expected && (version == Version(0) || version >= *actual)).then_some(())
        });
        // It may have come and gone between two looks.
        let all_seen = async {
            sleep(SHOWN_SOON).await;
            self.all_seen().await;
        };
        tokio::select! {
            biased;
            () = shown => true,
            () = all_seen => true,
            () = sleep_until(until) => false,
        }
    }

    /// Looks up what `read` finds in the view. Where it meets what is past its deadline, the store is asked first:
    /// another daemon may have heard of it, and nobody is shown as living after the end that is shown with it. While
    /// the store is silent nothing ends, so the wait is a moment at most.
    pub async fn look<T>(&self, read: impl Fn(&View) -> T) -> T {
        let (view, until) = (self.view(), Instant::now() + SEE_ALL_MAX);
        loop {
            let asked = Instant::now();
            {
                let doubts = view.doubts();
                let found = read(view);
                if view.doubts() == doubts || until <= asked || view.silence().is_some() {
                    return found;
                }
            }
            // Whoever meets such a thing asks for a beat.
            let _ = timeout_at(until, view.connectivity().heard_since(asked)).await;
        }
    }
}
