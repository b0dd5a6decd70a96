//! `cert ca protect`.

use omnirelay_wire::rpc::certificate_service;

use crate::frame::prelude::*;

const PROTECT: RpcMethod = certificate_service::PROTECT_RECORDS;
pub(super) const LEAF: LeafCommand =
    LeafCommand::write("cert ca protect", &[&PROTECT]).exiting("0 1 2 3 4 5 6 8 9 10 11");

const EXAMPLES: &str = "\
Examples:
  omnirelay cert ca protect --dry-run
  omnirelay cert ca protect --yes --reason \"all daemons are upgraded\"";

/// Let records of who may do what count only when an issuer has signed them
///
/// The authority, bindings, join tokens, the join policy and the transport policy: whoever can write to the store, and is
/// no issuer, changes none of them any more. Those that there are become signed, so they are shown before; look at them.
/// It cannot be taken back, and is refused while a daemon lives that does not know signatures. Asks before, unless --yes.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct CertProtectArgs {
    #[command(flatten)]
    write: WriteArgs,
}

pub(super) async fn run(args: &CertProtectArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let (write, dry_run) = (&args.write, args.write.is_dry_run());
    write.check(session, 1)?;
    write.without_version("the authority")?;
    let request = |digest: &str, dry_run: bool| json!({"digest": digest, "reason": write.reason_text(), "dryRun": dry_run});
    session.announce_target()?;
    let looked = session.call(&Call::of(&PROTECT, &request("", true))?.keyed(&write.key()?, "/look")).await?;
    if dry_run {
        return show(looked, args, session);
    }
    if flag(&looked, "changed") {
        records(&looked).iter().for_each(|line| session.notes().say(line));
        write.confirm(session, "Sign these records, and let no others count from now on?")?;
    }
    let request = request(text(&looked, "digest"), false);
    let document = session.call(&Call::of(&PROTECT, &request)?.keyed(&write.key()?, "")).await?;
    if !flag(&document, "recordsProtected") {
        session.notes().say("hint: they are being signed still; look again: omnirelay cert ca show");
    }
    show(document, args, session)
}

fn show(document: Value, args: &CertProtectArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let changed = flag(&document, "changed");
    let head = changed::head("authority/mesh", &document, "protected", "");
    let lines = changed::told(&head, changed::lines(&document, "protected"));
    session.show(&CommandOutput::lines(document, "authority/mesh", lines))?;
    Ok(if changed && args.write.exit_code { Exit::Negative } else { Exit::Ok })
}

/// What becomes signed, a line each.
fn records(document: &Value) -> Vec<String> {
    let line = |record: &Value| {
        let (name, writer) = (text(record, "record"), text(record, "lastWriterId"));
        format!("{name}, written by {writer} at {}", text(record, "updatedAt"))
    };
    items(document, "records").iter().map(line).collect()
}
