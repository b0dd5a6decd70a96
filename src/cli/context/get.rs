//! `context get`.

use super::{LOCAL, describe, document};
use crate::frame::context_file::ContextFile;
use crate::frame::prelude::*;

pub(super) const LEAF: LeafCommand = LeafCommand::local("context get", LOCAL);

const EXAMPLES: &str = "\
Examples:
  omnirelay context get dev
  omnirelay context get dev -o json | jq -r .address";

/// Show one context
#[derive(Args, Debug)]
#[command(visible_alias = "show", before_long_help = EXAMPLES)]
pub(super) struct ContextGetArgs {
    /// Name of the context
    #[arg(value_name = "NAME", add = crate::complete::contexts())]
    name: String,
}

pub(super) async fn run(args: &ContextGetArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let file = ContextFile::load(&session.settings.config_path)?;
    let context = file.context(&args.name)?;
    let current = file.current.as_deref() == Some(&args.name);
    let name = format!("context/{}", context.name);
    session.show(&CommandOutput::lines(document(context, current), name, describe(context)))?;
    Ok(Exit::Ok)
}
