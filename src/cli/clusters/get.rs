//! `mesh clusters get`.

use omnirelay_wire::rpc::cluster_control_service;

use super::KIND;
use crate::complete;
use crate::frame::prelude::*;

pub(super) const GET: RpcMethod = cluster_control_service::GET;
pub(super) const LEAF: LeafCommand =
    LeafCommand::read("mesh clusters get", &[&GET]).exiting("0 1 2 3 5 6 7 8 9 11");

const EXAMPLES: &str = "\
Examples:
  omnirelay mesh clusters get west
  omnirelay mesh clusters get west -o json | jq -r '.cluster.replicationEndpoints[]'";

/// Show everything known of one or more clusters
#[derive(Args, Debug)]
#[command(visible_alias = "show", before_long_help = EXAMPLES)]
pub(super) struct ClustersGetArgs {
    /// Clusters
    #[arg(required = true, value_name = "CLUSTER", value_parser = id_of(super::KIND),
          add = complete::ids(&super::OBJECTS))]
    clusters: Vec<String>,
    /// Times in UTC instead of ages
    #[arg(long, hide_short_help = true)]
    absolute: bool,
}

pub(super) async fn run(args: &ClustersGetArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let mut batch = BatchOutcomes::new(KIND, "response", "was not found or could not be read");
    for cluster in &args.clusters {
        let result = one(session, cluster).await;
        batch.push(cluster.clone(), result);
    }
    let absolute = args.absolute;
    batch.finish(session, |_, document| describe(document, absolute))
}

/// The answer for one cluster.
pub(super) async fn one(session: &CommandSession, cluster: &str) -> Result<Value, CliError> {
    let document = session.call(&Call::of(&GET, &json!({ "clusterId": cluster }))?).await?;
    session.warn_if_stale(&document);
    Ok(document)
}

/// Everything of a cluster, one line per field.
fn describe(document: &Value, absolute: bool) -> String {
    let cluster = field(document, "cluster");
    let moment = time::moment(document, absolute);
    let ago = |path: &str| time::back(time::ago(field(cluster, path), moment), moment);
    let said = |path: &str| text(cluster, path).to_owned();
    let order = match text(cluster, "maintenanceOrder.by") {
        "" => String::new(),
        by => {
            let why = text(cluster, "maintenanceOrder.reason");
            let why = if why.is_empty() { String::new() } else { format!(": {why}") };
            format!("by {by}, {}{why}", ago("maintenanceOrder.since"))
        }
    };
    let trust = match (flag(cluster, "local"), field(cluster, "trust").is_object()) {
        (true, _) => String::new(),
        (false, false) => "not heard; nobody whom it vouches for is let in".to_owned(),
        (false, true) => format!(
            "list of revocations {}, {} in it; {} keys of tokens; changed {}",
            said("trust.revocationsNumber"),
            plain(field(cluster, "trust.revocations")),
            plain(field(cluster, "trust.tokenKeys")),
            ago("trust.changedAt"),
        ),
    };
    let version = Some(said("version")).filter(|version| version != "0");
    listing(&[
        ("cluster", said("clusterId")),
        ("state", said("state")),
        ("local", if flag(cluster, "local") { "yes".to_owned() } else { "no".to_owned() }),
        ("region", said("region")),
        ("priority", plain(field(cluster, "priority"))),
        ("endpoints", joined(cluster, "replicationEndpoints")),
        ("maintenance", order),
        ("trust", trust),
        ("owners", joined(cluster, "owners")),
        ("ticket", said("changeTicket")),
        ("annotations", pairs(cluster, "annotations")),
        ("version", version.unwrap_or_else(|| "nobody has said anything of it".to_owned())),
        ("writer", said("lastWriterId")),
        ("created", ago("createdAt")),
        ("updated", ago("updatedAt")),
    ])
}
