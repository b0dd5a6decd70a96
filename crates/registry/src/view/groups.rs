//! Groups as this daemon knows them before a beat tells of them.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use omnirelay_core::time::Millis;
use omnirelay_store::{
    Epoch, Group, GroupId, GroupRef, PulseAnswer, RecordId, RecordKind, RenewalGrace, Revision,
};

use super::{OrderedRecords, State, View, ViewRecord, read, write};

impl View {
    /// One record, whether its group is over or not: until the store has deleted it, it is held.
    pub(crate) fn held(&self, id: &RecordId) -> Option<Arc<ViewRecord>> {
        read(&self.state).kinds.get(&id.kind)?.get(&id.key).cloned()
    }

    /// Number of records of a kind that are held, those among them that are over and not deleted yet.
    pub fn held_count(&self, kind: &RecordKind) -> usize {
        read(&self.state).kinds.get(kind).map_or(0, OrderedRecords::len)
    }

    /// Whether the record is held, over or not.
    pub fn holds(&self, id: &RecordId) -> bool {
        self.held(id).is_some()
    }

    /// A group that was not closed, and whose deadline has not passed as of now.
    pub fn live_group(&self, id: &GroupId) -> Option<Group> {
        self.group(id).filter(|group| !group.closed && self.now() < group.deadline)
    }

    /// End of the records of this life of a group, unless somebody speaks for it. `None`: nobody knows, for the store
    /// does not answer, or has not told of it yet.
    pub fn ends_at(&self, of: &GroupRef) -> Option<Millis> {
        let known = self.silence().is_none();
        known.then(|| read(&self.state).ends_at(of, self.connectivity.judged_now())).flatten()
    }

    /// Number of times that it was not known whether something is over.
    pub(crate) fn doubts(&self) -> u64 {
        read(&self.state).doubts.load(Ordering::Relaxed)
    }

    /// Has the heart beat at once.
    pub(crate) fn ask_beat(&self) {
        read(&self.state).beats.notify_one();
    }

    /// Waits until a beat is asked for.
    pub(crate) async fn beat_asked(&self) {
        let beats = read(&self.state).beats.clone();
        beats.notified().await;
    }

    /// Revision at which the log ended, as the last beat has told.
    pub fn heard_of(&self) -> Revision {
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
    pub(crate) fn note_renewed(&self, beat: &PulseAnswer, groups: &[GroupRef]) {
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

impl State {
    /// The deadline, or the end of the grace that spares what was over by it.
    pub(super) fn ends_at(&self, of: &GroupRef, now: Millis) -> Option<Millis> {
        let life = self.groups.get(&of.id).filter(|group| group.of.instance == of.instance)?;
        let spares = |grace: &RenewalGrace| !life.closed && now < grace.until && grace.from < life.deadline;
        let spared_until = self.grace.filter(spares).map_or(life.deadline, |grace| grace.until);
        Some(life.deadline.max(spared_until))
    }

    /// Whether the records of this life of a group are there. Past its deadline they are until a beat was taken at
    /// that instant or later: somebody may have spoken for it at another daemon since the last one.
    pub(super) fn has_records(&self, of: &GroupRef, now: Millis) -> bool {
        if self.lives(of, now) {
            return true;
        }
        let this_life = self.groups.get(&of.id).filter(|group| group.of.instance == of.instance);
        let unheard = this_life.is_some_and(|group| !group.closed && self.heard_at < group.deadline);
        if unheard {
            self.doubts.fetch_add(1, Ordering::Relaxed);
            self.beats.notify_one();
        }
        unheard
    }
}
