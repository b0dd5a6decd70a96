//! `context rename`.

use super::{LOCAL, checked_name, describe, document, edit, exists};
use crate::frame::prelude::*;

pub(super) const LEAF: LeafCommand = LeafCommand::local("context rename", LOCAL).exiting("0 1 2 4");

const EXAMPLES: &str = "\
Examples:
  omnirelay context rename dev laptop";

/// Give a context another name
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct ContextRenameArgs {
    /// Name of the context
    #[arg(value_name = "NAME", add = crate::complete::contexts())]
    name: String,
    /// Its new name
    #[arg(value_name = "NEW", value_parser = checked_name)]
    new: String,
}

pub(super) async fn run(args: &ContextRenameArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let (context, current) = edit::edit(&session.settings.config_path, |file| {
        file.context(&args.name)?;
        if args.name != args.new && file.context(&args.new).is_ok() {
            return Err(exists(&args.new));
        }
        file.rename(&args.name, &args.new);
        Ok((file.context(&args.new)?.clone(), file.current.as_deref() == Some(&args.new)))
    })?;
    let name = format!("context/{}", context.name);
    session.show(&CommandOutput::lines(document(&context, current), name, describe(&context)))?;
    Ok(Exit::Ok)
}
