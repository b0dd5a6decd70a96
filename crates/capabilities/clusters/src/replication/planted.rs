//! Faults that tests plant, to see that a judge tells them. No daemon has any.

#[cfg(test)]
use std::cell::Cell;

/// Fault of replication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PlantedFault {
    /// A batch is acknowledged before it is written.
    AcknowledgesFirst,
    /// Batches are heard and not written, and beats that tell it are not listened to.
    AppliesNothing,
    /// A commit of the follower holds whoever leads.
    IgnoresFence,
    /// Where the log does not reach back, it is read on from the newest commit.
    JumpsOverCut,
    /// A comparison leaves alone what is in no view.
    LeavesHistories,
    /// A comparison deletes and replaces whatever it is.
    NeverBrakes,
    /// A comparison deletes nothing.
    NeverDeletes,
    /// What cannot be written is not set aside.
    PassesUnwritten,
    /// Batches are heard and not written, and beats tell nothing but that the source lives.
    StandsStill,
    /// A cursor of another epoch is taken for one of this epoch.
    TakesAnyEpoch,
}

#[cfg(test)]
thread_local! {
    static PLANTED: Cell<Option<PlantedFault>> = const { Cell::new(None) };
}

/// Plants a fault for this thread, or none.
#[cfg(test)]
pub(crate) fn plant(fault: Option<PlantedFault>) {
    PLANTED.set(fault);
}

/// Whether a fault is planted.
#[cfg(test)]
pub(crate) fn is_planted(fault: PlantedFault) -> bool {
    PLANTED.get() == Some(fault)
}

/// Whether a fault is planted.
#[cfg(not(test))]
pub(crate) const fn is_planted(_: PlantedFault) -> bool {
    false
}

/// Whether a fault is planted by which beats that tell a difference are not listened to.
pub(crate) fn is_deaf() -> bool {
    [PlantedFault::AppliesNothing, PlantedFault::JumpsOverCut, PlantedFault::StandsStill]
        .into_iter()
        .any(is_planted)
}
