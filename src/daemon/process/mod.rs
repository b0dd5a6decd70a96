//! The process: its arguments, its signals and its limits, and the nodes that it starts, one or a whole mesh.

pub mod args;
pub mod fleet;
pub mod limits;
mod live_settings;
mod other_mesh;
pub mod run;
pub mod service;
pub mod signals;
mod store_choice;
pub mod store_tool;
pub mod up;

#[cfg(test)]
mod reload_test;
