//! `mesh clusters delete`.

use omnirelay_wire::rpc::cluster_control_service;

use super::KIND;
use crate::complete;
use crate::frame::change::ObjectChange;
use crate::frame::prelude::*;

const DELETE: RpcMethod = cluster_control_service::DELETE;
pub(super) const LEAF: LeafCommand =
    LeafCommand::write("mesh clusters delete", &[&DELETE]).exiting("0 1 2 3 4 5 6 8 9 10 11");

const EXAMPLES: &str = "\
Examples:
  omnirelay mesh clusters delete west --dry-run
  omnirelay mesh clusters delete west --yes --reason \"region given up, INC-4711\"";

/// Forget another cluster: nobody whom it vouches for is let in any more
///
/// Asks before it removes anything, unless --yes. Nothing is changed at the other cluster. Its issuer stays certified by the
/// root; revoke its key to have it believed nowhere (docs/security/siblings.md).
#[derive(Args, Debug)]
#[command(visible_alias = "rm", before_long_help = EXAMPLES)]
pub(super) struct ClustersDeleteArgs {
    /// The cluster
    #[arg(value_name = "CLUSTER", value_parser = id_of(super::KIND), add = complete::ids(&super::OBJECTS))]
    cluster: String,
    #[command(flatten)]
    write: WriteArgs,
}

pub(super) async fn run(args: &ClustersDeleteArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let change = ObjectChange {
        rpc: &DELETE,
        name: format!("{KIND}/{}", args.cluster),
        write: &args.write,
        question: Some(format!("Forget cluster {}, and let in nobody whom it vouches for?", args.cluster)),
        done: "forgotten",
        already: "it was forgotten already",
        became: None,
        version: None,
        fields: json!({ "clusterId": args.cluster }),
    };
    change.run(session).await
}
