//! `mesh config rollback`.

use omnirelay_wire::rpc::config_service;

use super::change;
use crate::frame::prelude::*;

const ROLLBACK: RpcMethod = config_service::ROLLBACK_TRANSPORT_POLICY;
pub(super) const LEAF: LeafCommand =
    LeafCommand::write("mesh config rollback", &[&ROLLBACK]).exiting("0 1 2 3 4 5 6 8 9 10 11");

const EXAMPLES: &str = "\
Examples:
  omnirelay mesh config rollback --dry-run
  omnirelay mesh config rollback --reason \"orders cannot do without, INC-4711\"
  omnirelay mesh config rollback --to 3 --if-match 7";

/// Bring a former transport policy back, exactly as it was
///
/// It becomes a new version; `mesh config history` lists those that are kept. Repeated, it goes back and forth between
/// the last two, unless --to says to which.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct MeshConfigRollbackArgs {
    /// The version [default: the one before that which holds]
    #[arg(long, value_name = "VERSION", value_parser = clap::value_parser!(u64).range(1..))]
    to: Option<u64>,
    #[command(flatten)]
    write: WriteArgs,
}

pub(super) async fn run(
    args: &MeshConfigRollbackArgs,
    session: &mut CommandSession,
) -> Result<Exit, CliError> {
    args.write.check(session, 1)?;
    let fields = json!({"toVersion": args.to.map(|version| version.to_string())});
    change::run(&ROLLBACK, &args.write, fields, "rolled back", session).await
}
