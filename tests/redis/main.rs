//! The Redis backend on real servers: what it does when they die, stall, move or refuse, and what
//! the daemons of a mesh do then.

#[path = "../servers/mod.rs"]
mod servers;

#[allow(dead_code, reason = "each test binary uses its own part")]
#[path = "../mesh/process.rs"]
mod process;

mod daemons;
mod encrypted;
mod faults;
mod linked;
mod outages;
mod standalone;
mod topologies;
