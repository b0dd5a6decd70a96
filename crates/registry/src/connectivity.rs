//! Store connectivity, as a daemon hears it: the store's time, its epoch, and since when it has been silent.

use std::time::Duration;

use omnirelay_core::time::{Millis, whole_ms};
use omnirelay_host::wall_clock;
use omnirelay_store::{Epoch, StoreError};
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

/// Last answer of the store: when it came, and what it said.
#[derive(Clone, Copy)]
struct LastAnswer {
    store: Millis,
    /// When it was asked: the store answered at this instant or later, so that its time is never behind
    /// what is made of it here, however long the answer was on its way or lay unread.
    at: Instant,
    /// Milliseconds by which store time was ahead of the wall clock of this host then; below 0: behind it.
    ahead_ms: i64,
    /// True from the first pulse without an answer to the next one with.
    silent: bool,
    /// Since when the log cannot be read; `None` while it can.
    unread_since: Option<Instant>,
}

/// News that others wait for: a new epoch, or the return of the store.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct StoreNews {
    epoch: Epoch,
    /// How often the store has answered again after a silence.
    returns: u64,
}

/// Connectivity of the store, as a daemon hears of it.
pub struct StoreConnectivity {
    last: RwLock<LastAnswer>,
    /// Why the last call failed that did.
    trouble: Mutex<String>,
    news: watch::Sender<StoreNews>,
    /// Told of each answer, and of each silence.
    answered: Notify,
    /// How many beats were answered, and followed by what follows from a beat at once.
    beats: watch::Sender<u64>,
}

impl StoreConnectivity {
    /// Nothing heard yet.
    pub(super) fn new() -> Self {
        let last = LastAnswer {
            store: Millis(0),
            at: Instant::now(),
            ahead_ms: 0,
            silent: false,
            unread_since: None,
        };
        Self {
            last: RwLock::new(last),
            trouble: Mutex::default(),
            news: watch::Sender::new(StoreNews::default()),
            answered: Notify::new(),
            beats: watch::Sender::default(),
        }
    }

    /// Store time now, by the last answer and the time since it was asked for: ahead by at most as long as
    /// the question was on its way, and never behind.
    pub fn now(&self) -> Millis {
        let last = self.last();
        last.store.after(last.at.elapsed())
    }

    /// Whether the store has ever answered: before, nothing is known of its time.
    pub fn has_answered(&self) -> bool {
        self.last().store > Millis(0)
    }

    /// Milliseconds by which store time was ahead of the wall clock of this host when the store answered last, below 0 behind it;
    /// `None`: it has never answered.
    pub fn ahead_of_host_ms(&self) -> Option<i64> {
        let last = self.last();
        (last.store > Millis(0)).then_some(last.ahead_ms)
    }

    /// The instant by which deadlines are judged: it stands still while the store is silent.
    pub(super) fn judged_now(&self) -> Millis {
        let last = self.last();
        if last.silent { last.store } else { last.store.after(last.at.elapsed()) }
    }

    /// Age of the newest answer, if the store has been asked in vain since; `None` while it answers.
    pub fn silence(&self) -> Option<Duration> {
        let last = self.last();
        let unread = last.unread_since.map(|since| since.elapsed());
        if last.silent { unread.max(Some(last.at.elapsed())) } else { unread }
    }

    /// Whether the last pulse went unanswered.
    pub(super) fn is_silent(&self) -> bool {
        self.last().silent
    }

    /// Waits until the store answers pulses; at once while it does.
    pub(super) async fn heard(&self) {
        while self.last().silent {
            let news = self.news();
            if self.last().silent {
                news.await;
            }
        }
    }

    /// Waits for the answer to a pulse that was sent at `asked` or later; at once while the store is silent.
    pub(super) async fn heard_since(&self, asked: Instant) {
        loop {
            let answered = self.answered.notified();
            let last = self.last();
            if last.silent || last.at >= asked {
                return;
            }
            answered.await;
        }
    }

    /// Whether the store has answered a pulse that was sent at `asked` or later.
    pub(super) fn was_heard_since(&self, asked: Instant) -> bool {
        let last = self.last();
        !last.silent && last.at >= asked
    }

    /// The epoch that the store named last.
    pub fn epoch(&self) -> Epoch {
        self.news.borrow().epoch
    }

    /// Reason why the store is silent, while it is.
    pub fn trouble(&self) -> Option<String> {
        self.silence()?;
        Some(self.trouble.lock().clone())
    }

    /// Number of beats that the store has answered.
    pub fn beats(&self) -> u64 {
        *self.beats.borrow()
    }

    /// Wakes with each beat that the store answers, and whenever it falls silent or is heard again.
    pub(super) fn follow_beats(&self) -> watch::Receiver<u64> {
        self.beats.subscribe()
    }

    /// Counts a beat that was answered.
    pub(super) fn count_beat(&self) {
        self.beats.send_modify(|beats| *beats += 1);
    }

    /// Notes why a call failed.
    pub(super) fn note_trouble(&self, why: &str) {
        why.clone_into(&mut self.trouble.lock());
    }

    /// Notes that a pulse went unanswered.
    pub fn note_silence(&self) {
        self.change(|last| last.silent = true);
        self.answered.notify_waiters();
        self.beats.send_modify(|_| {});
    }

    /// Notes whether the log can be read.
    pub(super) fn note_log(&self, readable: bool) {
        if self.last().unread_since.is_none() == readable {
            return;
        }
        self.change(|last| last.unread_since = (!readable).then(Instant::now));
        self.beats.send_modify(|_| {});
    }

    /// Notes what time the store has, and its epoch, as it answered whoever asked at `asked`.
    pub(super) fn note_answer(&self, store: Millis, epoch: Epoch, asked: Instant) {
        let silent = self.last().silent;
        let wall = whole_ms(wall_clock::unix());
        let ahead_ms = i64::try_from(i128::from(store.0) - i128::from(wall)).unwrap_or(i64::MAX);
        self.change(|last| {
            // The answer to an older question is no news of the time.
            if asked >= last.at || silent {
                (last.store, last.at, last.ahead_ms) = (store, asked, ahead_ms);
            }
            last.silent = false;
        });
        self.news.send_if_modified(|news| {
            let before = *news;
            news.epoch = epoch;
            news.returns += u64::from(silent);
            *news != before
        });
        self.answered.notify_waiters();
    }

    /// A refusal in another epoch is news to the view as well.
    pub fn heed(&self, refusal: &StoreError) {
        if let StoreError::EpochChanged { current } = refusal {
            self.note_epoch(*current);
        }
    }

    /// Notes an epoch that the store named in a refusal.
    pub fn note_epoch(&self, epoch: Epoch) {
        self.news.send_if_modified(|news| std::mem::replace(&mut news.epoch, epoch) != epoch);
    }

    /// Waits until the store is known to be in another epoch than `known`, or answers again after
    /// a silence.
    pub(super) fn news(&self) -> impl Future<Output = ()> + use<> {
        let mut heard = self.news.subscribe();
        let before = *heard.borrow();
        async move {
            // The sender lives as long as the registry that is waited in.
            let _ = heard.wait_for(|news| *news != before).await;
        }
    }

    fn last(&self) -> LastAnswer {
        *self.last.read()
    }

    fn change(&self, change: impl FnOnce(&mut LastAnswer)) {
        change(&mut self.last.write());
    }
}
