//! `cert ca certify`.

use std::path::PathBuf;

use omnirelay_core::text::chain;
use omnirelay_pki::request::CertificateRequest;
use omnirelay_wire::reasons;

use super::certified::{CERTIFY, CertifiedIssuer};
use super::files::put;
use super::offline::OfflineRoot;
use crate::frame::prelude::*;

pub(super) const LEAF: LeafCommand =
    LeafCommand::write("cert ca certify", &[&CERTIFY]).exiting("0 1 2 4 5 6 8 9 10 11");

const EXAMPLES: &str = "\
Examples:
  omnirelay cert ca certify west.csr --cluster west --out west-issuer.pem --reason \"second region\"
  omnirelay cert ca certify west.csr --cluster west --out west-issuer.pem --offline-root /media/root";

/// Have the root certify the issuer of another cluster of the trust domain
///
/// The issuer vouches for nodes of that cluster alone. Whom it calls an operator or a service is one of that cluster here,
/// operator:CLUSTER/NAME, and has what a binding of that name gives. The request is what cert ca prepare has written there.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct CertCertifyArgs {
    /// File with the request
    #[arg(value_name = "FILE")]
    request: PathBuf,
    /// The cluster that the issuer is of; its certificate names it
    #[arg(long, value_name = "NAME")]
    cluster: String,
    /// File for the certificate of the issuer and its root
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Folder with the root's key, if that is not in the registry; no daemon is asked then
    #[arg(long, value_name = "DIR")]
    offline_root: Option<PathBuf>,
    /// Folder with the key of the root before, which certifies that one for whoever trusts it alone
    #[arg(long, value_name = "DIR", requires = "offline_root")]
    root_before: Option<PathBuf>,
    /// How many days the issuer lives [default: 365]
    #[arg(long, value_name = "DAYS")]
    issuer_days: Option<u32>,
    #[command(flatten)]
    write: WriteArgs,
}

pub(super) async fn run(args: &CertCertifyArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let (write, dry_run) = (&args.write, args.write.is_dry_run());
    write.check(session, 1)?;
    write.without_version("the issuer of another cluster")?;
    let csr =
        std::fs::read_to_string(&args.request).map_err(|error| unusable(&args.request, chain(&error)))?;
    let request =
        CertificateRequest::from_pem(&csr).map_err(|error| unusable(&args.request, chain(&error)))?;
    if !dry_run {
        session.notes().say(&format!("The key of the issuer is {}.", request.key));
        session.notes().say("Compare it with what cert ca prepare has printed there.");
        write.confirm(session, &format!("Certify it as the issuer of cluster {}?", args.cluster))?;
    }
    let (document, certified) = match &args.offline_root {
        Some(folder) => {
            let root = OfflineRoot::open(folder)?;
            let before = args.root_before.as_deref().map(OfflineRoot::open).transpose()?;
            let issuer = root.certify_first(&csr, &args.cluster, args.issuer_days)?;
            let across = before.map(|before| before.across(&root)).transpose()?.unwrap_or_default();
            let certified = CertifiedIssuer { issuer, root: root.pem(), across };
            let document = json!({
                "schemaVersion": "v1", "changed": !dry_run, "dryRun": dry_run, "issuerPem": certified.issuer,
                "rootPem": certified.root,
            });
            (document, certified)
        }
        None => {
            session.announce_target()?;
            let request = json!({
                "cluster": args.cluster, "csrPem": csr, "issuerDays": args.issuer_days,
                "reason": write.reason_text(), "dryRun": dry_run,
            });
            let document = session.call(&Call::of(&CERTIFY, &request)?.keyed(&write.key()?, "")).await?;
            let certified = CertifiedIssuer::of_answer(&document);
            (document, certified)
        }
    };
    if !dry_run {
        put(&[(args.out.clone(), certified.to_pem().as_bytes(), 0o644)])?;
    }
    let name = format!("issuer/{}", args.cluster);
    let head = changed::head(&name, &document, "certified", "");
    let lines = changed::told(&head, changed::lines(&document, "certified"));
    session.show(&CommandOutput::lines(document, &name, lines))?;
    if !dry_run {
        certified.say_fingerprints(session);
        session.notes().say(&format!(
            "hint: carry {} to cluster {}: omnirelay cert ca init --certified FILE",
            args.out.display(),
            args.cluster
        ));
    }
    Ok(if write.exit_code { Exit::Negative } else { Exit::Ok })
}

fn unusable(path: &std::path::Path, cause: String) -> CliError {
    CliError::new(reasons::FILE, format!("cannot use {}", path.display()))
        .cause(cause)
        .hint("name the file that was written by: omnirelay cert ca prepare --out FILE")
}
