//! `cert renew`.

use std::path::PathBuf;

use clap::Args;
use omnirelay_pki::certificate::Names;
use omnirelay_wire::fault::Exit;
use omnirelay_wire::rpc::certificate_service;
use serde_json::json;

use super::KIND;
use super::files::{Folder, Made};
use super::holder;
use super::issue::told;
use crate::cli::frame::args::WriteArgs;
use crate::cli::frame::document::{field, text};
use crate::cli::frame::error::CliError;
use crate::cli::frame::output::View;
use crate::cli::frame::rpc::{Call, Leaf, Rpc};
use crate::cli::frame::session::Session;
use crate::cli::frame::settings::Target;
use crate::cli::frame::tls_files::TlsFiles;

const RENEW: Rpc = certificate_service::RENEW;
pub const LEAF: Leaf = Leaf::write("cert renew", &[&RENEW]).exiting("0 1 2 4 5 6 8 9 11");

const EXAMPLES: &str = "\
Examples:
  omnirelay cert renew ~/.omnirelay/ann
  omnirelay --addr https://eu-1:17420 cert renew ~/.omnirelay/ann";

/// Renew a certificate, proven by the one before
///
/// A new key is made in the folder, and what proves who asks is the key that is there. Nodes renew their own by themselves.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub struct RenewArgs {
    /// Folder with key.pem, chain.pem and bundle.pem
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

pub async fn run(args: &RenewArgs, session: &mut Session) -> Result<Exit, CliError> {
    let folder = Folder::of(&args.dir);
    let target = session.target()?.clone();
    if !target.addresses.iter().all(|address| address.is_tls()) {
        return Err(CliError::usage("a certificate is shown under TLS only")
            .hint("name an address that begins with https:// (--addr, or the context's)"));
    }
    let own = TlsFiles {
        ca: Some(folder.bundle()),
        cert: Some(folder.chain()),
        key: Some(folder.key()),
        server_name: target.tls.server_name.clone(),
    };
    session.turn_to(Target { tls: own, token_file: None, ..target })?;
    let made = Made::of(&Names::default())?;
    let call = Call::of(&RENEW, &json!({"csr": made.csr}))?;
    let document = session.call(&call.keyed(&WriteArgs::default().key()?, "")).await?;
    folder.write(&made, text(&document, "chainPem"), text(&document, "bundlePem"))?;
    let name = holder(field(&document, "certificate"));
    let lines = told(&name, &document);
    session.show(&View::lines(document, format!("{KIND}/{name}"), lines))?;
    Ok(Exit::Ok)
}
