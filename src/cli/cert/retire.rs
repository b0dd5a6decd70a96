//! `cert ca retire`.

use omnirelay_wire::rpc::certificate_service;

use crate::frame::prelude::*;

const RETIRE: RpcMethod = certificate_service::RETIRE_ROOT;
pub(super) const LEAF: LeafCommand =
    LeafCommand::write("cert ca retire", &[&RETIRE]).exiting("0 1 2 3 4 5 6 8 9 10 11");

const EXAMPLES: &str = "\
Examples:
  omnirelay cert ca retire 9f2c...e1 --dry-run
  omnirelay cert ca retire 9f2c...e1 --yes --reason \"followed by another\"";

/// Trust a root no more that another one has followed
///
/// Refused while somebody has a valid certificate that leads to it alone, unless --force: then their connections end.
/// Asks before, unless --yes.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct CertRetireArgs {
    /// Which, as `cert ca show` prints it
    #[arg(value_name = "FINGERPRINT")]
    fingerprint: String,
    /// Although certificates lead to it alone
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    write: WriteArgs,
}

pub(super) async fn run(args: &CertRetireArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let (write, dry_run) = (&args.write, args.write.is_dry_run());
    write.check(session, 1)?;
    write.without_version("the authority")?;
    let fingerprint = args.fingerprint.replace(':', "").to_ascii_lowercase();
    if !dry_run {
        write.confirm(session, &format!("Trust the root {fingerprint} no more?"))?;
    }
    session.announce_target()?;
    let request = json!({
        "fingerprint": fingerprint, "force": args.force, "reason": write.reason_text(), "dryRun": dry_run,
    });
    let document = session.call(&Call::of(&RETIRE, &request)?.keyed(&write.key()?, "")).await?;
    let changed = flag(&document, "changed");
    let head = changed::head("authority/mesh", &document, "changed", "");
    let lines = changed::told(&head, changed::lines(&document, "changed"));
    session.show(&CommandOutput::lines(document, "authority/mesh", lines))?;
    Ok(if changed && write.exit_code { Exit::Negative } else { Exit::Ok })
}
