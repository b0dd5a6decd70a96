//! `mesh store give-up`.

use clap::Args;
use omnirelay_wire::fault::Exit;
use omnirelay_wire::rpc::store_service;
use serde_json::{Value, json};

use crate::cli::frame::args::WriteArgs;
use crate::cli::frame::client::fresh_key;
use crate::cli::frame::document::{flag, items};
use crate::cli::frame::error::CliError;
use crate::cli::frame::output::View;
use crate::cli::frame::rpc::{Call, Leaf, Rpc};
use crate::cli::frame::screen::printable;
use crate::cli::frame::session::Session;

const NAME: &str = "store/lost";

const GIVE_UP: Rpc = store_service::GIVE_UP_LOST;
pub const LEAF: Leaf = Leaf::write("mesh store give-up", &[&GIVE_UP]).exiting("0 1 2 4 5 6 8 9 10 11");

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
pub struct GiveUpArgs {
    #[command(flatten)]
    write: WriteArgs,
}

pub async fn run(args: &GiveUpArgs, session: &mut Session) -> Result<Exit, CliError> {
    args.write.without_version("the store")?;
    args.write.check(session, 1)?;
    session.announce_target()?;
    let plan = session.call(&call(args, true, &fresh_key()?)?).await?;
    let exit = if args.write.exit_code { Exit::Negative } else { Exit::Ok };
    if args.write.is_dry_run() {
        show(session, plan)?;
        return Ok(exit);
    }
    if !args.write.yes {
        session.notes().write(describe(&plan).trim_end());
    }
    args.write.confirm(session, "Give it up? What is missing stays gone.")?;
    let key = args.write.key()?;
    let document = session.call(&call(args, false, &key)?).await?;
    show(session, document)?;
    Ok(exit)
}

fn show(session: &mut Session, document: Value) -> Result<(), CliError> {
    let lines = describe(&document);
    session.show(&View::lines(document, NAME.to_owned(), lines))
}

fn call(args: &GiveUpArgs, dry_run: bool, key: &str) -> Result<Call, CliError> {
    let request = json!({ "dryRun": dry_run, "reason": args.write.reason_text() });
    let part = if dry_run { "/dry-run" } else { "" };
    Ok(Call::of(&GIVE_UP, &request)?.keyed(key, part))
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
