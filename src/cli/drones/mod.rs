//! `omnirelay drones`: the sessions that relays hold in their memory.

mod clear_context;
mod columns;
mod command;
mod find;
mod fleet;
mod list;
mod set_context;
mod status;
mod watch;

use omnirelay_wire::rpc::relay_control;

use super::rpc::Rpc;
use super::verbs::verbs;

/// The kind in `drone/ID`.
pub const KIND: &str = "drone";

pub const LIST: Rpc = relay_control::LIST_ACTIVE_DRONES;
pub const STATUS: Rpc = relay_control::GET_DRONE_STATUS;

verbs! {
    DronesArgs {
        List: list::ListArgs,
        Status: status::StatusArgs,
        Watch: watch::WatchVerbArgs,
        SetContext: set_context::SetContextArgs,
        ClearContext: clear_context::ClearContextArgs,
    }
}
