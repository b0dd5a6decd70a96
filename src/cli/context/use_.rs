//! `context use`.

use super::{LOCAL, describe, document, edit, warn_of_override};
use crate::frame::prelude::*;

pub(super) const LEAF: LeafCommand = LeafCommand::local("context use", LOCAL);

const EXAMPLES: &str = "\
Examples:
  omnirelay context use prod-eu
  export OMNIRELAY_CONTEXT=prod-eu      # for this shell only";

/// Make a context the current one
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct ContextUseArgs {
    /// Name of the context
    #[arg(value_name = "NAME", add = crate::complete::contexts())]
    name: String,
}

pub(super) async fn run(args: &ContextUseArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let context = edit::edit(&session.settings.config_path, |file| {
        let context = file.context(&args.name)?.clone();
        file.select(Some(&args.name));
        Ok(context)
    })?;
    warn_of_override(session);
    let name = format!("context/{}", context.name);
    session.show(&CommandOutput::lines(document(&context, true), name, describe(&context)))?;
    Ok(Exit::Ok)
}
