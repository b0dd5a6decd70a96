//! Reads the log of leadership off the store while daemons write it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use omnirelay_registry::audit_record::AUDIT;
use omnirelay_store::{Epoch, GroupRef, LogEntry, LogPage, Pulse, Record, RedisStore, Revision, Store};
use omnirelay_wire::pb::omnirelay::store::v1::AuditValue;
use prost::Message;

use super::gates::{Gates, store};
use crate::history::{Action, Event, How};
use crate::process::PATIENCE;
use crate::recorder::Recorder;

/// How long it waits for news before it looks whether it is to end.
const WAIT: Duration = Duration::from_millis(200);
const PAGE: usize = 1024;
/// Between two tries, while the store does not answer.
const PAUSE: Duration = Duration::from_millis(20);

/// Records grants, releases and epochs, on a thread of its own: nothing that a test does holds it up.
pub(super) struct Watcher {
    ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

struct Reader {
    store: RedisStore,
    recorder: Arc<Recorder>,
    gates: Arc<Gates>,
    epoch: Epoch,
    after: Revision,
    /// When the epoch was last seen to go on.
    heard_us: u64,
    /// What was granted last in this epoch.
    granted: BTreeMap<String, Granted>,
}

#[derive(Clone)]
struct Granted {
    token: u64,
    term: u64,
    node: String,
}

impl Watcher {
    /// Begins with what comes next, and returns when it knows where that is.
    pub(super) fn start(recorder: Arc<Recorder>, gates: Arc<Gates>, url: &str) -> Result<Self> {
        let ending = Arc::<AtomicBool>::default();
        let mut reader = Reader {
            store: store(url)?,
            heard_us: recorder.now_us(),
            recorder,
            gates,
            epoch: Epoch(0),
            after: Revision(0),
            granted: BTreeMap::new(),
        };
        let (ended, (ready, is_ready)) = (ending.clone(), std::sync::mpsc::channel());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                reader.begin().await?;
                ready.send(())?;
                reader.follow(&ended).await
            })
        });
        is_ready.recv_timeout(PATIENCE).context("the log cannot be read")?;
        Ok(Self { ending, thread: Some(thread) })
    }

    /// Reads to the end of the log.
    pub(super) fn finish(mut self) -> Result<()> {
        self.ending.store(true, Ordering::SeqCst);
        let thread = self.thread.take().context("it has ended")?;
        thread.join().map_err(|_| anyhow::anyhow!("the watcher panicked"))?
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::SeqCst);
    }
}

impl Reader {
    async fn begin(&mut self) -> Result<()> {
        let begun = Instant::now();
        while self.enter().await.is_err() {
            ensure!(begun.elapsed() < PATIENCE, "the store does not answer");
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    async fn follow(&mut self, ending: &AtomicBool) -> Result<()> {
        let mut ending_since = None;
        loop {
            let is_last = ending.load(Ordering::SeqCst);
            let wait = if is_last { Duration::ZERO } else { WAIT };
            match self.store.log(self.after, PAGE, wait).await {
                Ok(page) => {
                    let caught_up = self.note(page).await?;
                    if is_last && caught_up {
                        return Ok(());
                    }
                }
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
            let since = is_last.then(|| *ending_since.get_or_insert_with(Instant::now));
            ensure!(since.is_none_or(|since| since.elapsed() < PATIENCE), "the log cannot be read");
        }
    }

    /// True: nothing is left to be read.
    async fn note(&mut self, page: LogPage) -> Result<bool> {
        if page.epoch != self.epoch {
            // Should it fail, it is found out again.
            let _ = self.enter().await;
            return Ok(false);
        }
        if page.compacted {
            bail!("the log of epoch {} does not reach back to {}", self.epoch, self.after);
        }
        self.heard_us = self.recorder.now_us();
        for entry in &page.entries {
            self.note_entry(entry);
        }
        Ok(self.after == page.head)
    }

    fn note_entry(&mut self, entry: &LogEntry) {
        let before = |scope: &str| Some((scope.to_owned(), self.granted.get(scope)?.clone()));
        let before: BTreeMap<_, _> = entry.leases.iter().filter_map(|lease| before(&lease.scope)).collect();
        for lease in entry.leases.iter().filter(|lease| !lease.released) {
            let node = node_of(&lease.holder);
            // A leader that commits the lease of somebody else has given back its own in the same step.
            let handed_over =
                before.get(&lease.scope).filter(|last| *last.node == *entry.writer && last.node != node);
            if let Some(last) = handed_over {
                let (scope, epoch, token) = (lease.scope.clone(), self.epoch.0, last.token);
                let revision = entry.revision.0;
                self.recorder.push(Event::Ended { scope, epoch, revision, token, how: How::Released });
            }
            let granted = Granted { token: lease.token, term: lease.term, node };
            self.granted.insert(lease.scope.clone(), granted);
        }
        for event in Event::of_log(self.epoch, entry, node_of) {
            self.recorder.push(event);
        }
        for change in entry.changes.iter().filter(|change| change.after.id.kind == AUDIT) {
            self.note_audit(&change.after, &before);
        }
        self.after = entry.revision;
    }

    /// What the audit trail says that happened, in its own words; an end is that of the grant `before`, where the entry
    /// has changed the lease.
    fn note_audit(&self, record: &Record, before: &BTreeMap<String, Granted>) {
        let audit = AuditValue::decode(record.value.clone()).unwrap_or_default();
        let Some(scope) = audit.object.strip_prefix("leadership/") else { return };
        let push = |term: u64, action| {
            self.recorder.push(Event::Audited { scope: scope.to_owned(), epoch: self.epoch.0, term, action });
        };
        let last = before.get(scope).or_else(|| self.granted.get(scope)).map_or(0, |last| last.term);
        let term = audit.changes.iter().find_map(|line| line.strip_prefix("term: ")?.parse().ok());
        match audit.action.as_str() {
            "leaders.elected" => push(term.unwrap_or(0), Action::Granted),
            "leaders.handed-over" => {
                push(term.unwrap_or(0), Action::Granted);
                push(last, Action::Ended);
            }
            "leaders.stepped-down" => push(last, Action::Ended),
            _ => {}
        }
    }

    /// Goes on in the epoch that the store is in. It begins with a quarantine, so nothing is granted
    /// before this has read where it stands.
    async fn enter(&mut self) -> Result<()> {
        let from_us = self.heard_us;
        let beat = self.store.pulse(Pulse::default()).await?;
        let now_us = self.recorder.now_us();
        if beat.epoch != self.epoch {
            self.granted.clear();
        }
        (self.epoch, self.after) = (beat.epoch, beat.head);
        self.gates.note_epoch(beat.epoch);
        let left_ms = beat.quarantine_until.0.saturating_sub(beat.now.0);
        self.heard_us = now_us;
        let (why, until_us) = ("a new epoch".to_owned(), now_us + left_ms * 1000);
        self.recorder.push(Event::NoGrants { why, from_us, until_us });
        Ok(())
    }
}

/// The node of a session.
fn node_of(session: &GroupRef) -> String {
    session.id.0.strip_prefix("session/").unwrap_or(&session.id.0).to_owned()
}
