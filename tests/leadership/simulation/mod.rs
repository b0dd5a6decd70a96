//! Whole nodes, as they are, on one store that ails as a seed says.
//!
//! Everything runs in one thread whose time jumps from one deadline to the next, so minutes take moments
//! and a seed gives the same history again. A node is one future (see [`process`]): it can be stopped and
//! killed at any await. Nothing that a node runs reads a wall clock, so there is none to set wrong: time is
//! the store's and the runtime's.

mod facts;
mod found;
mod link;
mod node;
mod orders;
mod plan;
mod process;
mod run;
mod seeds;
mod server;
mod service;
