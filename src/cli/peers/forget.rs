//! `mesh peers forget`.

use omnirelay_wire::rpc::peer_control_service;

use super::change::PeersChange;
use super::{KIND, LIST};
use crate::complete;
use crate::frame::prelude::*;

pub(super) const FORGET: RpcMethod = peer_control_service::FORGET;
pub(super) const LEAF: LeafCommand = LeafCommand::write("mesh peers forget", &[&FORGET, &LIST]);

const EXAMPLES: &str = "\
Examples:
  omnirelay mesh peers forget node-3 --reason \"host is gone\"
  omnirelay mesh peers forget node-3 --dry-run
  omnirelay mesh peers list --filter status=dead -o name | omnirelay mesh peers forget - --yes";

/// Remove the records of peers that are dead or have left
///
/// A peer that is alive or suspect is refused. Asks before it removes anything, unless --yes.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct PeersForgetArgs {
    /// Ids, peer/ID, or their first letters if unique; - reads them from standard input
    #[arg(required = true, value_name = "ID", add = complete::ids(&super::OBJECTS))]
    ids: Vec<String>,
    #[command(flatten)]
    write: WriteArgs,
}

pub(super) async fn run(args: &PeersForgetArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let ids = ids::expand(&args.ids, KIND)?;
    if !args.write.is_dry_run() {
        args.write.check(session, ids.len())?;
        if !args.write.yes && !session.settings.no_input && session.notes().can_ask() {
            let write = args.write.for_preview();
            forget(&write).preview(session, &ids).await?;
        }
        let names = ids.iter().map(|id| format!("{KIND}/{id}")).collect::<Vec<_>>().join(", ");
        args.write.confirm(session, &format!("Forget {names}?"))?;
    }
    forget(&args.write).run(session, ids).await
}

fn forget(write: &WriteArgs) -> PeersChange<'_> {
    PeersChange {
        rpc: &FORGET,
        write,
        done: "forgotten",
        already: "it was gone already",
        failed: "could not be forgotten",
        fields: json!({}),
    }
}
