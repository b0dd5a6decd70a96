//! `registers delete`.

use omnirelay_wire::rpc::register_service;

use super::change::RegistersChange;
use super::which::RegistersWhichArgs;
use super::{KIND, LIST};
use crate::frame::prelude::*;
use crate::node::NodeArgs;

pub(super) const DELETE: RpcMethod = register_service::DELETE;
pub(super) const BATCH_DELETE: RpcMethod = register_service::BATCH_DELETE;
pub(super) const LEAF: LeafCommand = LeafCommand::write("registers delete", &[&LIST, &DELETE, &BATCH_DELETE]);

const EXAMPLES: &str = "\
Examples:
  omnirelay registers delete orders --reason \"closed, INC-4711\"
  omnirelay registers delete orders --dry-run
  omnirelay registers delete -l legacy=true --yes
  omnirelay registers delete - --yes --ignore-not-found <ids.txt";

/// Remove registers from the catalogue; they are advertised no more
///
/// The ledgers themselves are not touched. Asks before it removes anything, unless --yes.
#[derive(Args, Debug)]
#[command(visible_alias = "rm", before_long_help = EXAMPLES)]
pub(super) struct RegistersDeleteArgs {
    #[command(flatten)]
    which: RegistersWhichArgs,
    /// Registers that are gone already are no failure
    #[arg(long)]
    ignore_not_found: bool,
    #[command(flatten)]
    write: WriteArgs,
}

pub(super) async fn run(
    args: &RegistersDeleteArgs,
    node: &NodeArgs,
    session: &mut CommandSession,
) -> Result<Exit, CliError> {
    let node = node.id();
    const NAMED_MAX: usize = 3;
    let ids = args.which.ids(node, &args.write, session).await?;
    if !args.write.is_dry_run() && !ids.is_empty() {
        args.write.check(session, ids.len())?;
        if !args.write.yes && !session.settings.no_input && session.notes().can_ask() {
            let write = args.write.for_preview();
            delete(&write, node, args.ignore_not_found).preview(session, &ids).await?;
        }
        let names = ids.iter().take(NAMED_MAX).map(|id| format!("{KIND}/{id}")).collect::<Vec<_>>();
        let what = if ids.len() > NAMED_MAX { count(ids.len() as u64, KIND) } else { names.join(", ") };
        args.write.confirm(session, &format!("Delete {what}?"))?;
    }
    delete(&args.write, node, args.ignore_not_found).run(session, ids).await
}

fn delete<'a>(write: &'a WriteArgs, node: &'a str, forgives_missing: bool) -> RegistersChange<'a> {
    RegistersChange {
        rpc: &DELETE,
        batch: Some(&BATCH_DELETE),
        node,
        write,
        done: "deleted",
        follows: "withdraw it",
        already: "it was gone already",
        failed: "could not be deleted",
        forgives_missing,
        fields: json!({}),
    }
}
