//! `cert ca prepare`.

use std::path::PathBuf;

use super::files::put;
use super::offline_csr::{PREPARE, prepared};
use crate::frame::prelude::*;

pub(super) const LEAF: LeafCommand =
    LeafCommand::write("cert ca prepare", &[&PREPARE]).exiting("0 1 2 4 5 6 8 9 11");

const EXAMPLES: &str = "\
Examples:
  omnirelay cert ca prepare --out west.csr
  omnirelay --context east cert ca certify west.csr --cluster west --out west-issuer.pem
  omnirelay cert ca init --certified west-issuer.pem";

/// Make the key of the next issuer, and write the request to certify it
///
/// The key stays in the registry, sealed. Whoever has the root certifies the request (cert ca certify), and the daemon
/// that is asked here takes what comes back (cert ca init, or rotate, with --certified). Another request makes this one void.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct CertPrepareArgs {
    /// File for the request, which holds no secret
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Seal the key with the secret that this daemon has, or makes: that of before is lost, or is to be another
    #[arg(long)]
    new_secret: bool,
    #[command(flatten)]
    write: WriteArgs,
}

pub(super) async fn run(args: &CertPrepareArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let write = &args.write;
    write.check(session, 1)?;
    write.without_version("a request")?;
    if write.is_dry_run() {
        return Err(CliError::usage("--dry-run: a key is made or it is not").hint("leave it out"));
    }
    session.announce_target()?;
    let prepared = prepared(write, args.new_secret, session).await?;
    put(&[(args.out.clone(), prepared.csr.as_bytes(), 0o644)])?;
    let lines = format!(
        "The issuer of cluster {} is prepared: {} is the request for its certificate.\n  key: {}\n",
        prepared.cluster,
        args.out.display(),
        prepared.key,
    );
    let document = prepared.document.clone();
    session.show(&CommandOutput::lines(document, "authority/mesh", lines))?;
    session.notes().say(&format!(
        "hint: where the root is: omnirelay cert ca certify {} --cluster {} --out issuer.pem",
        args.out.display(),
        prepared.cluster
    ));
    Ok(if write.exit_code { Exit::Negative } else { Exit::Ok })
}
