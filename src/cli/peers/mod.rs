//! `omnirelay mesh peers`: the nodes of a mesh.

mod change;
mod columns;
mod cordon;
mod drain;
mod forget;
pub mod get;
mod label;
mod list;
mod resolve;
mod status;
mod uncordon;
mod undrain;
mod watch;

use super::verbs::verbs;

pub use list::LIST;

/// The kind in `peer/ID`.
pub const KIND: &str = "peer";

verbs! {
    PeersArgs {
        List: list::ListArgs,
        Get: get::GetArgs,
        Status: status::StatusArgs,
        Watch: watch::WatchVerbArgs,
        Cordon: cordon::CordonArgs,
        Uncordon: uncordon::UncordonArgs,
        Drain: drain::DrainArgs,
        Undrain: undrain::UndrainArgs,
        Label: label::LabelArgs,
        Forget: forget::ForgetArgs,
    }
}
