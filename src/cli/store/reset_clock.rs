//! `mesh store reset-clock`.

use omnirelay_wire::rpc::store_service;

use super::planned::StoreChangePlan;
use crate::frame::prelude::*;

const NAME: &str = "store/clock";

const RESET: RpcMethod = store_service::RESET_CLOCK;
pub(super) const LEAF: LeafCommand =
    LeafCommand::write("mesh store reset-clock", &[&RESET]).exiting("0 1 2 4 5 6 8 9 10 11");

const EXAMPLES: &str = "\
Examples:
  omnirelay mesh store reset-clock --dry-run
  omnirelay mesh store reset-clock --yes --reason \"clock of redis-1 jumped\"";

/// Bring store time back to the clock that it goes by, in a new epoch
///
/// For a clock that had jumped ahead and is right again: store time never goes back by itself. The registry begins a new epoch, as after a restart of the store: watches begin
/// anew, cursors of before are refused, and nobody is granted a scope for the quarantine. Nothing is lost. Join tokens let
/// nobody in for some seconds. Asks before it changes anything, unless --yes.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
#[command(mut_arg("if_match", |argument| argument.hide(true)))]
pub(super) struct StoreResetClockArgs {
    #[command(flatten)]
    write: WriteArgs,
}

pub(super) async fn run(args: &StoreResetClockArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let change = StoreChangePlan {
        rpc: &RESET,
        write: &args.write,
        fields: json!({}),
        question: |_| "Bring store time back? The registry begins a new epoch.".to_owned(),
        bind: |_, _| {},
        name: |_| NAME.to_owned(),
        describe,
    };
    change.run(session).await
}

/// `store time brought back by 1d6h: 2026-11-28T01:00:00Z -> 2026-11-26T19:00:00Z`.
fn describe(document: &Value) -> String {
    let by = time::span(number(document, "aheadMs"));
    let (before, now) = (printable(text(document, "before")), printable(text(document, "now")));
    let done = match flag(document, "dryRun") {
        true => "would be brought back (dry run)",
        false => "brought back",
    };
    format!("store time {done} by {by}: {before} -> {now}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reset_is_told_with_both_times() {
        let mut document = json!({
            "dryRun": true, "aheadMs": "108000000", "before": "2026-11-21T12:00:00Z", "now": "2026-11-20T06:00:00Z",
        });
        let told = describe(&document);
        assert!(told.starts_with("store time would be brought back (dry run) by "), "{told}");
        assert!(told.ends_with(": 2026-11-21T12:00:00Z -> 2026-11-20T06:00:00Z\n"), "{told}");
        document["dryRun"] = json!(false);
        assert!(describe(&document).starts_with("store time brought back by "));
    }
}
