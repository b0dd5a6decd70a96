//! The changes of readiness: when a daemon began to lack something it needs, and when it had it again.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use omnirelay_core::time::Millis;
use omnirelay_node::readiness::Readiness;
use omnirelay_wire::pb::omnirelay::mesh::control::v1::ReadinessItem;
use parking_lot::Mutex;
use tokio::sync::watch;

/// How often is looked: what lasts no longer is not told.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How many changes are kept, the newest ones.
const KEPT_MAX: usize = 256;

/// One need that was met before and is not any more, or the other way round.
#[derive(Clone, Debug)]
pub struct ReadinessChange {
    /// By the store's clock, and greater than that of the change before: it also says where a reader stands.
    pub at: Millis,
    pub item: ReadinessItem,
}

/// The newest changes of one daemon, in memory until it stops.
#[derive(Default)]
pub struct ReadinessChanges {
    kept: Mutex<ReadinessHistory>,
    newest: watch::Sender<Millis>,
}

/// History of changes of readiness, the oldest first.
#[derive(Default)]
struct ReadinessHistory {
    changes: VecDeque<Arc<ReadinessChange>>,
    /// The needs as they were at the last look; empty before the first.
    known: Vec<ReadinessItem>,
}

impl ReadinessChanges {
    /// Looks for ever, from the first answer of the store on: how it is then is no change.
    pub async fn follow(&self, readiness: &Readiness) {
        loop {
            let connectivity = readiness.registry.view().connectivity();
            if connectivity.has_answered() {
                self.note(connectivity.now(), readiness.items());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Takes the needs as they are now.
    fn note(&self, now: Millis, items: Vec<ReadinessItem>) {
        let mut kept = self.kept.lock();
        let mut newest = *self.newest.borrow();
        for item in &items {
            let before = kept.known.iter().find(|known| known.name == item.name);
            if before.is_none_or(|before| before.ok == item.ok) {
                continue;
            }
            newest = Millis(now.0.max(newest.0 + 1));
            kept.changes.push_back(Arc::new(ReadinessChange { at: newest, item: item.clone() }));
        }
        kept.known = items;
        let surplus = kept.changes.len().saturating_sub(KEPT_MAX);
        kept.changes.drain(..surplus);
        drop(kept);
        self.newest.send_if_modified(|told| std::mem::replace(told, newest) != newest);
    }

    /// Time of the newest change; 0 where there is none.
    pub fn newest(&self) -> Millis {
        *self.newest.borrow()
    }

    /// The first change behind `after`; waits for it.
    pub async fn next(&self, after: Millis) -> Arc<ReadinessChange> {
        let mut newest = self.newest.subscribe();
        loop {
            if let Some(next) = self.kept.lock().changes.iter().find(|change| change.at > after) {
                return next.clone();
            }
            // The sender lives as long as these changes.
            let _ = newest.changed().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use omnirelay_node::readiness::item;

    fn needs(store: bool) -> Vec<ReadinessItem> {
        vec![item("store", false, (!store).then(|| "silent".to_owned())), item("view", true, None)]
    }

    #[tokio::test]
    async fn what_was_so_at_the_first_look_is_no_change_and_two_at_once_stand_behind_each_other() {
        let changes = ReadinessChanges::default();
        changes.note(Millis(5), needs(false));
        assert_eq!(changes.newest(), Millis(0));
        changes.note(Millis(6), needs(true));
        changes.note(Millis(6), needs(true));
        changes.note(Millis(6), needs(false));
        let first = changes.next(Millis(0)).await;
        let second = changes.next(first.at).await;
        assert_eq!((first.at, first.item.ok, second.at, second.item.ok), (Millis(6), true, Millis(7), false));
        assert_eq!((changes.newest(), second.item.message.as_str()), (Millis(7), "silent"));
    }

    #[tokio::test]
    async fn only_the_newest_are_kept() {
        let changes = ReadinessChanges::default();
        for look in 0..1000 {
            changes.note(Millis(look), needs(look % 2 == 0));
        }
        assert_eq!(changes.kept.lock().changes.len(), KEPT_MAX);
        assert_eq!(changes.next(Millis(0)).await.at, Millis(1000 - KEPT_MAX as u64));
    }

    #[tokio::test]
    async fn a_reader_waits_for_the_next() {
        let changes = Arc::new(ReadinessChanges::default());
        changes.note(Millis(1), needs(true));
        let told = changes.clone();
        let waiting = tokio::spawn(async move { told.next(Millis(1)).await });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        changes.note(Millis(9), needs(false));
        assert_eq!(waiting.await.unwrap().at, Millis(9));
    }
}
