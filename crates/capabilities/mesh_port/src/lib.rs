//! The mesh port: nodes call each other there, and become members by gossip.

pub mod membership;
pub mod mesh_transport;
mod mount;
mod mount_gossip;
#[cfg(test)]
mod reload_test;

pub use mount::mount;
pub use mount_gossip::{MeshCalls, mount as mount_gossip};
