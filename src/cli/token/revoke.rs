//! `token revoke`.

use omnirelay_wire::rpc::enrollment_service;

use super::KIND;
use crate::frame::prelude::*;

const REVOKE: RpcMethod = enrollment_service::REVOKE_TOKEN;
pub(super) const LEAF: LeafCommand =
    LeafCommand::write("token revoke", &[&REVOKE]).exiting("0 1 2 3 5 6 8 9 10 11");

const EXAMPLES: &str = "\
Examples:
  omnirelay token revoke 5f0c9a7b3e1d2486 --reason \"in a log\"";

/// Have a join token let nobody in any more; who joined with it stays
#[derive(Args, Debug)]
#[command(visible_alias = "rm", before_long_help = EXAMPLES)]
pub(super) struct TokenRevokeArgs {
    /// Id of the token
    #[arg(value_name = "ID", value_parser = id_of(super::KIND))]
    id: String,
    #[command(flatten)]
    write: WriteArgs,
}

pub(super) async fn run(args: &TokenRevokeArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let write = &args.write;
    write.check(session, 1)?;
    write.without_version("a join token")?;
    session.announce_target()?;
    let request = json!({"tokenId": args.id, "reason": write.reason_text(), "dryRun": write.is_dry_run()});
    let document = session.call(&Call::of(&REVOKE, &request)?.keyed(&write.key()?, "")).await?;
    let (changed, name) = (flag(&document, "changed"), format!("{KIND}/{}", args.id));
    let head = changed::head(&name, &document, "revoked", "");
    let lines = changed::told(&head, changed::lines(&document, "revoked"));
    session.show(&CommandOutput::lines(document, name, lines))?;
    Ok(if changed && write.exit_code { Exit::Negative } else { Exit::Ok })
}
