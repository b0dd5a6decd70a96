//! Real daemons on real servers, and every fault of the store that `docs/guides/storage-faults.md`
//! tells of.

mod audit;
mod clocks;
mod demo;
mod failover;
mod full;
mod garbage;
pub(crate) mod load;
pub(crate) mod mesh;
mod outages;
mod restarts;
mod several;
mod switch;
mod vitals;
mod watcher;
