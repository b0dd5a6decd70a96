//! The lives of groups, which renewals prolong beside the batches that go on.
//!
//! A pulse acts on the groups as they are now, under a short lock, and waits for no sync (decision 0026). A group that a
//! batch under way changes is held up: what becomes of the batch decides whether there is anything left to renew. A
//! renewal that did not wait could be promised to a life that has been replaced, beyond the barrier that keeps its
//! leases for it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use omnirelay_core::time::Millis;

use super::super::rules::{
    self, ChangeDurability, GroupState, GroupTable, GroupTableMut, Groups, State, Step,
};
use super::super::{GroupId, Pulse, PulseAnswer, StoreError};
use super::renewals::RenewalFile;
use super::written_state::Opening;

/// Lives of groups, and the state of the store, which a pulse reads and moves.
#[derive(Default)]
pub(super) struct GroupLives {
    /// What is committed, and whom the store has heard since.
    pub state: State,
    pub groups: Groups,
    /// The groups that the batch under way changes.
    held_up: BTreeSet<GroupId>,
    /// `None` while the store cannot be used.
    renewals: Option<RenewalFile>,
}

/// Renewals of one pulse, before it is known that it may make them.
struct PulseRenewals<'a> {
    groups: &'a Groups,
    renewed: Vec<(GroupId, GroupState)>,
    /// It changes what only a batch may.
    needs_batch: bool,
}

impl GroupLives {
    pub(super) fn new(state: State, groups: Groups, renewals: RenewalFile) -> Self {
        Self { state, groups, held_up: BTreeSet::new(), renewals: Some(renewals) }
    }

    /// Carries out a pulse at `now`, which was read after these were locked; `None`: it needs a batch.
    pub(super) fn pulse(&mut self, pulse: &Pulse, now: Millis) -> Option<Result<PulseAnswer, StoreError>> {
        let renewals = self.renewals.as_mut()?;
        // What the batch under way moves is to be told with the others.
        let asks_for_moves = pulse.moved_since < Millis(u64::MAX);
        let waits = asks_for_moves && !self.held_up.is_empty()
            || pulse.renew.iter().any(|of| self.held_up.contains(&of.id));
        if waits || !renewals.may_promise() {
            return None;
        }
        let mut state = self.state;
        let mut tables = PulseRenewals { groups: &self.groups, renewed: Vec::new(), needs_batch: false };
        let beat = Step { tables: &mut tables, state: &mut state, now }.pulse(pulse);
        let PulseRenewals { renewed, needs_batch, .. } = tables;
        if needs_batch {
            return None;
        }
        renewals.note(renewed.iter().map(|(id, group)| (id, group)));
        if !renewals.may_promise() {
            return None;
        }
        if !renewed.is_empty() {
            renewals.note_grace(state.heard.grace);
        }
        self.state = state;
        for (id, group) in renewed {
            self.groups.insert(id, group);
        }
        Some(beat)
    }

    /// Gives what lived at `before` time again, when store time goes on from `now`.
    pub(super) fn follow(&mut self, before: Millis, now: Millis) {
        let changed = rules::follow(&mut self.state, &mut self.groups, before, now);
        if let Some(renewals) = &mut self.renewals {
            renewals.note(changed.iter().filter_map(|id| Some((id, self.groups.get(id)?))));
        }
    }

    /// Has renewals of a group wait for the batch under way, which changes it.
    pub(super) fn hold_up(&mut self, id: &GroupId) {
        if !self.held_up.contains(id) {
            self.held_up.insert(id.clone());
        }
    }

    /// The batch under way has come to nothing.
    pub(super) fn release(&mut self) {
        self.held_up.clear();
    }

    /// Shows what a batch has changed: the state, and groups as they are after it.
    pub(super) fn show(&mut self, state: State, changed: BTreeMap<GroupId, Option<GroupState>>) {
        // Whoever was heard meanwhile was heard.
        let State { heard, grace, .. } = self.state;
        self.state = State { heard, grace, ..state };
        self.release();
        if let Some(renewals) = &mut self.renewals {
            renewals.note_grace(heard.grace);
            renewals.note(changed.iter().filter_map(|(id, group)| Some((id, group.as_ref()?))));
            let gone = changed.iter().filter(|(_, group)| group.is_none());
            gone.for_each(|(id, _)| renewals.forget(id));
        }
        for (id, group) in changed {
            match group {
                Some(group) => drop(self.groups.insert(id, group)),
                None => drop(self.groups.remove(&id)),
            }
        }
    }

    /// Whether somebody may be told of a renewal.
    pub(super) fn may_promise(&mut self) -> bool {
        self.renewals.as_mut().is_some_and(RenewalFile::may_promise)
    }

    /// Has everything wait until the store is open again.
    pub(super) fn shut(&mut self) {
        self.renewals = None;
    }

    /// Leaves the renewals so that the next start knows all of them, whatever happens to the machine until then.
    pub(super) fn leave(&mut self, opening: Opening) -> io::Result<()> {
        self.renewals.as_mut().map_or(Ok(()), |renewals| renewals.leave(opening))
    }
}

impl GroupTable for PulseRenewals<'_> {
    fn group(&self, id: &GroupId) -> Option<GroupState> {
        self.groups.get(id).cloned()
    }

    fn visit_groups(&self, visit: &mut dyn FnMut(&GroupId, &GroupState)) {
        let renewed: BTreeMap<_, _> = self.renewed.iter().map(|(id, group)| (id, group)).collect();
        for (id, group) in self.groups {
            visit(id, renewed.get(id).copied().unwrap_or(group));
        }
    }
}

impl GroupTableMut for PulseRenewals<'_> {
    fn put_group(
        &mut self,
        id: &GroupId,
        group: GroupState,
        keep: ChangeDurability,
    ) -> Result<(), StoreError> {
        self.needs_batch |= keep == ChangeDurability::Durably;
        self.renewed.push((id.clone(), group));
        Ok(())
    }
}
