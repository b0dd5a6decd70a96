//! Inbox of the work that is yet to be pushed to one target.

use std::collections::BTreeSet;

use omnirelay_store::Revision;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// Of more changes than this, all is pushed.
const IDS_MAX: usize = 10_000;

/// Inbox of the work that is yet to be pushed. Changes of one register are one.
#[derive(Default)]
pub(super) struct PushInbox {
    work: Mutex<PushWork>,
    news: Notify,
}

/// Work that is to be pushed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PushWork {
    /// The registers that have changed.
    pub ids: BTreeSet<String>,
    /// All is to be pushed, whatever has changed.
    pub all: bool,
    /// It does not wait for the end of a pause after a failure.
    urgent: bool,
    /// The newest commit among the changes.
    pub through: Revision,
}

/// Patience of a wait: what ends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InboxPatience {
    /// Any work.
    None,
    /// Work that may succeed where the last has failed.
    UntilUrgent,
}

impl PushInbox {
    /// Notes that a register has changed.
    pub(super) fn change(&self, id: &str, revision: Revision) {
        let mut work = self.work.lock();
        work.through = work.through.max(revision);
        if work.ids.len() < IDS_MAX {
            work.ids.insert(id.to_owned());
        } else {
            work.all = true;
        }
        drop(work);
        self.news.notify_one();
    }

    /// Notes that all is to be pushed, at once: what was in the way may be gone.
    pub(super) fn all_at_once(&self) {
        let mut work = self.work.lock();
        (work.all, work.urgent) = (true, true);
        drop(work);
        self.news.notify_one();
    }

    /// Takes what there is to do.
    pub(super) fn take(&self) -> PushWork {
        std::mem::take(&mut self.work.lock())
    }

    /// Waits for work, but not beyond `until`.
    pub(super) async fn wait(&self, until: Instant, patience: InboxPatience) {
        let until = sleep_until(until);
        tokio::pin!(until);
        loop {
            if self.work.lock().ends(patience) {
                return;
            }
            tokio::select! {
                () = self.news.notified() => {}
                () = &mut until => return,
            }
        }
    }
}

impl PushWork {
    fn ends(&self, patience: InboxPatience) -> bool {
        match patience {
            InboxPatience::None => self.all || !self.ids.is_empty(),
            InboxPatience::UntilUrgent => self.urgent,
        }
    }
}
