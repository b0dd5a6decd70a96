//! Notices: what a daemon has noticed of itself and tells in the stream of events, though it stands in no log.

use std::collections::VecDeque;
use std::sync::Arc;

use omnirelay_core::time::Millis;
use omnirelay_wire::pb::omnirelay::mesh::control::v1::EventData;
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

/// How many notices are kept, the newest ones.
const KEPT_MAX: usize = 256;

/// Topic of notices: its name, and what can happen, as in `omnirelay.<name>.<what>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoticeTopic {
    pub name: &'static str,
    pub what: &'static [&'static str],
}

/// Something that a daemon has noticed.
#[derive(Clone, Debug)]
pub struct Notice {
    /// By the store's clock, and greater than that of the notice before: it also says where a reader stands.
    pub at: Millis,
    /// Name of its topic.
    pub topic: &'static str,
    /// One of [`NoticeTopic::what`].
    pub what: &'static str,
    pub data: EventData,
}

/// The newest notices of one daemon, in memory until it stops.
#[derive(Default)]
pub struct Notices {
    topics: RwLock<Vec<NoticeTopic>>,
    kept: Mutex<VecDeque<Arc<Notice>>>,
    newest: watch::Sender<Millis>,
}

impl Notices {
    /// Says what may be noticed.
    pub fn add(&self, topic: NoticeTopic) {
        self.topics.write().push(topic);
    }

    /// Everything that may be noticed, in the order in which it was added.
    pub fn topics(&self) -> Vec<NoticeTopic> {
        self.topics.read().clone()
    }

    /// Tells of something that is so from `now` on, by the store's clock.
    pub fn tell(&self, now: Millis, topic: &'static str, what: &'static str, data: EventData) {
        let mut kept = self.kept.lock();
        let newest = *self.newest.borrow();
        let at = Millis(now.0.max(newest.0 + 1));
        kept.push_back(Arc::new(Notice { at, topic, what, data }));
        let surplus = kept.len().saturating_sub(KEPT_MAX);
        kept.drain(..surplus);
        // Under the lock, so that they are heard in order.
        self.newest.send_replace(at);
    }

    /// Time of the newest notice; 0 where there is none.
    pub fn newest(&self) -> Millis {
        *self.newest.borrow()
    }

    /// The first notice behind `after`; waits for it.
    pub async fn next(&self, after: Millis) -> Arc<Notice> {
        let mut newest = self.newest.subscribe();
        loop {
            if let Some(next) = self.kept.lock().iter().find(|notice| notice.at > after) {
                return next.clone();
            }
            // The sender lives as long as these notices.
            let _ = newest.changed().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(notices: &Notices, at: u64) {
        notices.tell(Millis(at), "node", "degraded", EventData::default());
    }

    #[tokio::test]
    async fn two_at_once_stand_behind_each_other_and_only_the_newest_are_kept() {
        let notices = Notices::default();
        assert_eq!(notices.newest(), Millis(0));
        told(&notices, 6);
        told(&notices, 6);
        let first = notices.next(Millis(0)).await;
        let second = notices.next(first.at).await;
        assert_eq!((first.at, second.at, notices.newest()), (Millis(6), Millis(7), Millis(7)));
        (100..1000).for_each(|at| told(&notices, at));
        assert_eq!(notices.kept.lock().len(), KEPT_MAX);
        assert_eq!(notices.next(Millis(0)).await.at, Millis(1000 - KEPT_MAX as u64));
    }

    #[tokio::test]
    async fn a_reader_waits_for_the_next() {
        let notices = Arc::new(Notices::default());
        told(&notices, 1);
        let read = notices.clone();
        let waiting = tokio::spawn(async move { read.next(Millis(1)).await });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        told(&notices, 9);
        assert_eq!(waiting.await.unwrap().at, Millis(9));
    }
}
