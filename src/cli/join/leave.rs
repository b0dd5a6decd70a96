//! `mesh leave`: has a node leave the mesh in order.

use omnirelay_wire::rpc::node_service;

use super::revoke::{REVOKE, put_out};
use crate::entry::{CommandEntry, entry};
use crate::frame::global::HumanDuration;
use crate::frame::prelude::*;
use crate::peers::drain::{self, DRAIN, GET_DRAIN};

const GET: RpcMethod = node_service::GET;
pub(crate) const LEAF: LeafCommand =
    LeafCommand::write("mesh leave", &[&DRAIN, &GET_DRAIN, &REVOKE, &GET]).exiting("0 1 2 3 4 5 6 8 9 10 11");

pub(crate) static ENTRY: CommandEntry = entry!("leave", JoinLeaveArgs, asking, &[LEAF], &[]);

const EXAMPLES: &str = "\
Examples:
  omnirelay mesh leave --peer relay-b --yes --reason \"host retired\"
  omnirelay --addr https://relay-b:17420 mesh leave --yes
  omnirelay mesh leave --peer relay-b --dry-run";

/// Have a node hand over what it leads and leave the mesh
///
/// Its certificates and its credentials of the store end. Its daemon is to be stopped then. The id may join again, with another token. One that was taken over is put out with
/// omnirelay mesh revoke instead. Asks before, unless --yes.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(crate) struct JoinLeaveArgs {
    /// Which node [default: the one that is asked]
    #[arg(long, value_name = "ID")]
    peer: Option<String>,
    /// End with 8 when it still leads or owns something after this time; 0s is for ever
    #[arg(long, value_name = "DURATION", default_value = "60s")]
    timeout: HumanDuration,
    #[command(flatten)]
    write: WriteArgs,
}

pub(crate) async fn run(args: &JoinLeaveArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let write = &args.write;
    write.check(session, 1)?;
    write.without_version("a node that leaves")?;
    let asked = match &args.peer {
        Some(peer) => peer.clone(),
        None => text(&session.call(&Call::of(&GET, &json!({}))?).await?, "nodeId").to_owned(),
    };
    if !write.is_dry_run() {
        write.confirm(session, &format!("Have node/{asked} leave the mesh?"))?;
        session.announce_target()?;
        drain::wait(session, write, &asked, args.timeout.0).await?;
    }
    put_out(session, write, &asked, None, true).await?;
    if !write.is_dry_run() {
        session.notes().say(&format!("hint: stop the daemon of {asked} now; its files may be removed"));
    }
    Ok(if write.exit_code { Exit::Negative } else { Exit::Ok })
}
