//! `mesh peers lease-health`.

use omnirelay_wire::rpc::peer_control_service;

use super::KIND;
use crate::frame::list;
use crate::frame::prelude::*;

const LEASE_HEALTH: RpcMethod = peer_control_service::GET_LEASE_HEALTH;
pub(super) const LEAF: LeafCommand =
    LeafCommand::read("mesh peers lease-health", &[&LEASE_HEALTH]).listing(&COLUMNS, &[]);

const EXAMPLES: &str = "\
Examples:
  omnirelay mesh peers lease-health
  omnirelay mesh peers lease-health -o wide
  omnirelay mesh peers lease-health -o json | jq .summary";

/// Show to which peers work may be given, and what they lead
///
/// As services read it that place work. Who a peer is, and how it is, is told by mesh peers list.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct PeersLeaseHealthArgs {
    #[command(flatten)]
    table: TableArgs,
}

static COLUMNS: &[Column] = &[
    Column::new("id", |peer, _| text(peer, "peerId").to_owned()).keep(),
    Column::new("healthy", |peer, _| if flag(peer, "isHealthy") { "yes" } else { "no" }.to_owned()).keep(),
    Column::new("leads", |peer, _| number(peer, "activeAssignments").to_string())
        .number(|peer| number(peer, "activeAssignments") as f64),
    Column::new("leaving", |peer, _| number(peer, "pendingReassignments").to_string())
        .number(|peer| number(peer, "pendingReassignments") as f64),
    Column::new("heard", |peer, moment| time::ago(field(peer, "lastHeartbeat"), moment))
        .ranked(|peer| -(time::millis(field(peer, "lastHeartbeat")).unwrap_or(0) as f64)),
    Column::new("lost", |peer, moment| time::ago(field(peer, "lastDisconnect"), moment)),
    Column::new("leases", |peer, _| leases(peer)).wide(),
];

fn leases(peer: &Value) -> String {
    joined(peer, "activeLeases")
}

pub(super) async fn run(args: &PeersLeaseHealthArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    args.table.check_order(COLUMNS)?;
    let document = list::whole(session, &LEASE_HEALTH, "peers", json!({})).await?;
    let list = ListSpec {
        field: "peers",
        columns: COLUMNS,
        name: |peer| format!("{KIND}/{}", text(peer, "peerId")),
        none: "There are no peers.".to_owned(),
        footer: |document, all| {
            let [eligible, unhealthy] =
                ["summary.eligiblePeers", "summary.unhealthyPeers"].map(|field| number(document, field));
            format!(
                "{}, {eligible} may be given work, {unhealthy} unhealthy",
                count(all.len() as u64, "peer")
            )
        },
    };
    list.show(document, &args.table, session)
}
