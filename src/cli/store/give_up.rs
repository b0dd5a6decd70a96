//! `mesh store give-up`.

use omnirelay_wire::rpc::store_service;

use super::planned::StoreChangePlan;
use crate::frame::prelude::*;

const NAME: &str = "store/lost";

const GIVE_UP: RpcMethod = store_service::GIVE_UP_LOST;
pub(super) const LEAF: LeafCommand =
    LeafCommand::write("mesh store give-up", &[&GIVE_UP]).exiting("0 1 2 4 5 6 8 9 10 11");

const EXAMPLES: &str = "\
Examples:
  omnirelay mesh store give-up --dry-run
  omnirelay mesh store give-up --yes --reason \"made anew by hand\"";

/// Give up what the registry has lost and nobody has put back
///
/// A store that was emptied gets back what daemons know. Until all of that is there, nothing is written in the place of what is missing, and mesh check is red. This ends that: what is missing stays gone, whatever
/// a daemon that is away knows of it. Asks before it changes anything, unless --yes.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
#[command(mut_arg("if_match", |argument| argument.hide(true)))]
pub(super) struct StoreGiveUpArgs {
    #[command(flatten)]
    write: WriteArgs,
}

pub(super) async fn run(args: &StoreGiveUpArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let change = StoreChangePlan {
        rpc: &GIVE_UP,
        write: &args.write,
        fields: json!({}),
        question: |_| "Give it up? What is missing stays gone.".to_owned(),
        bind: |_, _| {},
        name: |_| NAME.to_owned(),
        describe,
    };
    change.run(session).await
}

/// `given up: shard: 64, namespace: 1`.
fn describe(document: &Value) -> String {
    let lost: Vec<&str> = items(document, "changes").iter().filter_map(Value::as_str).collect();
    let done = if flag(document, "dryRun") { "would be given up (dry run)" } else { "given up" };
    match lost.is_empty() {
        true => format!("{done}: nothing that this daemon knows of\n"),
        false => format!("{done}: {}\n", printable(&lost.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_up_is_told_by_kind() {
        let document = json!({ "dryRun": true, "changes": ["namespace: 1", "shard: 64"] });
        assert_eq!(describe(&document), "would be given up (dry run): namespace: 1, shard: 64\n");
        assert_eq!(describe(&json!({})), "given up: nothing that this daemon knows of\n");
    }
}
