//! `omnirelay events`: everything that happens in a mesh, in one stream.

mod line;
mod tail;

use omnirelay_wire::rpc::event_service;

use super::entry::verbs;
use super::frame::rpc::RpcMethod;
use super::schema::documents::message;

pub(crate) use line::what;
pub(crate) use tail::stream;

const WATCH: RpcMethod = event_service::WATCH;

verbs! {
    /// Watch everything that happens
    #[command(arg_required_else_help = true)]
    "events" EventsArgs {
        Tail: tail::EventsTailArgs,
    }
    &[message("event", "events tail", "omnirelay.mesh.control.v1.Event")]
}
