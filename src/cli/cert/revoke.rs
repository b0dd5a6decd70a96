//! `cert revoke`.

use omnirelay_wire::rpc::certificate_service;

use super::target::shown;
use crate::frame::prelude::*;

const REVOKE: RpcMethod = certificate_service::REVOKE;
pub(super) const LEAF: LeafCommand =
    LeafCommand::write("cert revoke", &[&REVOKE]).exiting("0 1 2 3 4 5 6 8 9 10 11");

const EXAMPLES: &str = "\
Examples:
  omnirelay cert revoke --operator ann --yes --reason \"laptop stolen\"
  omnirelay cert revoke --node relay-b119 --dry-run
  omnirelay cert revoke --serial 4b7c19e02f5d8a61 --yes --reason \"key in a log\"
  omnirelay cert revoke --issuer-of west --yes --reason \"INC-4711\"";

/// Put a holder, or one certificate, out before their time
///
/// Of a holder every certificate and every key is out, and it gets none until it is reinstated. Connections end within
/// seconds, with the calls that are under way on them. Asks before, unless --yes.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct CertRevokeArgs {
    #[command(flatten)]
    which: RevocationTarget,
    /// Cluster of the node [default: that of the daemon]
    #[arg(long)]
    cluster: Option<String>,
    /// Even if nobody with mesh.admin is left who can come in
    #[arg(long)]
    last_administrator: bool,
    #[command(flatten)]
    write: WriteArgs,
}

/// A holder, or a certificate by its number.
#[derive(Args, Clone, Debug)]
#[group(required = true, multiple = false)]
struct RevocationTarget {
    /// A node, by its id
    #[arg(long, value_name = "ID")]
    node: Option<String>,
    /// A service, by its name
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    /// An operator, by name
    #[arg(long, value_name = "NAME")]
    operator: Option<String>,
    /// One certificate, by its number, and what was renewed from it
    #[arg(long, value_name = "SERIAL")]
    serial: Option<String>,
    /// The issuers of another cluster, with all whom they vouch for
    #[arg(long, value_name = "CLUSTER")]
    issuer_of: Option<String>,
}

pub(super) async fn run(args: &CertRevokeArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let RevocationTarget { node, service, operator, serial, issuer_of } = &args.which;
    let request = json!({
        "node": node, "service": service, "operator": operator, "serial": serial, "cluster": args.cluster, "issuerOf": issuer_of,
        "lastAdministrator": args.last_administrator,
    });
    let change = RevocationEdit {
        rpc: &REVOKE,
        request,
        shown: &shown([
            ("node", node),
            ("service", service),
            ("operator", operator),
            ("serial", serial),
            ("issuer of", issuer_of),
        ]),
        done: "revoked",
        asks: true,
        write: &args.write,
    };
    change.run(session).await
}

/// A change of what is revoked.
pub(crate) struct RevocationEdit<'a> {
    pub rpc: &'a RpcMethod,
    pub request: Value,
    /// What it is about.
    pub shown: &'a str,
    /// `revoked`, as in "operator/ann revoked".
    pub done: &'static str,
    /// Whether somebody has to confirm it.
    pub asks: bool,
    pub write: &'a WriteArgs,
}

impl RevocationEdit<'_> {
    /// Carries it out, and tells of it.
    pub(crate) async fn run(self, session: &mut CommandSession) -> Result<Exit, CliError> {
        let Self { rpc, mut request, shown, done, asks, write } = self;
        write.check(session, 1)?;
        write.without_version("the list of revocations")?;
        if asks && !write.is_dry_run() {
            write.confirm(session, &format!("Revoke {shown}?"))?;
        }
        session.announce_target()?;
        request["reason"] = json!(write.reason_text());
        request["dryRun"] = json!(write.is_dry_run());
        let document = session.call(&Call::of(rpc, &request)?.keyed(&write.key()?, "")).await?;
        let changed = flag(&document, "changed");
        let head = changed::head(shown, &document, done, "");
        let lines = changed::told(&head, changed::lines(&document, done));
        session.show(&CommandOutput::lines(document, shown, lines))?;
        Ok(if changed && write.exit_code { Exit::Negative } else { Exit::Ok })
    }
}
