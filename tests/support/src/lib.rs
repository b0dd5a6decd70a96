//! Support of tests: daemons as processes, servers that they talk to, and networks of a test's own.

pub mod link;
pub mod linked_clusters;
pub mod network;
pub mod process;
pub mod servers;
pub mod tables;
