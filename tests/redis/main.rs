//! The Redis backend on real servers: what it does when they die, stall, move or refuse, and what
//! the daemons of a mesh do then.

use omnirelay_support::{process, servers};

mod daemons;
mod emptied;
mod emptied_under_load;
mod encrypted;
mod enrolment;
mod exchange;
mod faults;
mod fencing;
mod foreign;
mod guide;
mod host_door;
mod hostile_member;
mod linked;
mod membership;
mod mesh_port;
mod migrating;
mod narrow_users;
mod orders;
mod other_mesh;
mod outages;
mod planted_faults;
mod planted_settings;
mod published;
mod remote_doctor;
mod replicated;
mod replication;
mod revocation;
mod rights;
mod rolling_restart;
mod second_issuer;
mod shards;
mod signed_records;
mod skew;
mod snapshots;
mod standalone;
mod state_diff;
mod store_rights;
mod telemetry;
mod topologies;
mod unproven;
mod verdicts;
mod webhook;
mod witness;
