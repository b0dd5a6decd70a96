//! `cert ca export`.

use super::show::{GET, no_authority};
use crate::frame::prelude::*;

pub(super) const LEAF: LeafCommand =
    LeafCommand::read("cert ca export", &[&GET]).exiting("0 1 2 4 5 6 8 9 11");

const EXAMPLES: &str = "\
Examples:
  omnirelay cert ca export > bundle.pem
  omnirelay cert ca export | openssl x509 -noout -fingerprint -sha256";

/// Print the roots that are trusted, in PEM
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct CertExportArgs {}

pub(super) async fn run(_: &CertExportArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let document = session.call(&Call::of(&GET, &json!({}))?).await?;
    let bundle = text(&document, "bundlePem").to_owned();
    if bundle.is_empty() {
        return Err(no_authority());
    }
    session.show(&CommandOutput::lines(document, "authority/mesh", bundle))?;
    Ok(Exit::Ok)
}
