//! `token create`.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use omnirelay_core::text::chain;
use omnirelay_pki::join_token::JoinToken;
use omnirelay_pki::key::Fingerprint;
use omnirelay_wire::rpc::{certificate_service, enrollment_service};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use zeroize::Zeroizing;

use super::KIND;
use crate::frame::global::Lifetime;
use crate::frame::prelude::*;

const CREATE: RpcMethod = enrollment_service::CREATE_TOKEN;
const GET: RpcMethod = certificate_service::GET_AUTHORITY;
pub(super) const LEAF: LeafCommand =
    LeafCommand::write("token create", &[&CREATE, &GET]).exiting("0 1 2 4 5 6 8 9 10 11");

const EXAMPLES: &str = "\
Examples:
  omnirelay token create > token
  omnirelay token create --role gateway --node relay-a --out token --reason \"INC-4711\"
  omnirelay token create --uses 20 --ttl 30m --name '*.eu.example' --out token";

/// Make a join token, and print it: who has it can join a host
///
/// It is made here, and the mesh learns only what tells whether somebody has it. It is printed this once.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct TokenCreateArgs {
    /// Role of the nodes that join with it [default: worker]
    #[arg(long)]
    role: Option<String>,
    /// Cluster of the nodes that join with it [default: that of the daemon]
    #[arg(long)]
    cluster: Option<String>,
    /// How long it lets nodes in, 1m to 7d [default: 1h]
    #[arg(long, value_name = "DURATION")]
    ttl: Option<Lifetime>,
    /// How many nodes may join with it, 1 to 1000
    #[arg(long, value_name = "N", default_value_t = 1)]
    uses: u32,
    /// Only a node with this id (repeatable)
    #[arg(long, value_name = "ID")]
    node: Vec<String>,
    /// A further DNS name or address that the node may be called by, or all below *.DOMAIN (repeatable)
    #[arg(long, value_name = "NAME")]
    name: Vec<String>,
    /// Although the node has a valid certificate of another key: a host that was set up anew
    #[arg(long)]
    replace: bool,
    /// Write it to this file, which nobody else can read, instead of printing it
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    write: WriteArgs,
}

pub(super) async fn run(args: &TokenCreateArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let (write, dry_run) = (&args.write, args.write.is_dry_run());
    write.check(session, 1)?;
    write.without_version("a token that is made")?;
    if args.replace && args.node.is_empty() {
        return Err(CliError::usage("--replace: a token that replaces a host that lives says which node")
            .hint("add --node ID"));
    }
    if let Some(path) = args.out.as_deref().filter(|_| !dry_run) {
        refuse_existing(path)?;
    }
    session.announce_target()?;
    let token = JoinToken::make(root(session).await?).map_err(unmade)?;
    let verifier = token.verifier().map_err(unmade)?;
    let id = token.id().to_string();
    let request = json!({
        "tokenId": id, "verifier": BASE64_STANDARD.encode(verifier.as_bytes()), "cluster": args.cluster,
        "role": args.role, "lifetimeSeconds": args.ttl.map(|lifetime| lifetime.0), "usesMax": args.uses,
        "nodes": args.node, "names": args.name, "replace": args.replace,
        "reason": write.reason_text(), "dryRun": dry_run,
    });
    let document = session.call(&Call::of(&CREATE, &request)?.keyed(&write.key()?, "")).await?;
    for warning in items(&document, "warnings").iter().filter_map(Value::as_str) {
        session.notes().warn(warning);
    }
    let name = format!("{KIND}/{id}");
    let head = changed::head(&name, &document, "made", "");
    let told = changed::told(&head, changed::lines(&document, "made"));
    match &args.out {
        _ if dry_run => session.show(&CommandOutput::lines(document, name, told))?,
        Some(path) => {
            keep(path, &token)?;
            session.show(&CommandOutput::lines(document, name, told))?;
            session.notes().say(&format!("Written to {}: who has it can join.", path.display()));
        }
        None => show(session, document, &name, &told, &token)?,
    }
    Ok(if write.exit_code { Exit::Negative } else { Exit::Ok })
}

/// Prints the token as data, and what it is for beside it.
fn show(
    session: &mut CommandSession,
    mut document: Value,
    name: &str,
    told: &str,
    token: &JoinToken,
) -> Result<(), CliError> {
    let secret = token.text();
    if session.format().is_text() {
        session.notes().say(told.trim_end());
    }
    document["joinToken"] = json!(*secret);
    session.show(&CommandOutput::lines(document, name, format!("{}\n", *secret)))?;
    session.notes().say("It is not shown again: who has it can join.");
    Ok(())
}

/// The fingerprint of the root that hosts must find.
async fn root(session: &CommandSession) -> Result<Fingerprint, CliError> {
    let authority = session.call(&Call::of(&GET, &json!({}))?).await?;
    let root = CertificateDer::from_pem_slice(text(&authority, "bundlePem").as_bytes());
    root.map(|root| Fingerprint::of(&root)).map_err(|_| {
        CliError::new(reasons::NO_AUTHORITY, "this mesh has no certificate authority")
            .hint("omnirelay cert ca init")
    })
}

/// Refuses to write over a file, before anything is made.
fn refuse_existing(path: &Path) -> Result<(), CliError> {
    // Whether a link leads anywhere does not matter.
    if path.symlink_metadata().is_ok() { Err(exists(path)) } else { Ok(()) }
}

fn exists(path: &Path) -> CliError {
    let message = format!("{} is there already, and would be lost", path.display());
    CliError::new(reasons::FILE_EXISTS, message).hint("choose another file with --out")
}

/// Writes it to a file that was not there.
fn keep(path: &Path, token: &JoinToken) -> Result<(), CliError> {
    let text = Zeroizing::new(format!("{}\n", *token.text()));
    let written = omnirelay_store::whole_file::write_new(path, text.as_bytes());
    written.map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => exists(path),
        _ => CliError::local(reasons::FILE, format!("cannot write {}", path.display()), &error),
    })
}

fn unmade(error: omnirelay_pki::join_token::JoinTokenError) -> CliError {
    CliError::new(reasons::RANDOM, "cannot make a token").cause(chain(&error))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_token_is_written_over_nothing() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("token");
        let token = JoinToken::make(Fingerprint::of(b"root")).unwrap();
        refuse_existing(&path).unwrap();
        keep(&path, &token).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let before = std::fs::read(&path).unwrap();
        let other = JoinToken::make(Fingerprint::of(b"root")).unwrap();
        for refused in [refuse_existing(&path), keep(&path, &other)] {
            assert_eq!(refused.unwrap_err().body().reason, "FILE_EXISTS");
        }
        assert_eq!(std::fs::read(&path).unwrap(), before);
        let dangling = place.path().join("link");
        std::os::unix::fs::symlink(place.path().join("elsewhere"), &dangling).unwrap();
        assert!(refuse_existing(&dangling).is_err() && keep(&dangling, &other).is_err());
    }
}
