//! `cert ca`: the authority.

use clap::Subcommand;

use super::{certify, export, init, prepare, protect, retire, rotate, share, show};
use crate::frame::prelude::*;

/// Make, look at and rotate the certificate authority
#[derive(Args, Debug)]
#[command(arg_required_else_help = true, alias = "authority")]
pub(super) struct CertCaArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Init(Box<init::CertInitArgs>),
    Show(Box<show::CertShowArgs>),
    Export(Box<export::CertExportArgs>),
    Protect(Box<protect::CertProtectArgs>),
    Share(Box<share::CertShareArgs>),
    Prepare(Box<prepare::CertPrepareArgs>),
    Certify(Box<certify::CertCertifyArgs>),
    Rotate(Box<rotate::CertRotateArgs>),
    Retire(Box<retire::CertRetireArgs>),
}

pub(super) async fn run(of: &CertCaArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    match &of.verb {
        Verb::Init(args) => init::run(args, session).await,
        Verb::Show(args) => show::run(args, session).await,
        Verb::Export(args) => export::run(args, session).await,
        Verb::Protect(args) => protect::run(args, session).await,
        Verb::Share(args) => share::run(args, session).await,
        Verb::Prepare(args) => prepare::run(args, session).await,
        Verb::Certify(args) => certify::run(args, session).await,
        Verb::Rotate(args) => rotate::run(args, session).await,
        Verb::Retire(args) => retire::run(args, session).await,
    }
}
