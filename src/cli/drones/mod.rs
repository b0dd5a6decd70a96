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

use super::agents;
use super::complete::CompletedKind;
use super::entry::verbs;
use super::frame::rpc::RpcMethod;
use super::schema::documents::own;
use super::schema::schemas;

/// The kind in `drone/ID`.
pub(crate) const KIND: &str = "drone";

pub(crate) const LIST: RpcMethod = relay_control::LIST_ACTIVE_DRONES;
pub(crate) const STATUS: RpcMethod = relay_control::GET_DRONE_STATUS;

/// What a shell completes. Drones are agents; the registry is nearer than all relays.
pub(crate) static OBJECTS: CompletedKind = CompletedKind { name: KIND, ..agents::OBJECTS };

verbs! {
    /// The sessions that relays hold, and what drones are told to fly
    #[command(alias = "drone", arg_required_else_help = true)]
    "drones" DronesArgs {
        List: list::DronesListArgs,
        Status: status::DronesStatusArgs,
        Watch: watch::DronesWatchArgs,
        SetContext: set_context::DronesSetContextArgs,
        ClearContext: clear_context::DronesClearContextArgs,
    }
    &[
        own("drone", "drones status", schemas::drone),
        own("drone-command", "drones set-context, clear-context", schemas::command),
        own("drone-event", "drones watch", schemas::drone_event),
        own("drones", "drones list", schemas::drones),
    ]
}
