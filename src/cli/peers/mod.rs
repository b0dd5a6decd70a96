//! `omnirelay mesh peers`: the nodes of a mesh.

mod change;
pub(crate) mod columns;
mod cordon;
pub(crate) mod drain;
mod explain;
mod force_leave;
mod forget;
pub(crate) mod get;
mod label;
mod lease_health;
mod list;
mod ping;
mod resolve;
mod round_trips;
mod status;
mod uncordon;
mod undrain;
mod watch;

use super::complete::{CompletedKind, KnownObject};
use super::entry::verbs;
use super::schema::documents::message;
use crate::frame::prelude::*;

pub(crate) use columns::summary;
pub(crate) use explain::why;
pub(crate) use list::LIST;

/// The kind in `peer/ID`.
pub(crate) const KIND: &str = "peer";

/// What a shell completes.
pub(crate) static OBJECTS: CompletedKind = CompletedKind {
    name: KIND,
    list: "peers",
    rpc: &LIST,
    paged: true,
    of_node: false,
    known,
    signs: b"-._",
};

fn known(peer: &Value) -> KnownObject {
    let status = match (text(peer, "status"), flag(peer, "cordoned")) {
        (status, true) => format!("{status}, cordoned"),
        (status, false) => status.to_owned(),
    };
    KnownObject { id: text(peer, "nodeId").to_owned(), status }
}

verbs! {
    /// The nodes of the mesh
    #[command(visible_alias = "p", alias = "peer", arg_required_else_help = true)]
    "peers" PeersArgs {
        List: list::PeersListArgs,
        Get: get::PeersGetArgs,
        Status: status::PeersStatusArgs,
        Watch: watch::PeersWatchArgs,
        Ping: ping::PeersPingArgs,
        Explain: explain::PeersExplainArgs,
        RoundTrips: round_trips::PeersRoundTripsArgs,
        LeaseHealth: lease_health::PeersLeaseHealthArgs,
        Cordon: cordon::PeersCordonArgs,
        Uncordon: uncordon::PeersUncordonArgs,
        Drain: drain::PeersDrainArgs,
        Undrain: undrain::PeersUndrainArgs,
        Label: label::PeersLabelArgs,
        ForceLeave: force_leave::PeersForceLeaveArgs,
        Forget: forget::PeersForgetArgs,
    }
    &[
        message("lease-health", "mesh peers lease-health", "omnirelay.mesh.control.v1.GetLeaseHealthResponse"),
        message("membership", "mesh peers explain (member): what a node says of itself by gossip", "omnirelay.mesh.membership.v1.MemberRecord"),
        message("peer", "mesh peers get, status", "omnirelay.mesh.control.v1.GetPeerResponse"),
        message("peer-change", "mesh peers cordon, uncordon, drain, undrain, label, force-leave, forget", "omnirelay.mesh.control.v1.PeerChange"),
        message("peer-event", "mesh peers watch, list --watch", "omnirelay.mesh.control.v1.PeerEvent"),
        message("peer-explanation", "mesh peers explain", "omnirelay.mesh.control.v1.ExplainPeerResponse"),
        message("peer-ping", "mesh peers ping", "omnirelay.mesh.control.v1.PingPeerResponse"),
        message("round-trips", "mesh peers round-trips", "omnirelay.mesh.control.v1.RoundTripsResponse"),
        message("peers", "mesh peers list", "omnirelay.mesh.control.v1.ListPeersResponse"),
    ]
}
