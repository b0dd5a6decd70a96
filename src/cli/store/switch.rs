//! `mesh store switch`.

use omnirelay_wire::rpc::store_service;

use super::planned::StoreChangePlan;
use crate::frame::prelude::*;

/// The kind in `store/HOST:PORT`.
const KIND: &str = "store";

const SWITCH: RpcMethod = store_service::SWITCH;
pub(super) const LEAF: LeafCommand =
    LeafCommand::write("mesh store switch", &[&SWITCH]).exiting("0 1 2 4 5 6 8 9 10 11");

const EXAMPLES: &str = "\
Examples:
  omnirelay mesh store switch --dry-run
  omnirelay mesh store switch --yes --reason \"kernel of redis-1\"
  omnirelay mesh store switch --from redis-1:6379 --yes";

/// Have another Redis server take over as the master, and lose nothing
///
/// For Redis behind Sentinels. Changes wait for about a second while a replica takes over, and none that was
/// acknowledged is lost. The registry begins a new epoch, as after any failover: watches begin anew, and
/// cursors of before are refused. Asks before it changes anything, unless --yes.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
#[command(mut_arg("if_match", |argument| argument.hide(true)))]
pub(super) struct StoreSwitchArgs {
    /// Only if this server is the master now
    #[arg(long, value_name = "HOST:PORT")]
    from: Option<String>,
    #[command(flatten)]
    write: WriteArgs,
}

pub(super) async fn run(args: &StoreSwitchArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let change = StoreChangePlan {
        rpc: &SWITCH,
        write: &args.write,
        fields: json!({ "from": args.from.clone().unwrap_or_default() }),
        question: |plan| {
            let from = printable(text(plan, "from"));
            format!("Replace the master {from}? Changes wait for about a second.")
        },
        // Another master by then is not the one that was told.
        bind: |plan, fields| fields["from"] = plan["from"].clone(),
        name: name_of,
        describe,
    };
    change.run(session).await
}

/// `store switched: redis-1:6379 -> redis-2:6379, changes waited 1.1s`, or who could take over.
fn describe(document: &Value) -> String {
    let from = printable(text(document, "from"));
    if !flag(document, "dryRun") {
        let to = printable(text(document, "to"));
        let waited = time::span(number(document, "pausedMs"));
        return format!("store switched: {from} -> {to}, changes waited {waited}\n");
    }
    let standby = |of: &Value| {
        format!("  {}, {} bytes behind\n", printable(text(of, "address")), number(of, "behindBytes"))
    };
    let standbys: String = items(document, "standbys").iter().map(standby).collect();
    format!("store would be switched (dry run): {from} -> one of\n{standbys}")
}

fn name_of(document: &Value) -> String {
    let to = text(document, "to");
    format!("{KIND}/{}", if to.is_empty() { text(document, "from") } else { to })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn switch_is_told_with_both_servers() {
        let standbys = json!([{"address": "b:2", "behindBytes": "14"}, {"address": "c:3"}]);
        let mut document = json!({"dryRun": true, "from": "a:1", "standbys": standbys});
        assert_eq!(
            describe(&document),
            "store would be switched (dry run): a:1 -> one of\n  b:2, 14 bytes behind\n  c:3, 0 bytes behind\n"
        );
        assert_eq!(name_of(&document), "store/a:1");
        document = json!({"from": "a:1", "to": "b:2", "pausedMs": 1130});
        assert_eq!(describe(&document), "store switched: a:1 -> b:2, changes waited 1.1s\n");
        assert_eq!(name_of(&document), "store/b:2");
    }
}
