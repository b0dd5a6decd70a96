//! `context delete`.

use super::{LOCAL, document, edit};
use crate::frame::prelude::*;

pub(super) const LEAF: LeafCommand = LeafCommand::local("context delete", LOCAL);

const EXAMPLES: &str = "\
Examples:
  omnirelay context delete dev
  omnirelay context delete prod-eu --yes";

/// Delete a context; the mesh it leads to is left alone
///
/// Asks before, on a terminal; one that is protected is not deleted without --yes elsewhere.
#[derive(Args, Debug)]
#[command(visible_alias = "rm", before_long_help = EXAMPLES)]
pub(super) struct ContextDeleteArgs {
    /// Name of the context
    #[arg(value_name = "NAME", add = crate::complete::contexts())]
    name: String,
    /// Confirm without being asked
    #[arg(short, long)]
    yes: bool,
}

pub(super) async fn run(args: &ContextDeleteArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let protected = session.settings.config.clone()?.context(&args.name)?.protected;
    let can_ask = session.notes().can_ask() && !session.settings.no_input;
    if !args.yes && (protected || can_ask) {
        session.confirm(&format!("Delete context/{}? [y/N]", args.name), &["y", "yes"], "--yes")?;
    }
    let (context, was_current) = edit::edit(&session.settings.config_path, |file| {
        let context = file.context(&args.name)?.clone();
        let was_current = file.current.as_deref() == Some(&args.name);
        file.remove(&args.name);
        Ok((context, was_current))
    })?;
    let name = format!("context/{}", context.name);
    session.show(&CommandOutput::lines(
        document(&context, false),
        name.clone(),
        format!("{name} deleted\n"),
    ))?;
    if was_current {
        session.notes().say("No context is the current one now: omnirelay context use NAME");
    }
    Ok(Exit::Ok)
}
