//! `mesh namespaces create`.

use omnirelay_wire::rpc::namespace_control_service;

use super::KIND;
use super::list::state;
use super::spec::NamespacesSpecArgs;
use crate::frame::change::ObjectChange;
use crate::frame::prelude::*;

const CREATE: RpcMethod = namespace_control_service::CREATE;
pub(super) const LEAF: LeafCommand =
    LeafCommand::write("mesh namespaces create", &[&CREATE]).exiting("0 1 2 4 5 6 8 9 10 11");

const EXAMPLES: &str = "\
Examples:
  omnirelay mesh namespaces create orders --shards 128
  omnirelay mesh namespaces create orders --shards 128 --holder service:orders
  omnirelay mesh namespaces create orders --shards 128 --strategy ring --weight node-1=2 --self-approval
  omnirelay mesh namespaces create orders -f orders.yaml --dry-run
  echo '{\"named\": [{\"shardId\": \"eu\", \"localityHint\": \"region:eu\"}]}' | omnirelay mesh namespaces create tenants -f -";

/// Make a namespace and its shards, and give them owners
///
/// Shards are called by their numbers, all with as many digits, unless a file names them. Whoever leads global-control makes
/// them; nobody sees them before all are there, and the command waits for that.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct NamespacesCreateArgs {
    /// Its name: up to 128 of letters, digits and . _ : -
    #[arg(value_name = "NAMESPACE", value_parser = id_of(super::KIND))]
    namespace: String,
    /// How many shards
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    shards: Option<u32>,
    #[command(flatten)]
    spec: NamespacesSpecArgs,
    #[command(flatten)]
    write: WriteArgs,
}

pub(super) async fn run(args: &NamespacesCreateArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let mut fields = args.spec.request(json!({}))?;
    fields["namespace"] = json!(args.namespace);
    if let Some(shards) = args.shards {
        fields["shards"] = json!(shards);
    }
    let change = ObjectChange {
        rpc: &CREATE,
        name: format!("{KIND}/{}", args.namespace),
        write: &args.write,
        question: None,
        done: "created",
        already: "it is there already, and the same",
        became: None,
        version: None,
        fields,
    };
    let document = change.send(session).await?;
    let (detail, dry) = (field(&document, "detail").clone(), flag(&document, "dryRun"));
    let exit = change.tell(session, document)?;
    if !dry && !flag(&detail, "ready") {
        session.notes().say(&format!(
            "{KIND}/{} is {}: nobody leads global-control, or it takes its time",
            args.namespace,
            state(&detail)
        ));
        session.notes().say(&format!("hint: omnirelay mesh namespaces get {}", args.namespace));
    }
    Ok(exit)
}
