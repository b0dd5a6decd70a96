//! The changes of readiness: when a daemon began to lack something it needs, and when it had it again.

use std::sync::Arc;
use std::time::Duration;

use omnirelay_core::time::Millis;
use omnirelay_node::readiness::Readiness;
use omnirelay_nouns::notice::{NoticeTopic, Notices};
use omnirelay_wire::pb::omnirelay::mesh::control::v1::{EventData, ReadinessItem};
use parking_lot::Mutex;

/// How often is looked: what lasts no longer is not told.
const LOOK_EVERY: Duration = Duration::from_millis(500);

const NEEDS: &[&str] = &["degraded", "recovered"];
/// The topic of needs that are about the store, and that of the others.
const STORE: NoticeTopic = NoticeTopic { name: "store", what: NEEDS };
const NODE: NoticeTopic = NoticeTopic { name: "node", what: NEEDS };
/// The needs that are about the store.
const OF_STORE: &[&str] = &["store", "store-room", "store-settings", "store-sentinels", "history"];

/// Follower of the readiness of one daemon: it tells each change.
pub struct ReadinessChanges {
    notices: Arc<Notices>,
    /// The needs as they were at the last look; empty before the first.
    known: Mutex<Vec<ReadinessItem>>,
}

impl ReadinessChanges {
    /// Tells changes among these notices.
    pub fn told_in(notices: Arc<Notices>) -> Self {
        notices.add(STORE);
        notices.add(NODE);
        Self { notices, known: Mutex::default() }
    }

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
        let before = std::mem::replace(&mut *self.known.lock(), items.clone());
        for item in items {
            if before.iter().any(|known| known.name == item.name && known.ok != item.ok) {
                let topic = if OF_STORE.contains(&item.name.as_str()) { STORE } else { NODE };
                let what = if item.ok { "recovered" } else { "degraded" };
                let data = EventData { readiness: Some(item), ..EventData::default() };
                self.notices.tell(now, topic.name, what, data);
            }
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
    async fn what_was_so_at_the_first_look_is_no_change() {
        let changes = ReadinessChanges::told_in(Arc::default());
        changes.note(Millis(5), needs(false));
        assert_eq!(changes.notices.newest(), Millis(0));
        changes.note(Millis(6), needs(true));
        changes.note(Millis(6), needs(true));
        changes.note(Millis(6), needs(false));
        let first = changes.notices.next(Millis(0)).await;
        let second = changes.notices.next(first.at).await;
        assert_eq!((first.topic, first.what, second.what), ("store", "recovered", "degraded"));
        assert_eq!((first.at, second.at), (Millis(6), Millis(7)));
        assert_eq!(second.data.readiness.as_ref().map(|item| item.message.as_str()), Some("silent"));
    }
}
