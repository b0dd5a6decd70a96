//! `registers resync`: pushes what a node hosts to a pool, and follows it to its end.

use std::path::PathBuf;

use omnirelay_wire::pb::omnirelay::registers::v1::{AdvertisedRegister, ResyncRequest};
use omnirelay_wire::rpc::advertisement_service;
use serde_json::Map;

use super::file::{self, FileFormat};
use super::{plan, synced};
use crate::frame::client::fresh_key;
use crate::frame::prelude::*;
use crate::node::NODE;
use crate::node::NodeArgs;
use crate::ops;
use crate::ops::follow::{OperationFollower, OperationWaitArgs, WATCH};
use crate::peers;

pub(super) const RESYNC: RpcMethod = advertisement_service::RESYNC;
pub(super) const LEAF: LeafCommand =
    LeafCommand::write("registers resync", &[&RESYNC, &WATCH, &peers::get::GET, &peers::LIST, &NODE]);

const EXAMPLES: &str = "\
Examples:
  omnirelay registers resync
  omnirelay registers resync --full --dry-run --exit-code
  omnirelay registers resync --full --node node-2 --reason \"after the import\"
  omnirelay registers resync --full --file registers.jsonl
  omnirelay registers resync --peer http://peer-service:8080 --timeout 10m
  omnirelay registers resync --no-wait -o name | omnirelay ops wait -";

/// Push what a node hosts to the pool
///
/// What is the same already costs nothing. With --full the set is all there is, and what the node advertises
/// besides is withdrawn: a person is shown what and asked, a script is not, for --full is its consent. More than
/// ten that are more than half are refused with 4 unless --yes.
///
/// Waits until it has ended. Exits with 7 when some were not synced or wait in memory for the store, 1 when it
/// failed, 4 when somebody cancelled it, 8 when it goes on after --timeout. Interrupted it goes on: omnirelay ops
/// looks at it and cancels it.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
#[command(mut_arg("if_match", |argument| argument.hide(true)))]
pub(super) struct RegistersResyncArgs {
    /// Withdraw what is not in the set that is pushed
    #[arg(long)]
    full: bool,
    /// Push the registers of this file, and not the catalogue; - is standard input
    ///
    /// A JSON list, an object with `registers` or `advertisements`, JSON Lines, or any of it as YAML. A register
    /// is public unless its isPublic says false. Cannot go with both --full and --peer: a pool elsewhere does not
    /// tell a file's registers from the others, and would lose those.
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Push to the peer service at this address, and not to the node's own pool
    #[arg(long, value_name = "URL")]
    peer: Option<String>,
    /// At most this many in one commit, 1 to 256 [default: 256]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=256))]
    batch: Option<u32>,
    #[command(flatten)]
    wait: OperationWaitArgs,
    #[command(flatten)]
    write: WriteArgs,
}

pub(super) async fn run(
    args: &RegistersResyncArgs,
    node: &NodeArgs,
    session: &mut CommandSession,
) -> Result<Exit, CliError> {
    args.write.without_version("a resync")?;
    args.write.check(session, 1)?;
    let request = request(args)?;
    let names_node = node.is_needed_again(session)?;
    let request = ResyncRequest { node_id: node.go(session).await?, ..request };
    session.announce_target()?;
    if args.write.is_dry_run() {
        return dry_run(args, session, &request).await;
    }
    let agreed = confirm(args, session, &request).await?;
    let request = ResyncRequest { override_brake: request.override_brake || agreed, ..request };
    let key = args.write.key()?;
    let begun = ask(session, &request, &key).await?;
    let operation = field(&begun, "operation").clone();
    if !args.wait.waits() {
        let id = text(&operation, "operationId").to_owned();
        session.show(&CommandOutput::lines(begun, format!("{}/{id}", ops::KIND), format!("{id}\n")))?;
        return Ok(Exit::Ok);
    }
    let timeout = args.wait.timeout.0;
    let mut follow = OperationFollower::of(session, operation, names_node);
    if !follow.until_ended(session, timeout, OperationFollower::deadline(timeout)).await? {
        return Ok(Exit::Interrupted);
    }
    finish(args, node, session, follow.operation())
}

/// Shows what was done, and says what was not.
fn finish(
    args: &RegistersResyncArgs,
    node: &NodeArgs,
    session: &mut CommandSession,
    operation: &Value,
) -> Result<Exit, CliError> {
    let document = synced::document(operation);
    session.show(&synced::view(operation, &document)?)?;
    if let Some(error) = synced::shortfall(operation, &document, &again(args, node)) {
        return Err(error);
    }
    let changed = text(&document, "result") != "unchanged";
    Ok(if changed && args.write.exit_code { Exit::Negative } else { Exit::Ok })
}

/// The request of the command, a dry run and the node apart.
fn request(args: &RegistersResyncArgs) -> Result<ResyncRequest, CliError> {
    let advertisements: Vec<AdvertisedRegister> = match &args.file {
        Some(file) => file::read(file, &FORM)?,
        None => Vec::new(),
    };
    Ok(ResyncRequest {
        full: args.full,
        peer: args.peer.clone().unwrap_or_default(),
        dry_run: false,
        override_brake: args.write.yes,
        reason: args.write.reason_text(),
        from_file: args.file.is_some(),
        advertisements,
        node_id: String::new(),
        batch_size: args.batch.unwrap_or(0),
    })
}

/// As much as one request may carry.
pub(super) const FORM: FileFormat<AdvertisedRegister> = FileFormat {
    bytes_max: 16 * 1024 * 1024,
    too_long: "split it; with --full that is not possible, for what is missing would be withdrawn",
    prepare: public_unless_said,
    check: |_| Ok(()),
};

/// A producer must say whether a register is public; who writes a file means that it is. What a list of registers says
/// besides is left out.
fn public_unless_said(register: &mut Map<String, Value>) {
    for name in ["nodeId", "version", "lastWriterId", "createdAt", "updatedAt", "labels"] {
        register.shift_remove(name);
    }
    if let Some(advertise) = register.shift_remove("advertise") {
        register.entry("isPublic").or_insert(advertise);
    }
    register.entry("isPublic").or_insert(Value::Bool(true));
}

async fn ask(session: &CommandSession, request: &ResyncRequest, key: &str) -> Result<Value, CliError> {
    // One key per request: the same key with another request is a conflict.
    let part = if request.dry_run { "/dry-run" } else { "" };
    let call = Call { awaits_work: true, ..Call::of(&RESYNC, request)?.keyed(key, part) };
    session.call(&call).await.map_err(braked)
}

/// A refusal to remove so many names the flag that has it done, whatever the daemon says.
fn braked(error: CliError) -> CliError {
    let is_told = error.body().hints.iter().any(|hint| hint.contains("--yes"));
    if !error.is(reasons::REMOVES_TOO_MANY) || is_told {
        return error;
    }
    error.hint(synced::OVERRIDE)
}

async fn dry_run(
    args: &RegistersResyncArgs,
    session: &mut CommandSession,
    request: &ResyncRequest,
) -> Result<Exit, CliError> {
    let key = args.write.key()?;
    let document = ask(session, &ResyncRequest { dry_run: true, ..request.clone() }, &key).await?;
    let plan = field(&document, "plan");
    let changes = plan::changes(plan, args.full);
    let (lines, names) = (plan::describe_all(plan, args.full), plan::names(&document));
    session.show(&CommandOutput { document, items: None, names, text: TextForm::Lines(lines) })?;
    Ok(if changes && args.write.exit_code { Exit::Negative } else { Exit::Ok })
}

/// Has what a full sync removes seen and confirmed. Where nobody can be asked, `--full` is the consent, unless the
/// context is protected. True: somebody has seen that more goes than the brake allows, and said yes. Who has seen
/// little go has not agreed to what may be more by the time it is carried out.
async fn confirm(
    args: &RegistersResyncArgs,
    session: &CommandSession,
    request: &ResyncRequest,
) -> Result<bool, CliError> {
    let is_protected = session.target()?.protected;
    let can_ask = !session.settings.no_input && session.notes().can_ask();
    let asks = is_protected || (can_ask && !args.write.yes);
    if !args.full || !asks {
        return Ok(false);
    }
    let preview = ResyncRequest { dry_run: true, ..request.clone() };
    let document = ask(session, &preview, &fresh_key()?).await?;
    let plan = field(&document, "plan");
    session.notes().write(plan::describe(plan, args.full).trim_end());
    if !plan::may_remove(plan) {
        return Ok(false);
    }
    args.write.confirm(session, "Continue?")?;
    Ok(plan::is_braked(plan))
}

/// The command that does the rest of a resync.
fn again(args: &RegistersResyncArgs, node: &NodeArgs) -> String {
    let mut words = vec!["omnirelay registers resync".to_owned()];
    words.extend(args.full.then(|| "--full".to_owned()));
    words.extend(args.file.as_ref().map(|file| format!("--file {}", file.display())));
    words.extend(args.peer.as_ref().map(|peer| format!("--peer {peer}")));
    words.extend(node.node.as_ref().map(|node| format!("--node {node}")));
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn register_of_a_file_is_public_unless_it_says_otherwise() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("registers.json");
        std::fs::write(&path, r#"[{"registerId": "a"}, {"registerId": "b", "isPublic": false}]"#).unwrap();
        let found = file::read(&path, &FORM).unwrap();
        let told: Vec<Option<bool>> = found.iter().map(|one| one.is_public).collect();
        assert_eq!(told, [Some(true), Some(false)]);
        let request = ResyncRequest { from_file: true, advertisements: found, ..ResyncRequest::default() };
        let body = json!(request)["advertisements"].clone();
        assert_eq!(
            body,
            json!([{"registerId": "a", "isPublic": true}, {"registerId": "b", "isPublic": false}])
        );
    }
}
