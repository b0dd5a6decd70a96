//! The Redis backend on real servers: what it does when they die, stall, move or refuse.

#[path = "../servers/mod.rs"]
mod servers;

mod encrypted;
mod faults;
mod linked;
mod standalone;
mod topologies;
