//! Capacity: the limits of the mesh and of this daemon, how much of them is used, and what is refused beyond them.

mod added_use;
mod calls;
#[cfg(test)]
mod capacity_test;
mod commits;
mod growth;
mod ledger;
mod metrics;
mod monitor;
mod mount;
#[cfg(test)]
mod reload_test;
mod room_sums;
mod service;
mod shown_use;
mod use_counts;

pub use growth::CountedRecords;
pub use mount::mount;
