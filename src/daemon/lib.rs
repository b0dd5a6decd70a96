//! The control daemon: the process that starts nodes, and the composition of their capabilities.

pub mod compose;
#[cfg(test)]
mod metrics_test;
#[cfg(test)]
mod names_test;
#[cfg(test)]
mod node_test;
pub mod process;
#[cfg(test)]
mod reload_test;
