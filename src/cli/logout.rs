//! `omnirelay logout`: a context forgets its token, and the mesh takes it no more.

use omnirelay_wire::rpc::token_service;

use super::entry::{CommandEntry, entry};
use super::frame::address::Address;
use super::login::kept::{KeptToken, is_of_mesh};
use super::schema::documents::message;
use crate::frame::prelude::*;

const REVOKE: RpcMethod = token_service::REVOKE_TOKEN;
const LEAF: LeafCommand = LeafCommand::write("logout", &[&REVOKE]).exiting("0 1 2 4 5 6 8 9 10 11");
pub(crate) static ENTRY: CommandEntry = entry!(
    "logout",
    LogoutArgs,
    asking,
    &[LEAF],
    &[message("token-revocation", "logout", "omnirelay.security.v1.TokenRevocation")]
);

const EXAMPLES: &str = "\
Examples:
  omnirelay logout
  omnirelay logout --context prod-eu --keep";

/// Forget the token of the context, and have the mesh take it no more
///
/// A token of an issuer outside is forgotten here and holds on until it ends.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(crate) struct LogoutArgs {
    /// Only forget it here; whoever has it can use it until it ends
    #[arg(long)]
    keep: bool,
    #[command(flatten)]
    write: WriteArgs,
}

async fn run(args: &LogoutArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let (kept, write) = (KeptToken::of(session)?, &args.write);
    let (context, dry_run) = (kept.context().to_owned(), write.is_dry_run());
    let Some(token) = kept.token()? else {
        if !dry_run {
            kept.forget()?;
        }
        let lines = format!("context/{context} has no token\n");
        let document = json!({"schemaVersion": "v1", "changed": false, "dryRun": dry_run});
        session.show(&CommandOutput::lines(document, format!("context/{context}"), lines))?;
        return Ok(Exit::Ok);
    };
    let revoked =
        if args.keep || !is_of_mesh(&token) { None } else { revoke(write, &token, session).await? };
    if !dry_run {
        kept.forget()?;
    }
    let (done, would) = if dry_run { ("would be logged out", " would be") } else { ("logged out", " is") };
    let what = match &revoked {
        Some(_) => format!("token{would} revoked"),
        None => format!("token{would} forgotten here, and not revoked"),
    };
    let document =
        revoked.unwrap_or_else(|| json!({"schemaVersion": "v1", "changed": !dry_run, "dryRun": dry_run}));
    session.show(&CommandOutput::lines(
        document,
        format!("context/{context}"),
        format!("context/{context} {done}\n  {what}\n"),
    ))?;
    Ok(if write.exit_code { Exit::Negative } else { Exit::Ok })
}

/// Puts the token out; `None` when it is out already.
async fn revoke(write: &WriteArgs, token: &str, session: &CommandSession) -> Result<Option<Value>, CliError> {
    write.check(session, 1)?;
    write.without_version("a token")?;
    session.announce_target()?;
    let target = session.target()?;
    let is_plain = |address: &&Address| !address.is_loopback() && !address.is_tls();
    if let Some(address) = target.addresses.iter().find(is_plain) {
        return Err(CliError::usage(format!("{address} gets no token: it would go there in plaintext"))
            .hint(
                "name an address that begins with https://, or forget it here alone: omnirelay logout --keep",
            ));
    }
    let request = json!({"reason": write.reason_text(), "dryRun": write.is_dry_run()});
    let mut call = Call::of(&REVOKE, &request)?.keyed(&write.key()?, "");
    call.headers.push(("authorization".to_owned(), format!("Bearer {token}")));
    match session.call(&call).await {
        Ok(document) => Ok(Some(document).filter(|document| flag(document, "changed"))),
        Err(error) if error.exit() == Exit::Unauthenticated => Ok(None),
        Err(error) => Err(error.hint("omnirelay logout --keep forgets it here; it holds until it ends")),
    }
}
