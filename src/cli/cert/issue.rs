//! `cert issue`.

use std::path::PathBuf;

use omnirelay_pki::certificate::TlsNames;
use omnirelay_wire::rpc::certificate_service;

use super::KIND;
use super::files::{CertificateFolder, GeneratedKey, not_valid_at, validity};
use super::target::HolderTarget;
use crate::frame::error::chain;
use crate::frame::global::Lifetime;
use crate::frame::prelude::*;

const ISSUE: RpcMethod = certificate_service::ISSUE;
pub(super) const LEAF: LeafCommand =
    LeafCommand::write("cert issue", &[&ISSUE]).exiting("0 1 2 4 5 6 8 9 10 11");

const EXAMPLES: &str = "\
Examples:
  omnirelay cert issue --operator ann --out ~/.omnirelay/ann
  omnirelay cert issue --node relay-a --role gateway --name relay-a.eu.example --out relay-a
  omnirelay cert issue --service billing --csr billing.csr --out billing
  omnirelay cert issue --operator deploy --lifetime 1h --out deploy --reason \"rollout, INC-4711\"";

/// Issue a certificate to a node, a service or an operator
///
/// The key is made here and stays here, unless --csr names a request that was made elsewhere. What an operator or a service
/// may do besides reading is said by a binding: omnirelay bindings set operator:NAME SCOPE.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct CertIssueArgs {
    #[command(flatten)]
    who: HolderTarget,
    /// Role of a node [default: worker]
    #[arg(long)]
    role: Option<String>,
    /// Cluster of a node [default: that of the daemon]
    #[arg(long)]
    cluster: Option<String>,
    /// Folder for key.pem, chain.pem and bundle.pem
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// A DNS name or an address that it is good for (repeatable)
    #[arg(long, value_name = "NAME", conflicts_with = "csr")]
    name: Vec<String>,
    /// File with a request that was made elsewhere, in PEM; only its certificate is written
    #[arg(long, value_name = "FILE")]
    csr: Option<PathBuf>,
    /// How long it lives, 1h to 7d [default: 24h]
    #[arg(long, value_name = "DURATION")]
    lifetime: Option<Lifetime>,
    /// Although the holder has a valid certificate of another key
    #[arg(long)]
    replace: bool,
    /// Write over a key that is in the folder
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    write: WriteArgs,
}

pub(super) async fn run(args: &CertIssueArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let (write, dry_run) = (&args.write, args.write.is_dry_run());
    write.check(session, 1)?;
    write.without_version("a certificate that is issued")?;
    if args.out.is_none() && args.csr.is_none() {
        return Err(CliError::usage("a key is made, and it is not said where it goes")
            .hint("add --out DIR, or --csr FILE if the key is elsewhere"));
    }
    let folder = args.out.as_deref().map(CertificateFolder::of);
    if let Some(folder) = folder.as_ref().filter(|_| !dry_run) {
        folder.prepare(args.force || args.csr.is_some())?;
    }
    session.announce_target()?;
    let mut names = TlsNames::default();
    args.name.iter().for_each(|name| names.add(name));
    let made = if args.csr.is_none() { Some(GeneratedKey::of(&names)?) } else { None };
    let csr = match (&made, &args.csr) {
        (Some(made), _) => made.csr.clone(),
        (None, path) => read(path.as_deref().unwrap_or(std::path::Path::new("")))?,
    };
    let mut request = args.who.request();
    request["role"] = json!(args.role);
    request["cluster"] = json!(args.cluster);
    request["csr"] = json!(csr);
    request["lifetimeSeconds"] = json!(args.lifetime.map(|lifetime| lifetime.0));
    request["replace"] = json!(args.replace);
    request["reason"] = json!(write.reason_text());
    request["dryRun"] = json!(dry_run);
    let document = session.call(&Call::of(&ISSUE, &request)?.keyed(&write.key()?, "")).await?;
    let (chain_pem, bundle_pem) = (text(&document, "chainPem"), text(&document, "bundlePem"));
    match (&folder, &made) {
        _ if dry_run => {}
        (Some(folder), Some(made)) => folder.write(made, chain_pem, bundle_pem)?,
        (Some(folder), None) => folder.write_public(chain_pem, bundle_pem)?,
        (None, _) => {}
    }
    if let Some(why) = not_valid_at(time::now_ms().unwrap_or(0) / 1000, validity(chain_pem).as_ref()) {
        session.notes().warn(&format!("{why}; omnirelay mesh check says whose"));
    }
    let name = args.who.shown();
    let lines = match &folder {
        // A request from elsewhere, and no folder: what is wanted is the certificate.
        None if !dry_run => chain_pem.to_owned(),
        Some(_) | None => told(&name, &document),
    };
    session.show(&CommandOutput::lines(document, format!("{KIND}/{name}"), lines))?;
    if let (Some(path), false) = (&args.out, dry_run) {
        session.notes().say(&format!("Written to {}", path.display()));
    }
    Ok(if write.exit_code { Exit::Negative } else { Exit::Ok })
}

/// `certificate/operator/ann issued`, and below it what it says.
pub(super) fn told(name: &str, document: &Value) -> String {
    let head = changed::head(&format!("{KIND}/{name}"), document, "issued", "");
    changed::told(&head, changed::lines(document, "issued"))
}

fn read(path: &std::path::Path) -> Result<String, CliError> {
    std::fs::read_to_string(path).map_err(|error| {
        CliError::usage(format!("cannot read the request {}", path.display())).cause(chain(&error))
    })
}
