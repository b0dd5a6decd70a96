//! Registers: the catalogue of a node, its pool of advertisements, what pushes the one to the other, and what fetches those of other
//! meshes.

pub mod advertisement_fetch;
pub mod advertisements;
pub mod catalogue;
pub mod fetch_metrics;
pub mod metrics;
mod mount;
mod mount_fetch;
pub mod resync;

pub use mount::{KINDS, mount};
pub use mount_fetch::mount as mount_fetch;
