//! `mesh revoke`: puts a node out of the mesh.

use omnirelay_wire::rpc::{certificate_service, enrollment_service};

use crate::cert::Revoking;
use crate::entry::{CommandEntry, entry};
use crate::frame::prelude::*;
use crate::schema::documents::message;

pub(crate) const REVOKE: RpcMethod = enrollment_service::REVOKE_NODE;
const REVOKE_SERIAL: RpcMethod = certificate_service::REVOKE;
pub(crate) const LEAF: LeafCommand =
    LeafCommand::write("mesh revoke", &[&REVOKE, &REVOKE_SERIAL]).exiting("0 1 2 3 4 5 6 8 9 10 11");

pub(crate) static ENTRY: CommandEntry = entry!(
    "revoke",
    JoinRevokeArgs,
    asking,
    &[LEAF],
    &[message("node-revocation", "mesh revoke, leave", "omnirelay.security.v1.NodeRevocation")]
);

/// How long the number of a certificate is that the mesh has issued, in hex digits.
const SERIAL_DIGITS: usize = 32;

const EXAMPLES: &str = "\
Examples:
  omnirelay mesh revoke relay-b --yes --reason \"host taken over, INC-4711\"
  omnirelay mesh revoke relay-b --dry-run
  omnirelay mesh revoke 4b7c19e02f5d8a614b7c19e02f5d8a61 --yes --reason \"key in a log\"";

/// Put a node out of the mesh, or one certificate
///
/// Of a node every certificate and every key is out, and its id gets none until it is reinstated; its connections end, its
/// session ends, and its credentials of the store are deleted, if it has some of its own. Asks before, unless --yes.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(crate) struct JoinRevokeArgs {
    /// A node by its id, or a certificate by its number of 32 hex digits
    #[arg(value_name = "NODE|SERIAL")]
    what: String,
    /// Cluster of the node [default: that of the daemon]
    #[arg(long)]
    cluster: Option<String>,
    #[command(flatten)]
    write: WriteArgs,
}

pub(crate) async fn run(args: &JoinRevokeArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let what = args.what.strip_prefix("peer/").or(args.what.strip_prefix("node/")).unwrap_or(&args.what);
    if what.len() == SERIAL_DIGITS && what.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        let change = Revoking {
            rpc: &REVOKE_SERIAL,
            request: json!({"serial": what}),
            shown: &format!("serial/{what}"),
            done: "revoked",
            asks: true,
            write: &args.write,
        };
        return change.run(session).await;
    }
    let write = &args.write;
    write.check(session, 1)?;
    write.without_version("the list of revocations")?;
    if !write.is_dry_run() {
        write.confirm(session, &format!("Put node/{what} out of the mesh?"))?;
    }
    session.announce_target()?;
    let document = put_out(session, write, what, args.cluster.as_deref(), false).await?;
    Ok(if flag(&document, "changed") && write.exit_code { Exit::Negative } else { Exit::Ok })
}

/// Puts a node out, and tells of it.
pub(crate) async fn put_out(
    session: &mut CommandSession,
    write: &WriteArgs,
    node: &str,
    cluster: Option<&str>,
    leaves: bool,
) -> Result<Value, CliError> {
    let request = json!({
        "node": node, "cluster": cluster, "leaves": leaves, "reason": write.reason_text(),
        "dryRun": write.is_dry_run(),
    });
    let document = session.call(&Call::of(&REVOKE, &request)?.keyed(&write.key()?, "")).await?;
    let shown = format!("node/{node}");
    let head = changed::head(&shown, &document, "put out", "");
    let mut lines = changed::told(&head, changed::lines(&document, "put out"));
    let access = match text(&document, "storeAccess") {
        "deleted" => "  its credentials of the store were deleted\n",
        "none" => "",
        "shared" => "  it knows the credentials of the store that others use: change those now\n",
        "unknown" => {
            "  its credentials of the store were not deleted: repeat this at a daemon that may, or delete them there\n"
        }
        _ => "",
    };
    lines.push_str(access);
    if flag(&document, "sessionEnded") {
        lines.push_str("  its session was ended\n");
    }
    session.show(&CommandOutput::lines(document.clone(), shown, lines))?;
    Ok(document)
}
