//! `context set`.

use super::{ContextShape, LOCAL, describe, document, edit, token_file};
use crate::frame::prelude::*;
use crate::frame::tls_files::TlsFiles;

pub(super) const LEAF: LeafCommand = LeafCommand::local("context set", LOCAL);

const EXAMPLES: &str = "\
Examples:
  omnirelay context set prod-eu --address http://eu-1:17420 --address http://eu-2:17420
  omnirelay context set prod-eu --protected";

/// Change a context
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct ContextSetArgs {
    /// Name of the context
    #[arg(value_name = "NAME", add = crate::complete::contexts())]
    name: String,
    #[command(flatten)]
    shape: ContextShape,
}

pub(super) async fn run(args: &ContextSetArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let shape = &args.shape;
    let (token_file, tls) = (token_file(session), session.settings.tls.clone().absolute());
    let says_nothing = shape.addresses.is_empty()
        && shape.cluster.is_none()
        && token_file.is_none()
        && tls == TlsFiles::default();
    if says_nothing && !shape.protected && !shape.no_protected {
        return Err(CliError::usage("nothing to set")
            .hint("add --address, --cluster, --token-file, --tls-... or --[no-]protected"));
    }
    // A token of before would go on proving somebody else than the certificate does.
    let (names_another, mut dropped) = (tls.cert.is_some() || tls.key.is_some(), None);
    let (context, current) = edit::edit(&session.settings.config_path, |file| {
        let mut context = file.context(&args.name)?.clone();
        if !shape.addresses.is_empty() {
            context.addresses.clone_from(&shape.addresses);
        }
        if let Some(cluster) = &shape.cluster {
            context.cluster = Some(cluster.clone()).filter(|cluster| !cluster.is_empty());
        }
        if token_file.is_some() || names_another {
            dropped = context.token_file.take().filter(|_| token_file.is_none());
            context.token_file.clone_from(&token_file);
        }
        context.tls = tls.clone().over(&context.tls);
        context.protected = (context.protected || shape.protected) && !shape.no_protected;
        file.put(context.clone());
        Ok((context, file.current.as_deref() == Some(&args.name)))
    })?;
    let name = format!("context/{}", context.name);
    session.show(&CommandOutput::lines(document(&context, current), name, describe(&context)))?;
    if let Some(path) = dropped {
        let path = path.display();
        session.notes().say(&format!(
            "The token in {path} is not of this context any more: its certificate proves you; the file is still there."
        ));
    }
    Ok(Exit::Ok)
}
