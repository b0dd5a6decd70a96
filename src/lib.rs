//! OmniRelay: the discovery and peering plane of a service mesh.
//!
//! `ARCHITECTURE.md` is the page to read first.

pub mod cli;
pub mod core;
pub mod daemon;
