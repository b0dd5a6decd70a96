//! `mesh domains list`.

use omnirelay_wire::rpc::domain_control_service;

use super::KIND;
use crate::frame::list;
use crate::frame::prelude::*;

pub(crate) const LIST: RpcMethod = domain_control_service::LIST;
pub(super) const LEAF: LeafCommand = LeafCommand::read("mesh domains list", &[&LIST]).listing(&COLUMNS, &[]);

const EXAMPLES: &str = "\
Examples:
  omnirelay mesh domains list
  omnirelay mesh domains list -o json | jq '.domains[] | select(.replica.lagMs > 1000)'";

/// List the domains, where each is active, and how far it is followed
#[derive(Args, Debug)]
#[command(visible_alias = "ls", before_long_help = EXAMPLES)]
pub(super) struct DomainsListArgs {
    #[command(flatten)]
    table: TableArgs,
}

static COLUMNS: &[Column] = &[
    Column::new("domain", |domain, _| text(domain, "domain").to_owned()).keep(),
    Column::new("active", |domain, _| text(domain, "activeCluster").to_owned()).keep(),
    Column::new("here", |domain, _| state(domain)),
    Column::new("lag", |domain, _| lag(domain)),
    Column::new("version", |domain, _| text(domain, "version").to_owned()),
    Column::new("namespaces", |domain, _| namespaces(domain)),
    Column::new("followers", |domain, _| {
        items(domain, "followers").iter().map(follower).collect::<Vec<_>>().join(", ")
    }),
    Column::new("applied", |domain, _| text(domain, "replica.applied").to_owned()).wide(),
    Column::new("heard", |domain, moment| time::ago(field(domain, "replica.heardAt"), moment)).wide(),
];

/// State of a domain in the cluster of the daemon.
pub(super) fn state(domain: &Value) -> String {
    match (flag(domain, "activeHere"), text(domain, "replica.state")) {
        (true, _) => "active".to_owned(),
        (false, "") => "not followed yet".to_owned(),
        (false, state) => state.to_owned(),
    }
}

/// Lag of what is here, as it is printed.
pub(super) fn lag(domain: &Value) -> String {
    match field(domain, "replica").is_object() {
        true => format!("{} ms", plain(field(domain, "replica.lagMs"))),
        false => String::new(),
    }
}

pub(super) fn namespaces(domain: &Value) -> String {
    Some(joined(domain, "namespaces")).filter(|names| !names.is_empty()).unwrap_or("all others".to_owned())
}

/// Words about a cluster that follows: how many commits it was behind when it was heard last.
pub(super) fn follower(told: &Value) -> String {
    format!("{} {} behind", text(told, "clusterId"), plain(field(told, "lagRevisions")))
}

pub(super) async fn run(args: &DomainsListArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let document = list::whole(session, &LIST, "domains", json!({})).await?;
    let list = ListSpec {
        field: "domains",
        columns: COLUMNS,
        name: |domain| format!("{KIND}/{}", text(domain, "domain")),
        none: "There is no domain.".to_owned(),
        footer: |document, all| counted(document, all, "domain"),
    };
    list.show(document, &args.table, session)
}
