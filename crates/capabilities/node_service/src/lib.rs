//! The daemon itself: what it says of itself, and the faults that its process serves on demand.

pub mod dev;
mod mount;
mod mount_dev;
pub mod node;
mod reload;
#[cfg(test)]
mod reload_test;

pub use mount::mount;
pub use mount_dev::mount as mount_dev;
pub use reload::ReloadableConfig;
