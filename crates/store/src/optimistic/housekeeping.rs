//! Housekeeping by parts, each a step of its own: what others change meanwhile is in the way of one of them at most.

use super::OptimisticStore;
use super::medium::ConditionalStore;
use crate::rules::{HousekeepingPart, STEP_ROWS_MAX};
use crate::{Epoch, GroupId, HousekeepingOutcome, Retention, StoreError};

impl<M: ConditionalStore> OptimisticStore<M> {
    /// Makes all parts. Those that need groups look for them in a step that writes nothing, as renewals change groups all the
    /// time; the step that writes judges those anew that were found, and rests on no other.
    ///
    /// # Errors
    /// Those of the first part that fails; the parts before it have been made.
    pub(super) async fn housekeep_by_parts(
        &self,
        epoch: Epoch,
        keep: &Retention,
    ) -> Result<HousekeepingOutcome, StoreError> {
        let mut done = HousekeepingOutcome::default();
        let unswept = self.run(|step| step.groups_to_sweep(epoch)).await?;
        let unswept = one_step_of(unswept, &mut done);
        if !unswept.is_empty() {
            done.add(self.housekeep_part(epoch, HousekeepingPart::Records(&unswept), keep).await?);
        }
        let of_tables = [
            HousekeepingPart::CutLog,
            HousekeepingPart::Log,
            HousekeepingPart::Tombstones,
            HousekeepingPart::Answers,
        ];
        for part in of_tables {
            done.add(self.housekeep_part(epoch, part, keep).await?);
        }
        let old = self.run(|step| step.groups_to_collect(epoch, keep)).await?;
        let old = one_step_of(old, &mut done);
        if !old.is_empty() {
            done.add(self.housekeep_part(epoch, HousekeepingPart::Groups(&old), keep).await?);
        }
        Ok(done)
    }

    async fn housekeep_part(
        &self,
        epoch: Epoch,
        part: HousekeepingPart<'_>,
        keep: &Retention,
    ) -> Result<HousekeepingOutcome, StoreError> {
        self.run(|step| step.housekeep_part(epoch, part, keep)).await
    }
}

/// As many of the groups as one step takes.
fn one_step_of(mut groups: Vec<GroupId>, done: &mut HousekeepingOutcome) -> Vec<GroupId> {
    done.more |= groups.len() > STEP_ROWS_MAX;
    groups.truncate(STEP_ROWS_MAX);
    groups
}
