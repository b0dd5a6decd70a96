//! `cert reinstate`.

use omnirelay_wire::rpc::certificate_service;

use super::revoke::RevocationEdit;
use super::target::HolderTarget;
use crate::frame::prelude::*;

const REINSTATE: RpcMethod = certificate_service::REINSTATE;
pub(super) const LEAF: LeafCommand =
    LeafCommand::write("cert reinstate", &[&REINSTATE]).exiting("0 1 2 3 4 5 6 8 9 10 11");

const EXAMPLES: &str = "\
Examples:
  omnirelay cert reinstate --node relay-b119 --reason \"new disk, wiped\"";

/// Let a holder that was revoked have certificates again
///
/// Those that it had, and their keys, stay revoked.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct CertReinstateArgs {
    #[command(flatten)]
    who: HolderTarget,
    /// Cluster of the node [default: that of the daemon]
    #[arg(long)]
    cluster: Option<String>,
    #[command(flatten)]
    write: WriteArgs,
}

pub(super) async fn run(args: &CertReinstateArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let mut request = args.who.request();
    request["cluster"] = json!(args.cluster);
    let change = RevocationEdit {
        rpc: &REINSTATE,
        request,
        shown: &args.who.shown(),
        done: "reinstated",
        asks: false,
        write: &args.write,
    };
    change.run(session).await
}
