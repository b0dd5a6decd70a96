//! Reader through which a decision reads the view.

use std::collections::BTreeMap;
use std::sync::Arc;

use omnirelay_store::{CommitError, Epoch, RecordId, Version};
use parking_lot::Mutex;

use super::CommitPlan;
use crate::view::{View, ViewRecord};

/// Reader of the view for a decision; each reading becomes a precondition of the commit.
///
/// A record is read once: whoever asks for it again gets the same, so that what was checked, what was
/// decided and what the commit demands are about one version, whatever the view has learned meanwhile.
pub struct DecisionReader<'a> {
    view: &'a View,
    /// That of the first reading or an earlier one: versions begin anew with an epoch.
    epoch: Epoch,
    readings: Mutex<Readings>,
    refusal: Option<CommitError>,
}

#[derive(Default)]
struct Readings {
    /// With the version that the commit expects.
    seen: BTreeMap<RecordId, (Option<Arc<ViewRecord>>, Version)>,
    /// Those that were not there, and that the commit insists on nothing of.
    missed: Vec<RecordId>,
}

impl<'a> DecisionReader<'a> {
    pub(crate) fn new(view: &'a View) -> Self {
        Self::after(view, None)
    }

    pub(super) fn after(view: &'a View, refusal: Option<CommitError>) -> Self {
        Self { view, epoch: view.head().epoch, readings: Mutex::default(), refusal }
    }

    /// A record as it was when it was first asked for; `None` if there was none.
    pub fn get(&self, id: &RecordId) -> Option<Arc<ViewRecord>> {
        let read = || {
            let record = self.view.get(id);
            let version = self.view.version_of(record.as_deref(), id);
            (record, version)
        };
        self.readings.lock().seen.entry(id.clone()).or_insert_with(read).0.clone()
    }

    /// Whether there is a record; the commit does not insist on it.
    pub fn knows(&self, id: &RecordId) -> bool {
        let known = self.view.get(id).is_some();
        if !known {
            self.readings.lock().missed.push(id.clone());
        }
        known
    }

    /// Refusal of the commit before this decision.
    pub fn refusal(&self) -> Option<&CommitError> {
        self.refusal.as_ref()
    }

    /// Epoch in which it reads.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Records that were not there when they were read, and are about to be there again.
    pub(crate) fn awaited(&self) -> Vec<RecordId> {
        let Readings { seen, missed } = &*self.readings.lock();
        let absent = seen.iter().filter(|(_, (record, _))| record.is_none()).map(|(id, _)| id);
        absent.chain(missed.iter()).filter(|id| self.view.awaits(id)).cloned().collect()
    }

    /// A plan that rests on all that was read.
    pub fn plan(self) -> CommitPlan {
        let Readings { seen, .. } = self.readings.into_inner();
        CommitPlan::read_in(self.epoch).expect(seen.into_iter().map(|(id, (_, version))| (id, version)))
    }
}
