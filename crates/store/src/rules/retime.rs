//! Retiming of deadlines when store time jumps: forward with the wall clock, or back by an operator's word.

use std::time::Duration;

use omnirelay_core::time::{Millis, whole_ms};

use super::super::{Epoch, GroupId, StoreError};
use super::{ChangeDurability, GroupState, Groups, LastRenewal, State, Step, TablesMut};

/// The longest that nobody is granted a scope after time was brought back.
const QUARANTINE_MAX: Duration = Duration::from_secs(600);

/// Gives everything that lived at `before` time again, when store time goes on from `now`: whoever slept with the machine
/// could renew nothing. What a replaced life may still trust, and a quarantine, last as long as was left of them. Answers the
/// groups that have changed.
pub(crate) fn follow(state: &mut State, groups: &mut Groups, before: Millis, now: Millis) -> Vec<GroupId> {
    let by = now.since(before);
    if before < state.quarantine_until {
        state.quarantine_until = state.quarantine_until.after(by);
    }
    let mut changed = Vec::new();
    for (id, group) in groups {
        let lives = group.is_live(before);
        if lives {
            group.deadline = group.deadline.max(now.after(group.ttl));
        }
        let waits = group.replaced.any(before);
        group.replaced.shift(before, |until| until.after(by));
        if lives || waits {
            changed.push(id.clone());
        }
    }
    changed
}

impl<T: TablesMut> Step<'_, T> {
    /// Begins a new epoch in which it is `to`, which is earlier: all deadlines go back by as much, so that what is left of
    /// each stays. Terms, tokens, versions and revisions go on; a token of a scope whose lease was forgotten is above all that
    /// were given of it, since those were not above store time.
    pub(crate) fn turn_back(&mut self, to: Millis) -> Result<Epoch, StoreError> {
        let by = self.now.since(to);
        let back = |at: Millis| Millis(at.0.saturating_sub(whole_ms(by)));
        let mut groups: Vec<(GroupId, GroupState)> = Vec::new();
        self.tables.visit_groups(&mut |id, group| groups.push((id.clone(), group.clone())));
        // One that was to live for longer a moment ago is promised what is left of that.
        let promised = |group: &GroupState| group.ttl.max(group.deadline.since(self.now));
        let longest = groups.iter().map(|(_, group)| promised(group)).max();
        let longest = longest.unwrap_or_default().min(QUARANTINE_MAX);
        for (id, mut group) in groups {
            group.replaced.shift(Millis(0), back);
            (group.deadline, group.renewed_at) = (back(group.deadline), back(group.renewed_at));
            self.tables.put_group(&id, group, ChangeDurability::Durably)?;
        }
        self.tables.note_state()?;
        let LastRenewal { at, grace } = self.state.heard;
        self.state.heard = LastRenewal { at: back(at), grace };
        self.state.grace = None;
        self.state.epoch = Epoch(self.state.epoch.0.saturating_add(1).max(to.0));
        self.state.quarantine_until = to.after(longest);
        self.state.token_floor = self.state.token_floor.max(self.now.0);
        self.now = to;
        Ok(self.state.epoch)
    }
}
