//! `mesh domains heal`.

use omnirelay_wire::rpc::domain_control_service;

use super::KIND;
use crate::complete;
use crate::frame::change::ObjectChange;
use crate::frame::prelude::*;

const HEAL: RpcMethod = domain_control_service::HEAL;
pub(super) const LEAF: LeafCommand =
    LeafCommand::write("mesh domains heal", &[&HEAL]).exiting("0 1 2 3 4 5 6 8 9 10 11");

const EXAMPLES: &str = "\
Examples:
  omnirelay mesh domains heal mesh --from west --dry-run
  omnirelay mesh domains heal mesh --from west --yes --reason \"the store was restored from a copy, INC-4711\"";

/// Get back from a follower what the active cluster of a domain has lost
///
/// Each record that is not here, or is here as it was before, is made as the other cluster has it. What is here alone stays, and what
/// was written here since. Say it in the cluster where the domain is active.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct DomainsHealArgs {
    /// The domain
    #[arg(value_name = "DOMAIN", value_parser = id_of(super::KIND), add = complete::ids(&super::OBJECTS))]
    domain: String,
    /// The cluster that has it
    #[arg(long, value_name = "CLUSTER", add = complete::ids(&crate::clusters::OBJECTS))]
    from: String,
    #[command(flatten)]
    write: WriteArgs,
}

pub(super) async fn run(args: &DomainsHealArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let change = ObjectChange {
        rpc: &HEAL,
        name: format!("{KIND}/{}", args.domain),
        write: &args.write,
        question: Some(format!("Make domain {} here as cluster {} has it?", args.domain, args.from)),
        done: "healed",
        already: "nothing of it is missing",
        became: Some(|document| {
            format!(
                "{} records added, {} replaced; {} were written since and stay, and {} are here alone",
                plain(field(document, "added")),
                plain(field(document, "replaced")),
                plain(field(document, "kept")),
                plain(field(document, "onlyHere"))
            )
        }),
        version: None,
        fields: json!({ "domain": args.domain, "fromCluster": args.from }),
    };
    change.run(session).await
}
