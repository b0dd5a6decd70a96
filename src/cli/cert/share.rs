//! `cert ca share`.

use omnirelay_wire::rpc::certificate_service;

use crate::complete;
use crate::frame::prelude::*;

const SHARE: RpcMethod = certificate_service::SHARE_ISSUER;
pub(super) const LEAF: LeafCommand =
    LeafCommand::write("cert ca share", &[&SHARE]).exiting("0 1 2 3 4 5 6 8 9 10 11");

const EXAMPLES: &str = "\
Examples:
  omnirelay cert ca share node-2 --dry-run
  omnirelay cert ca share node-2 --yes --reason \"a second issuer\"";

/// Let another node issue certificates and sign records as well
///
/// Hands it the secret that the keys of the authority are sealed with, at its mesh port and sealed for that node alone. While
/// the only issuer is away nobody joins, and nobody changes who may do what: have two. Whoever takes over the host of an
/// issuer administers the mesh, and a secret that was handed over is taken back by another one only. Asks before, unless
/// --yes.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct CertShareArgs {
    /// Which node
    #[arg(value_name = "NODE", add = complete::ids(&crate::peers::OBJECTS))]
    node: String,
    #[command(flatten)]
    write: WriteArgs,
}

pub(super) async fn run(args: &CertShareArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let (write, dry_run, node) = (&args.write, args.write.is_dry_run(), &args.node);
    write.check(session, 1)?;
    write.without_version("the authority")?;
    if !dry_run {
        let question = format!("Let {node} issue certificates, and change who may do what?");
        write.confirm(session, &question)?;
    }
    session.announce_target()?;
    let request = json!({"nodeId": node, "reason": write.reason_text(), "dryRun": dry_run});
    let document = session.call(&Call::of(&SHARE, &request)?.keyed(&write.key()?, "")).await?;
    let (changed, issues) = (flag(&document, "changed"), flag(&document, "issues"));
    let head = changed::head("authority/mesh", &document, "changed", &format!("{node} issues already"));
    let lines = changed::told(&head, changed::lines(&document, "changed"));
    session.show(&CommandOutput::lines(document, "authority/mesh", lines))?;
    match (changed && !dry_run, issues) {
        (true, true) => session.notes().say(&format!("{node} issues from now on")),
        (true, false) => session
            .notes()
            .say("hint: it has the secret, and does not say yet that it issues: omnirelay cert ca show"),
        (false, _) => {}
    }
    Ok(if changed && write.exit_code { Exit::Negative } else { Exit::Ok })
}
