//! What this daemon knows of groups before a beat tells of them.

use std::sync::Arc;

use super::{View, ViewRecord, read, write};
use crate::daemon::store::{Beat, Epoch, Group, GroupRef, RecordId, Revision};

impl View {
    /// One record, whether its group is over or not: until the store has deleted it, it is held.
    pub(in crate::daemon::registry) fn held(&self, id: &RecordId) -> Option<Arc<ViewRecord>> {
        read(&self.state).kinds.get(&id.kind)?.get(&id.key).cloned()
    }

    /// Has the heart beat at once.
    pub(in crate::daemon::registry) fn ask_beat(&self) {
        self.beats.notify_one();
    }

    /// Waits until a beat is asked for.
    pub(in crate::daemon::registry) async fn beat_asked(&self) {
        self.beats.notified().await;
    }

    /// Where the log ended, as the last beat has told.
    pub(in crate::daemon::registry) fn heard_of(&self) -> Revision {
        read(&self.state).heard_of
    }

    /// Notes a group that was opened in an epoch, before a beat tells of it.
    pub fn note_opened(&self, epoch: Epoch, group: &Group) {
        let mut state = write(&self.state);
        let known = state.groups.get(&group.of.id).map_or(0, |known| known.of.instance);
        if state.groups_epoch == epoch && known < group.of.instance {
            state.groups.insert(group.of.id.clone(), group.clone());
        }
    }

    /// Notes the answer to a pulse that renewed these groups, and asked for nothing else.
    pub(in crate::daemon::registry) fn note_renewed(&self, beat: &Beat, groups: &[GroupRef]) {
        let mut state = write(&self.state);
        if state.groups_epoch != beat.epoch {
            return;
        }
        for (of, deadline) in groups.iter().zip(&beat.renewed) {
            let known = state.groups.get_mut(&of.id).filter(|known| known.of.instance == of.instance);
            if let (Some(known), Some(deadline)) = (known, deadline) {
                known.deadline = known.deadline.max(*deadline);
                known.renewed_at = known.renewed_at.max(beat.now);
            }
        }
    }
}
