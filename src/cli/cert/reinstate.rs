//! `cert reinstate`.

use omnirelay_wire::rpc::certificate_service;

use super::revoke::Change;
use super::target::Who;
use crate::frame::prelude::*;

const REINSTATE: Rpc = certificate_service::REINSTATE;
pub const LEAF: Leaf = Leaf::write("cert reinstate", &[&REINSTATE]).exiting("0 1 2 3 4 5 6 8 9 10 11");

const EXAMPLES: &str = "\
Examples:
  omnirelay cert reinstate --node relay-b119 --reason \"new disk, wiped\"";

/// Let a holder that was revoked have certificates again
///
/// Those that it had, and their keys, stay revoked.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub struct ReinstateArgs {
    #[command(flatten)]
    who: Who,
    /// Cluster of the node [default: that of the daemon]
    #[arg(long)]
    cluster: Option<String>,
    #[command(flatten)]
    write: WriteArgs,
}

pub async fn run(args: &ReinstateArgs, session: &mut Session) -> Result<Exit, CliError> {
    let mut request = args.who.request();
    request["cluster"] = json!(args.cluster);
    let change = Change {
        rpc: &REINSTATE,
        request,
        shown: &args.who.shown(),
        done: "reinstated",
        asks: false,
        write: &args.write,
    };
    change.run(session).await
}
