//! Records lost whole by a new epoch and about to be written again: until they are, the view is not the registry.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use omnirelay_host::live::Live;
use omnirelay_store::{RecordId, RecordKind};
use tokio::time::Instant;

use super::{OrderedRecords, RegistryHead, State, View, ViewRecord, read};
use crate::epoch_loss::{EpochChange, LostEpochRecord, ViewReach};

/// How long a lost record is awaited at least: nodes enter themselves within a second. Too low: a list that lacks
/// something says that it is whole. Too high: what nobody restores is called about to come.
const AWAITED_FOR_MIN: Duration = Duration::from_secs(10);

/// The records that were there in the epoch before, and of which no change was seen in this one.
pub(super) struct UnseenPriorRecords {
    /// As they were.
    ids: BTreeMap<RecordId, Arc<ViewRecord>>,
    since: Option<Instant>,
    /// How long the node that a lost record names has for it before others do it.
    own_turn: Live<Duration>,
}

impl Default for UnseenPriorRecords {
    fn default() -> Self {
        Self { ids: BTreeMap::new(), since: None, own_turn: Live::fixed(Duration::ZERO) }
    }
}

impl UnseenPriorRecords {
    /// Notes that somebody has written or deleted a record in this epoch.
    pub(super) fn forget(&mut self, id: &RecordId) {
        if self.ids.is_empty() {
            return;
        }
        self.ids.remove(id);
        // Nobody restores what is left.
        if !self.lasts() {
            self.ids.clear();
        }
    }

    /// Others than its owner restore a lost record after `own_turn`, and have as long for it.
    pub(super) fn set_own_turn(&mut self, own_turn: Live<Duration>) {
        self.own_turn = own_turn;
    }

    fn note(&mut self, change: &EpochChange) {
        if !self.lasts() {
            self.ids.clear();
        }
        let gone = change.lost.iter().filter(|lost| lost.found.is_none());
        self.ids.extend(gone.map(|lost| (lost.held.record.id.clone(), lost.held.clone())));
        self.since = Some(Instant::now());
    }

    fn lasts(&self) -> bool {
        let lasts_for = || AWAITED_FOR_MIN.max(self.own_turn.get() * 2);
        self.since.is_some_and(|since| since.elapsed() < lasts_for())
    }
}

impl State {
    /// Compares the present records to the `old` ones of another epoch: tells what they lack, and awaits what is gone.
    pub(super) fn lose(
        &mut self,
        before: RegistryHead,
        old: &BTreeMap<RecordKind, OrderedRecords>,
    ) -> EpochChange {
        let reach = ViewReach { revision: before.revision, at: self.heard_at };
        let of_store =
            old.values().flat_map(OrderedRecords::iter).filter(|held| !self.stays(&held.record.id));
        let lost = of_store.filter_map(|held| {
            let copy = self.copy_of(&held.record.id);
            LostEpochRecord::of(held, copy.map(|copy| &copy.record), reach)
        });
        let (after, reached) = (self.head.epoch, before.revision);
        let change = EpochChange { before: before.epoch, after, reached, lost: lost.collect() };
        self.awaited.note(&change);
        change
    }

    /// A record of the view, whatever has become of its group.
    pub(super) fn copy_of(&self, id: &RecordId) -> Option<&Arc<ViewRecord>> {
        self.kinds.get(&id.kind)?.get(&id.key)
    }
}

impl View {
    /// Whether what is not shown is not there: everything is loaded, and nothing is about to be restored.
    pub fn is_whole(&self) -> bool {
        self.head().caught_up && !self.is_restoring()
    }

    /// Whether something that a new epoch has lost is about to be there again: what is shown lacks it.
    pub fn is_restoring(&self) -> bool {
        let state = read(&self.state);
        // A load may have shown them without a change.
        state.awaited.lasts() && state.awaited.ids.keys().any(|id| state.copy_of(id).is_none())
    }

    /// Whether this record is about to be there again.
    pub fn awaits(&self, id: &RecordId) -> bool {
        self.awaited(id).is_some()
    }

    /// A record that is about to be there again, as it was.
    pub fn awaited(&self, id: &RecordId) -> Option<Arc<ViewRecord>> {
        let state = read(&self.state);
        let lost = state.awaited.ids.get(id).filter(|_| state.awaited.lasts())?;
        state.copy_of(id).is_none().then(|| lost.clone())
    }
}

#[cfg(test)]
mod tests {
    use omnirelay_host::live::LiveSource;
    use tokio::time::sleep;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_lost_is_awaited_until_others_have_had_their_turn() {
        for (own_turn, lasts_for) in [(2, 10), (20, 40)] {
            let mut awaited = UnseenPriorRecords::default();
            awaited.set_own_turn(Live::fixed(Duration::from_secs(own_turn)));
            awaited.since = Some(Instant::now());
            sleep(Duration::from_secs(lasts_for) - Duration::from_millis(1)).await;
            assert!(awaited.lasts(), "{own_turn} s");
            sleep(Duration::from_millis(1)).await;
            assert!(!awaited.lasts(), "{own_turn} s");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn others_have_the_turn_that_is_set_by_then() {
        let own_turn = LiveSource::new(Duration::from_secs(60));
        let mut awaited = UnseenPriorRecords::default();
        awaited.set_own_turn(own_turn.live(|own_turn| *own_turn));
        awaited.since = Some(Instant::now());
        sleep(Duration::from_secs(30)).await;
        assert!(awaited.lasts());
        own_turn.replace(Duration::from_secs(10));
        assert!(!awaited.lasts());
    }
}
