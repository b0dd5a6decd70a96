//! `mesh shards rebalance`.

use omnirelay_wire::rpc::rebalance_control_service;

use super::simulate::{ShardsWantedArgs, told};
use super::which::NamespaceArg;
use crate::frame::change::ObjectChange;
use crate::frame::prelude::*;
use crate::rebalance_plans::follow::{self, RebalancePlansWaitArgs};
use crate::{namespaces, rebalance_plans};

const PROPOSE: RpcMethod = rebalance_control_service::PROPOSE;
pub(super) const LEAF: LeafCommand = LeafCommand::write(
    "mesh shards rebalance",
    &[&PROPOSE, &namespaces::LIST, &rebalance_plans::APPROVE, &rebalance_plans::APPLY, &rebalance_plans::GET],
);

const EXAMPLES: &str = "\
Examples:
  omnirelay mesh shards rebalance --dry-run
  omnirelay mesh shards rebalance -n orders --remove node-3 --reason \"node-3 is retired\"
  omnirelay mesh shards rebalance --strategy ring --force --if-match 118
  omnirelay mesh shards rebalance --weight node-1=2 --apply --yes";

/// Propose a plan that has shards owned as the rules say
///
/// With --apply it is approved and carried out as well. It moves as few shards as there can be, and by choice no more than the policy of the namespace allows, unless --force.
/// Somebody else has to approve it, unless the policy or the configuration allows one's own.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct ShardsRebalanceArgs {
    #[command(flatten)]
    which: NamespaceArg,
    #[command(flatten)]
    wanted: ShardsWantedArgs,
    /// At most so many moves
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_moves: Option<u32>,
    /// At most so many shards between two owners at once, 1 to 200
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=200))]
    max_parallel: Option<u32>,
    /// The ticket of the change, for the history
    #[arg(long, value_name = "TICKET")]
    ticket: Option<String>,
    /// Approve and apply it as well, and wait for its end
    #[arg(long)]
    apply: bool,
    #[command(flatten)]
    wait: RebalancePlansWaitArgs,
    #[command(flatten)]
    write: WriteArgs,
}

pub(super) async fn run(args: &ShardsRebalanceArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let namespace = args.which.one(session).await?;
    let mut fields = args.wanted.fields(&namespace);
    fields["maxMoves"] = json!(args.max_moves);
    fields["maxParallelMoves"] = json!(args.max_parallel);
    fields["changeTicket"] = json!(args.ticket);
    let change = ObjectChange {
        rpc: &PROPOSE,
        name: format!("namespace/{namespace}"),
        write: &args.write,
        question: args.apply.then(|| format!("Move shards of {namespace}?")),
        done: "proposed",
        already: "",
        became: None,
        version: None,
        fields,
    };
    let document = change.send(session).await?;
    let (plan, id) = (field(&document, "plan").clone(), text(&document, "plan.planId").to_owned());
    if args.apply && !args.write.is_dry_run() {
        session.notes().say(&format!("plan/{id} proposed"));
        rebalance_plans::say(&rebalance_plans::APPROVE, &id, &args.write, "approved", session).await?;
        let applied =
            rebalance_plans::say(&rebalance_plans::APPLY, &id, &args.write, "applied", session).await?;
        return follow::to_the_end(session, &id, applied, &args.wait).await;
    }
    let lines = describe(session, &document, &plan, &id)?;
    let changed = flag(&document, "changed");
    session.show(&CommandOutput::lines(document, format!("plan/{id}"), lines))?;
    Ok(if changed && args.write.exit_code { Exit::Negative } else { Exit::Ok })
}

fn describe(session: &CommandSession, document: &Value, plan: &Value, id: &str) -> Result<String, CliError> {
    let dry = flag(document, "dryRun");
    let head = if dry {
        "A plan would be proposed (dry run).\n".to_owned()
    } else {
        format!("plan/{id} proposed\n")
    };
    let next = format!("Next: omnirelay mesh rebalance-plans approve {id}, then apply {id}\n");
    Ok(format!("{head}{}{}", told(session, plan, "moves")?, if dry { "" } else { &next }))
}
