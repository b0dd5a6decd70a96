//! Defects that show after a restart: each is of one state.

use omnirelay_store::{Lease, LogEntry, LogPage, PulseAnswer, Record, ScanPage, Version};

use super::{Defect, Restart, altering};

fn then(has: fn() -> Defect) -> Defect {
    Defect { restart: Restart::Has(has), ..Defect::default() }
}

pub(crate) fn loses_records_at_restart() -> Defect {
    then(|| Defect {
        page: altering(|page: &mut ScanPage| page.records.retain(|record| record.deleted)),
        ..Defect::default()
    })
}

pub(crate) fn forgets_writers_at_restart() -> Defect {
    then(super::forgets_writers)
}

pub(crate) fn loses_the_log_at_restart() -> Defect {
    then(|| Defect { log_page: altering(|page: &mut LogPage| page.entries.clear()), ..Defect::default() })
}

pub(crate) fn loses_leases_at_restart() -> Defect {
    then(|| Defect { leases: altering(|leases: &mut Vec<Lease>| leases.clear()), ..Defect::default() })
}

pub(crate) fn begins_an_epoch_at_restart() -> Defect {
    then(|| Defect { beat: altering(|beat: &mut PulseAnswer| beat.epoch.0 += 1), ..Defect::default() })
}

pub(crate) fn forgets_the_head_at_restart() -> Defect {
    then(super::breaks_the_chain)
}

pub(crate) fn forgets_versions_at_restart() -> Defect {
    then(|| Defect {
        record: altering(|record: &mut Record| record.version = Version(1)),
        ..Defect::default()
    })
}

pub(crate) fn forgets_version_floors_at_restart() -> Defect {
    then(|| Defect {
        entry: altering(|entry: &mut LogEntry| {
            for change in entry.changes.iter_mut().filter(|change| change.before.is_none()) {
                change.after.version = Version(1);
            }
        }),
        ..Defect::default()
    })
}

pub(crate) fn forgets_trimming_at_restart() -> Defect {
    then(super::serves_gaps_silently)
}

pub(crate) fn forgets_tokens_at_restart() -> Defect {
    then(super::counts_tokens_from_one)
}

pub(crate) fn forgets_instances_at_restart() -> Defect {
    then(super::repeats_instances)
}

pub(crate) fn forgets_answers_at_restart() -> Defect {
    then(super::applies_replays_twice)
}

pub(crate) fn renews_groups_at_restart() -> Defect {
    then(|| Defect {
        beat: altering(|beat: &mut PulseAnswer| {
            let now = beat.now;
            beat.moved.iter_mut().for_each(|group| group.deadline = now.after(group.ttl));
        }),
        ..Defect::default()
    })
}

pub(crate) fn revives_groups_at_restart() -> Defect {
    Defect { restart: Restart::RevivesGroups, beat: altering(revived), ..Defect::default() }
}

/// Shows the present life of a group for whichever was asked for.
fn revived(beat: &mut PulseAnswer) {
    let live = beat.moved.iter().find(|group| group.deadline > beat.now).map(|group| group.deadline);
    beat.renewed.iter_mut().for_each(|renewed| *renewed = renewed.or(live));
}

pub(crate) fn believes_the_wall_clock() -> Defect {
    Defect { restart: Restart::BelievesTheWallClock, ..Defect::default() }
}
