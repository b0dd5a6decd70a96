//! `context add`.

use std::path::PathBuf;

use super::edit;
use super::{ContextShape, LOCAL, checked_name, describe, document, exists, token_file};
use crate::frame::address::Address;
use crate::frame::context_file::Context;
use crate::frame::prelude::*;
use crate::frame::settings::ValueSource;
use crate::frame::tls_files::TlsFiles;

pub(super) const LEAF: LeafCommand = LeafCommand::local("context add", LOCAL).exiting("0 1 2 4");

const EXAMPLES: &str = "\
Examples:
  omnirelay context add dev --address http://127.0.0.1:17420
  omnirelay context add prod-eu --address http://eu-1:17420 --cluster eu-1 --protected
  omnirelay context add here --address unix:/run/omnirelay/control.sock
  omnirelay context add here --address 127.0.0.1:17420 --token-file ~/.omnirelay-token
  omnirelay context add prod --address https://eu-1:17420 --tls-ca bundle.pem --tls-cert chain.pem --tls-key key.pem";

/// Add a context; the first one becomes the current one
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct ContextAddArgs {
    /// Name of the new context
    #[arg(value_name = "NAME", value_parser = checked_name)]
    name: String,
    #[command(flatten)]
    shape: ContextShape,
}

pub(super) async fn run(args: &ContextAddArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let mut addresses = args.shape.addresses.clone();
    if let (true, Ok(target)) = (addresses.is_empty(), session.target())
        && target.source == ValueSource::Flag("--addr")
    {
        // What is meant is plain, although that flag says whom to ask.
        addresses.clone_from(&target.addresses);
    }
    if addresses.is_empty() {
        return Err(CliError::usage("a context needs an address").hint("add --address http://HOST:17420"));
    }
    let tls = session.settings.tls.clone().absolute();
    check_tls(&addresses, &tls, session)?;
    let context = Context {
        name: args.name.clone(),
        addresses,
        cluster: args.shape.cluster.clone(),
        protected: args.shape.protected,
        token_file: token_file(session),
        tls,
    };
    let current = edit::edit(&session.settings.config_path, |file| {
        if file.context(&args.name).is_ok() {
            return Err(exists(&args.name));
        }
        file.put(context.clone());
        if file.contexts.len() == 1 {
            file.select(Some(&args.name));
        }
        Ok(file.current.as_deref() == Some(&args.name))
    })?;
    let name = format!("context/{}", context.name);
    session.show(&CommandOutput::lines(document(&context, current), name, describe(&context)))?;
    if !current {
        session.notes().say(&format!("hint: omnirelay context use {}", args.name));
    }
    Ok(Exit::Ok)
}

/// That certificates are for an address that speaks TLS; says which files are not there yet.
fn check_tls(addresses: &[Address], tls: &TlsFiles, session: &CommandSession) -> Result<(), CliError> {
    let files: Vec<&PathBuf> = [&tls.ca, &tls.cert, &tls.key].into_iter().flatten().collect();
    let plain = addresses.iter().find(|address| !address.is_tls() && address.socket().is_none());
    if let Some(plain) = plain.filter(|_| !files.is_empty()) {
        return Err(CliError::usage(format!("{plain} is not spoken to under TLS, and shows no certificate"))
            .hint(format!("add --address {}", plain.to_string().replacen("http://", "https://", 1)))
            .hint("or leave the files of TLS out"));
    }
    for file in files.into_iter().filter(|file| !file.exists()) {
        session.notes().warn(&format!("{} is not there: the context works once it is", file.display()));
    }
    Ok(())
}
