//! `mesh namespaces set`.

use omnirelay_wire::rpc::namespace_control_service;

use super::KIND;
use super::get::{GET, one};
use super::spec::NamespacesSpecArgs;
use crate::complete;
use crate::frame::change::ObjectChange;
use crate::frame::prelude::*;

const SET: RpcMethod = namespace_control_service::SET;
pub(super) const LEAF: LeafCommand =
    LeafCommand::write("mesh namespaces set", &[&SET, &GET]).exiting("0 1 2 3 4 5 6 8 9 10 11");

/// How often it is tried while others change the namespace.
const TRIES: usize = 10;

const EXAMPLES: &str = "\
Examples:
  omnirelay mesh namespaces set orders --weight node-1=2
  omnirelay mesh namespaces set orders --self-approval --silent-after-ms 0
  omnirelay mesh namespaces set orders --holder service:orders --reason \"nobody else serves them\"
  omnirelay mesh namespaces set orders -f orders.yaml --if-match 12 --reason \"new policy\"";

/// Change the rules of a namespace
///
/// What that changes of who owns what takes a plan. Flags change what they name. A file replaces all rules.
/// What asks for fewer approvals than before holds once somebody else has asked for the same.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct NamespacesSetArgs {
    /// The namespace
    #[arg(value_name = "NAMESPACE", value_parser = id_of(super::KIND), add = complete::ids(&super::OBJECTS))]
    namespace: String,
    #[command(flatten)]
    spec: NamespacesSpecArgs,
    #[command(flatten)]
    write: WriteArgs,
}

pub(super) async fn run(args: &NamespacesSetArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    for tries_left in (0..TRIES).rev() {
        match once(args, session).await {
            // Its map has changed since it was read, mostly; if it was its rules, they are read again.
            Err(error)
                if tries_left > 0 && args.write.if_match.is_none() && error.is(reasons::VERSION_CONFLICT) => {
            }
            outcome => return outcome,
        }
    }
    once(args, session).await
}

async fn once(args: &NamespacesSetArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let (version, before) = match args.spec.file {
        Some(_) => (None, json!({})),
        None => {
            let found = one(session, &args.namespace).await?;
            (text(&found, "detail.version").parse().ok(), without_null(field(&found, "detail.spec")))
        }
    };
    let mut fields = args.spec.request(before)?;
    fields["namespace"] = json!(args.namespace);
    let mut change = ObjectChange {
        rpc: &SET,
        name: format!("{KIND}/{}", args.namespace),
        write: &args.write,
        question: None,
        done: "set",
        already: "it is so already",
        became: None,
        version,
        fields,
    };
    let document = change.send(session).await?;
    if text(&document, "detail.pending.proposedBy").is_empty() {
        return change.tell(session, document);
    }
    (change.done, change.already) = ("waits for somebody else", "it waits for somebody else already");
    let exit = change.tell(session, document)?;
    session.notes().say(
        "hint: somebody else with mesh.admin has to ask for the same within a day, by the same command; until then the \
         rules are as they were",
    );
    Ok(exit)
}

/// What was said, without what was not.
fn without_null(spec: &Value) -> Value {
    let said = spec.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
    Value::Object(said.map(|(name, value)| (name.clone(), value.clone())).collect())
}
