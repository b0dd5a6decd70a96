//! `cert ca rotate`.

use std::path::{Path, PathBuf};

use omnirelay_wire::rpc::certificate_service;

use super::certified::{CERTIFY, CertifiedBy};
use super::offline::OfflineRoot;
use super::show::{GET, no_authority};
use crate::cert::offline_csr::{PREPARE, prepared};
use crate::frame::prelude::*;

const ROTATE: RpcMethod = certificate_service::ROTATE_AUTHORITY;
pub(super) const LEAF: LeafCommand =
    LeafCommand::write("cert ca rotate", &[&ROTATE, &PREPARE, &GET, &CERTIFY])
        .exiting("0 1 2 4 5 6 8 9 10 11");

const EXAMPLES: &str = "\
Examples:
  omnirelay cert ca rotate --reason \"yearly\"
  omnirelay cert ca rotate --root --reason \"new root\"
  omnirelay cert ca rotate --offline-root /media/root
  omnirelay cert ca rotate --sibling-of east --reason \"yearly\"
  omnirelay cert ca rotate --offline-root /media/root --new-secret --reason \"secret lost\"
  omnirelay cert ca rotate --root --offline-root /media/root-2 --root-before /media/root
  omnirelay cert ca rotate --root --revoke-before --yes --reason \"issuer secret stolen, INC-4711\"";

/// Have another issuer issue, under the same root or a new one
///
/// What was issued before is believed until it ends, and whoever trusts the root before believes what is issued under the
/// new one. Nodes go over to a new root within minutes; operators renew theirs (cert renew). Then the root before can be
/// retired. A daemon that issues does the first of these by itself at two thirds of the issuer's life, where the key of the
/// root is in the registry. Where another cluster has the root, it certifies the next issuer as well (--sibling-of), and a
/// new root is taken along.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct CertRotateArgs {
    /// A new root too
    #[arg(long, conflicts_with_all = ["sibling_of", "certified"])]
    root: bool,
    #[command(flatten)]
    by: CertifiedBy,
    /// Folder with the root's key, if that is not in the registry; with --root the new one is made there
    #[arg(long, value_name = "DIR", conflicts_with_all = ["sibling_of", "certified"])]
    offline_root: Option<PathBuf>,
    /// Seal the issuer's key with the secret that this daemon has, or makes: that of before is lost, or is to be another
    #[arg(long)]
    new_secret: bool,
    /// Folder with the key of the root before, which certifies the new one
    #[arg(long, value_name = "DIR", requires = "root", requires = "offline_root")]
    root_before: Option<PathBuf>,
    /// How many days a new root lives [default: 3650]
    #[arg(long, value_name = "DAYS", requires = "root")]
    root_days: Option<u32>,
    /// How many days the issuer lives [default: 365]
    #[arg(long, value_name = "DAYS")]
    issuer_days: Option<u32>,
    /// Revoke the issuers before and all that they have issued, as their key was stolen; then retire the root before
    #[arg(long)]
    revoke_before: bool,
    #[command(flatten)]
    write: WriteArgs,
}

pub(super) async fn run(args: &CertRotateArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let (write, dry_run) = (&args.write, args.write.is_dry_run());
    write.check(session, 1)?;
    write.without_version("the authority")?;
    if dry_run && (args.offline_root.is_some() || args.by.is_given()) {
        return Err(CliError::usage(
            "--dry-run: a root whose key is elsewhere signs, and that is done or not",
        )
        .hint("leave out --offline-root, --sibling-of and --certified to see what would change"));
    }
    if args.new_secret && args.offline_root.is_none() && !args.by.prepares() {
        return Err(CliError::usage("--new-secret is for a root that is elsewhere")
            .hint("say where: --offline-root DIR or --sibling-of CONTEXT; with a file: cert ca prepare --new-secret"));
    }
    if args.revoke_before && !dry_run {
        let question = "Revoke all that was issued? Nodes have to join again.";
        write.confirm(session, question)?;
    }
    session.announce_target()?;
    let mut request = json!({
        "root": args.root, "rootDays": args.root_days, "issuerDays": args.issuer_days,
        "revokeBefore": args.revoke_before, "reason": write.reason_text(), "dryRun": dry_run,
    });
    let root = match &args.offline_root {
        Some(folder) => Some(certify(folder, args, &mut request, session).await?),
        None => {
            certified_elsewhere(args, &mut request, session).await?;
            None
        }
    };
    let document = session.call(&Call::of(&ROTATE, &request)?.keyed(&write.key()?, "")).await?;
    if let Some((root, cluster)) = root {
        root.note_issuer(&cluster, request["issuerPem"].as_str().unwrap_or_default())?;
    }
    let head = changed::head("authority/mesh", &document, "rotated", "");
    let lines = changed::told(&head, changed::lines(&document, "rotated"));
    session.show(&CommandOutput::lines(document.clone(), "authority/mesh", lines))?;
    if !dry_run {
        say_next(&document, session);
    }
    Ok(if write.exit_code { Exit::Negative } else { Exit::Ok })
}

/// Has the issuer prepared, and signs what is needed by the root's key, which stays where it is.
async fn certify(
    folder: &Path,
    args: &CertRotateArgs,
    request: &mut Value,
    session: &mut CommandSession,
) -> Result<(OfflineRoot, String), CliError> {
    let known = session.call(&Call::of(&GET, &json!({}))?).await?;
    let domain = text(&known, "authority.trustDomain");
    if domain.is_empty() {
        return Err(no_authority());
    }
    let before = args.root_before.as_deref().map(OfflineRoot::open).transpose()?;
    let root = match args.root {
        true => OfflineRoot::open_or_make(folder, domain, args.root_days)?,
        false => OfflineRoot::open(folder)?,
    };
    let prepared = prepared(&args.write, args.new_secret, session).await?;
    // The issuer of now leads to the root before. Where it is to be out its key was stolen, or somebody may have its secret.
    let vouching = if args.root { before.as_ref() } else { Some(&root) };
    let vouching = vouching.filter(|_| !args.revoke_before && !args.new_secret);
    prepared.check(vouching, &args.write, session)?;
    request["issuerPem"] = json!(root.certify(&prepared.csr, &prepared.cluster, args.issuer_days)?);
    if args.root {
        request["rootPem"] = json!(root.pem());
        request["acrossPem"] = json!(before.map(|before| before.across(&root)).transpose()?);
    }
    Ok((root, prepared.cluster))
}

/// Takes the issuer that a root of another cluster has certified, and that root where this mesh does not trust it yet.
async fn certified_elsewhere(
    args: &CertRotateArgs,
    request: &mut Value,
    session: &mut CommandSession,
) -> Result<(), CliError> {
    if !args.by.is_given() {
        return Ok(());
    }
    let known = session.call(&Call::of(&GET, &json!({}))?).await?;
    let certified = match args.by.prepares() {
        false => args.by.read()?,
        true => {
            let prepared = prepared(&args.write, args.new_secret, session).await?;
            prepared.check(None, &args.write, session)?;
            args.by.certify(&prepared, args.issuer_days, &args.write, session).await?
        }
    };
    let Some(certified) = certified else { return Ok(()) };
    request["issuerPem"] = json!(certified.issuer);
    let is_known = |root: &&Value| text(root, "pem") == certified.root;
    if !items(&known, "authority.roots").iter().any(|root| is_known(&root)) {
        if certified.across.is_empty() {
            return Err(CliError::new(
                omnirelay_wire::reasons::ROOT_NOT_FOUND,
                "the issuer leads to a root that this mesh does not trust, and which none of its roots has certified",
            )
            .hint("have it certified there again: cert ca certify --root-before DIR where the root is kept offline"));
        }
        request["root"] = json!(true);
        request["rootPem"] = json!(certified.root);
        request["acrossPem"] = json!(certified.across);
    }
    Ok(())
}

fn say_next(document: &Value, session: &CommandSession) {
    if !flag(document, "changed") {
        return;
    }
    if let [_, older, ..] = items(document, "authority.roots") {
        let fingerprint = text(older, "fingerprint");
        session
            .notes()
            .say("hint: once operators have renewed their certificates (omnirelay cert renew DIR),");
        session.notes().say(&format!("      omnirelay cert ca retire {fingerprint}"));
    }
}
