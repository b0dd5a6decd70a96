//! `cert ca init`.

use std::path::PathBuf;

use omnirelay_pki::certificate::TlsNames;
use omnirelay_wire::rpc::{binding_service, certificate_service};

use super::certified::{CERTIFY, CertifiedBy, CertifiedIssuer};
use super::files::{CertificateFolder, GeneratedKey};
use super::offline::OfflineRoot;
use crate::cert::offline_csr::{PREPARE, prepared};
use crate::frame::prelude::*;

const INIT: RpcMethod = certificate_service::INIT_AUTHORITY;
const GET: RpcMethod = certificate_service::GET_AUTHORITY;
const BIND: RpcMethod = binding_service::SET;
pub(super) const LEAF: LeafCommand =
    LeafCommand::write("cert ca init", &[&INIT, &GET, &BIND, &PREPARE, &CERTIFY])
        .exiting("0 1 2 4 5 6 8 9 10 11");

/// The trust domain of an authority whose maker names none.
const DOMAIN: &str = "mesh.local";
/// All that there is.
const SCOPES: [&str; 4] = ["mesh.connect", "mesh.read", "mesh.operate", "mesh.admin"];

const EXAMPLES: &str = "\
Examples:
  omnirelay --addr unix:/run/omnirelay/control.sock cert ca init --trust-domain mesh.example
  omnirelay --addr unix:/run/omnirelay/control.sock cert ca init --sibling-of east
  omnirelay --addr unix:/run/omnirelay/control.sock cert ca init --certified west-issuer.pem
  omnirelay cert ca init --operator ann --out ~/.omnirelay/ann --yes
  omnirelay cert ca init --offline-root /media/root --trust-domain mesh.example
  omnirelay cert ca init --dry-run";

/// Make the certificate authority of the mesh, and a first operator
///
/// The daemon that is asked makes the keys of the authority and keeps them in the registry, sealed with a secret in its
/// data directory: whoever has that secret can issue. The operator's key is made here and stays here. From then on being
/// on a daemon's host proves nothing, unless security.loopback is open; its control socket stays.
///
/// With --sibling-of this cluster becomes one of several of a trust domain: the root of the other certifies the issuer of
/// this one, whose certificates are believed by both. Where no daemon of this cluster reaches the other, the request is
/// carried there and back: cert ca prepare, cert ca certify, then --certified.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct CertInitArgs {
    /// Whose certificates they are; it stands in each of them [default: mesh.local]
    #[arg(long, value_name = "DOMAIN", conflicts_with_all = ["sibling_of", "certified"])]
    trust_domain: Option<String>,
    /// Who gets the first certificate, and every scope
    #[arg(long, value_name = "NAME", default_value = "admin")]
    operator: String,
    /// Folder for that certificate [default: certs/OPERATOR beside the file of contexts]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Folder in which the root and its key are made and stay; the registry has the issuer's alone
    #[arg(long, value_name = "DIR", conflicts_with_all = ["sibling_of", "certified"])]
    offline_root: Option<PathBuf>,
    #[command(flatten)]
    by: CertifiedBy,
    /// How many days the root lives [default: 3650]
    #[arg(long, value_name = "DAYS", conflicts_with_all = ["sibling_of", "certified"])]
    root_days: Option<u32>,
    /// How many days the issuer lives that the root signs [default: 365]
    #[arg(long, value_name = "DAYS")]
    issuer_days: Option<u32>,
    /// Write over a key that is in the folder
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    write: WriteArgs,
}

pub(super) async fn run(args: &CertInitArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let (write, dry_run) = (&args.write, args.write.is_dry_run());
    write.check(session, 1)?;
    write.without_version("an authority that is made")?;
    let folder = CertificateFolder::of(&out(args, session));
    if !dry_run {
        let known = session.call(&Call::of(&GET, &json!({}))?).await?;
        if field(&known, "authority").is_object() {
            let domain = text(&known, "authority.trustDomain");
            return Err(CliError::new(
                omnirelay_wire::reasons::AUTHORITY_EXISTS,
                format!("this mesh has a certificate authority, of `{domain}`"),
            )
            .hint("omnirelay cert ca show"));
        }
        args.by.check_other(session).await?;
        write.confirm(session, "Make the certificate authority of this mesh?")?;
        folder.prepare(args.force)?;
    }
    session.announce_target()?;
    let made = GeneratedKey::of(&TlsNames::default())?;
    let mut request = json!({
        "trustDomain": args.trust_domain, "rootDays": args.root_days, "issuerDays": args.issuer_days,
        "operator": args.operator, "csr": made.csr, "reason": write.reason_text(), "dryRun": dry_run,
    });
    let root = match &args.offline_root {
        Some(folder) if !dry_run => {
            let domain = args.trust_domain.as_deref().unwrap_or(DOMAIN);
            let root = OfflineRoot::open_or_make(folder, domain, args.root_days)?;
            let prepared = prepared(write, false, session).await?;
            prepared.check(None, write, session)?;
            request["rootPem"] = json!(root.pem());
            request["issuerPem"] =
                json!(root.certify_first(&prepared.csr, &prepared.cluster, args.issuer_days)?);
            Some((root, prepared.cluster))
        }
        Some(_) | None => None,
    };
    if let Some(certified) = certified_elsewhere(args, session).await? {
        request["rootPem"] = json!(certified.root);
        request["issuerPem"] = json!(certified.issuer);
    }
    // Before there is an authority: afterwards whoever asks may be nobody any more. And once all else is there.
    if !dry_run {
        bind(args, session).await?;
    }
    let document = session.call(&Call::of(&INIT, &request)?.keyed(&write.key()?, "")).await?;
    if !dry_run {
        folder.write(&made, text(&document, "chainPem"), text(&document, "bundlePem"))?;
    }
    if let Some((root, cluster)) = &root {
        root.note_issuer(cluster, request["issuerPem"].as_str().unwrap_or_default())?;
    }
    let issuer = items(&document, "authority.issuers").first();
    let cluster = issuer.map(|issuer| text(issuer, "cluster").to_owned()).unwrap_or_default();
    let head = changed::head("authority/mesh", &document, "made", "");
    let lines = changed::told(&head, changed::lines(&document, "made"));
    session.show(&CommandOutput::lines(document, "authority/mesh", lines))?;
    if !dry_run {
        say_next(&folder, &cluster, session);
        if let Some((root, _)) = root {
            let key = root.key().display();
            session.notes().say(&format!("The root's key is {key}; take it away from here, and keep it."));
        }
    }
    Ok(if write.exit_code { Exit::Negative } else { Exit::Ok })
}

/// The issuer that a root of another cluster has certified, if one is meant.
async fn certified_elsewhere(
    args: &CertInitArgs,
    session: &mut CommandSession,
) -> Result<Option<CertifiedIssuer>, CliError> {
    if args.write.is_dry_run() && args.by.is_given() {
        return Err(CliError::usage("--dry-run: a root elsewhere certifies, and that is done or not")
            .hint("leave out --sibling-of and --certified to see what would change"));
    }
    if !args.by.prepares() {
        let certified = args.by.read()?;
        certified.iter().try_for_each(|certified| certified.confirm(&args.write, session))?;
        return Ok(certified);
    }
    let prepared = prepared(&args.write, false, session).await?;
    prepared.check(None, &args.write, session)?;
    args.by.certify(&prepared, args.issuer_days, &args.write, session).await
}

async fn bind(args: &CertInitArgs, session: &CommandSession) -> Result<Value, CliError> {
    let principal = format!("operator:{}", args.operator);
    let reason = format!("the first operator; {}", args.write.reason_text());
    let request = json!({
        "principal": principal, "scopes": SCOPES, "reason": reason.trim_end_matches("; "),
    });
    session.call(&Call::of(&BIND, &request)?.keyed(&args.write.key()?, "/binding")).await
}

/// Where the files go.
fn out(args: &CertInitArgs, session: &CommandSession) -> PathBuf {
    let beside = || session.settings.config_path.with_file_name("certs").join(&args.operator);
    args.out.clone().unwrap_or_else(beside)
}

fn say_next(folder: &CertificateFolder, cluster: &str, session: &CommandSession) {
    let absolute = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
    let (key, chain, bundle) = (folder.key(), absolute(folder.chain()), absolute(folder.bundle()));
    let of = if cluster.is_empty() { String::new() } else { format!(" --tls-cluster {cluster}") };
    let notes = session.notes();
    notes.say(&format!("The operator's key is {}; nobody else has it.", key.display()));
    notes.say(&format!(
        "hint: omnirelay context add secure --address https://HOST:17420 --tls-ca {} --tls-cert {} --tls-key {}{of}",
        bundle.display(),
        chain.display(),
        absolute(folder.key()).display()
    ));
}
