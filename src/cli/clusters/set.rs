//! `mesh clusters set`.

use omnirelay_wire::reasons;
use omnirelay_wire::rpc::cluster_control_service;

use super::KIND;
use super::get::{GET, one};
use crate::complete;
use crate::frame::change::ObjectChange;
use crate::frame::prelude::*;

const SET: RpcMethod = cluster_control_service::SET;
pub(super) const LEAF: LeafCommand =
    LeafCommand::write("mesh clusters set", &[&SET, &GET]).exiting("0 1 2 4 5 6 8 9 10 11");

const EXAMPLES: &str = "\
Examples:
  omnirelay mesh clusters set west --region us-1 --endpoint node-1.west.example:17420 --endpoint node-2.west.example:17420
  omnirelay mesh clusters set west --maintenance --reason \"moves to another hall, INC-4711\"
  omnirelay mesh clusters set west --no-maintenance
  omnirelay mesh clusters set west --owner sre@acme --annotation tier=1 --dry-run";

/// Say what a cluster is, and where its daemons are called
///
/// What is not named stays as it is; --endpoint, --owner and --annotation replace all of their kind. From then on a daemon
/// that can issue asks that cluster what it has revoked, and lets in whom it vouches for as operator:CLUSTER/NAME.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct ClustersSetArgs {
    /// The cluster, as node.cluster of its daemons
    #[arg(value_name = "CLUSTER", value_parser = id_of(super::KIND), add = complete::ids(&super::OBJECTS))]
    cluster: String,
    /// Region that it is in
    #[arg(long, value_name = "REGION")]
    region: Option<String>,
    /// Which one takes over before others, 0 to 1000; the least first
    #[arg(long, value_name = "NUMBER")]
    priority: Option<u32>,
    /// Control port of one of its daemons (repeatable)
    #[arg(long = "endpoint", value_name = "HOST:PORT")]
    endpoints: Vec<String>,
    /// Who is responsible for it (repeatable)
    #[arg(long = "owner", value_name = "OWNER")]
    owners: Vec<String>,
    /// The ticket of the change
    #[arg(long, value_name = "TICKET")]
    ticket: Option<String>,
    /// Something that is noted of it (repeatable)
    #[arg(long = "annotation", value_name = "NAME=VALUE", value_parser = annotation)]
    annotations: Vec<(String, String)>,
    /// Have it left alone
    #[arg(long, conflicts_with = "no_maintenance")]
    maintenance: bool,
    /// Take the order back to leave it alone
    #[arg(long)]
    no_maintenance: bool,
    #[command(flatten)]
    write: WriteArgs,
}

fn annotation(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or_else(|| format!("`{text}` is no NAME=VALUE"))?;
    Ok((name.to_owned(), value.to_owned()))
}

pub(super) async fn run(args: &ClustersSetArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let known = match one(session, &args.cluster).await {
        Ok(document) => field(&document, "cluster").clone(),
        Err(error) if error.is(reasons::CLUSTER_NOT_FOUND) => json!({ "version": "0" }),
        Err(error) => return Err(error),
    };
    let or_known = |given: &[String], path: &str| match given {
        [] => field(&known, path).clone(),
        given => json!(given),
    };
    let annotations = match &args.annotations[..] {
        [] => field(&known, "annotations").clone(),
        given => given.iter().map(|(name, value)| (name.clone(), json!(value))).collect::<Value>(),
    };
    let is_ordered = field(&known, "maintenanceOrder").is_object();
    let change = ObjectChange {
        rpc: &SET,
        name: format!("{KIND}/{}", args.cluster),
        write: &args.write,
        question: None,
        done: "set",
        already: "it is so already",
        became: None,
        // What was read and is written again must not have changed since.
        version: text(&known, "version").parse().ok(),
        fields: json!({
            "clusterId": args.cluster,
            "region": args.region.as_deref().unwrap_or_else(|| text(&known, "region")),
            "priority": args.priority.map_or_else(|| field(&known, "priority").clone(), |given| json!(given)),
            "replicationEndpoints": or_known(&args.endpoints, "replicationEndpoints"),
            "owners": or_known(&args.owners, "owners"),
            "changeTicket": args.ticket.as_deref().unwrap_or_else(|| text(&known, "changeTicket")),
            "annotations": annotations,
            "maintenance": (is_ordered || args.maintenance) && !args.no_maintenance,
        }),
    };
    change.run(session).await
}
