//! Shards: the map of a namespace, who may own them, and what is to be done next with them.

pub mod alarms;
pub mod control;
pub mod eyes;
pub mod holders;
pub mod load;
pub mod map;
pub mod member;
pub mod planning;
pub mod spec;
pub mod worker_ids;
