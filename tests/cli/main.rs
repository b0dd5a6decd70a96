//! The program `omnirelay` from outside: what it prints, where, and how it ends.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says so when it fails")]

use omnirelay_support::process;

mod aero;
mod alerts_prove;
mod authority;
mod catalogue;
mod clusters;
mod completion;
mod contexts;
mod dashboards;
mod drain;
mod exits;
mod finding;
mod flying;
mod guides;
mod handover;
mod leaders;
mod leadership;
mod live;
mod mesh;
mod page;
mod past;
mod pool;
mod program;
mod prompts;
mod relays;
mod resync;
mod retries;
mod scraped;
mod sharding;
mod shells;
mod stored;
mod streams;
mod stub;
mod terminal;
mod top;
mod transcripts;
mod watch;
