//! Leadership by real daemons on real servers, under every fault that they are to survive: what was
//! recorded of a run is judged by the checker.
//!
//! Whoever leads is taken at his word by a [`service::Service`]: it stands for the code that leads
//! because its daemon says so, and writes at two gates. `OMNIRELAY_LEADERSHIP_ROUNDS` says how often each
//! fault is repeated.

mod gates;
mod run;
mod service;
mod watcher;
mod zombie;

mod churn;
mod clocks;
mod crashes;
mod deposed;
mod disk;
mod embedded;
mod epochs;
mod many;
mod outages;
mod skew;
mod split;
