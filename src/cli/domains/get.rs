//! `mesh domains get`.

use omnirelay_wire::rpc::domain_control_service;

use super::KIND;
use super::list::{follower, lag, namespaces, state};
use crate::complete;
use crate::frame::prelude::*;

pub(super) const GET: RpcMethod = domain_control_service::GET;
pub(super) const LEAF: LeafCommand =
    LeafCommand::read("mesh domains get", &[&GET]).exiting("0 1 2 3 5 6 7 8 9 11");

const EXAMPLES: &str = "\
Examples:
  omnirelay mesh domains get mesh
  omnirelay mesh domains get mesh -o json | jq -r .domain.replica.applied";

/// Show everything known of one or more domains
#[derive(Args, Debug)]
#[command(visible_alias = "show", before_long_help = EXAMPLES)]
pub(super) struct DomainsGetArgs {
    /// Domains
    #[arg(required = true, value_name = "DOMAIN", value_parser = id_of(super::KIND),
          add = complete::ids(&super::OBJECTS))]
    domains: Vec<String>,
    /// Times in UTC instead of ages
    #[arg(long, hide_short_help = true)]
    absolute: bool,
}

pub(super) async fn run(args: &DomainsGetArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let mut batch = BatchOutcomes::new(KIND, "response", "was not found or could not be read");
    for domain in &args.domains {
        let result = one(session, domain).await;
        batch.push(domain.clone(), result);
    }
    let absolute = args.absolute;
    batch.finish(session, |_, document| describe(document, absolute))
}

/// The answer for one domain.
pub(super) async fn one(session: &CommandSession, domain: &str) -> Result<Value, CliError> {
    let document = session.call(&Call::of(&GET, &json!({ "domain": domain }))?).await?;
    session.warn_if_stale(&document);
    Ok(document)
}

/// Everything of a domain, one line per field.
fn describe(document: &Value, absolute: bool) -> String {
    let domain = field(document, "domain");
    let moment = time::moment(document, absolute);
    let ago = |path: &str| time::back(time::ago(field(domain, path), moment), moment);
    let said = |path: &str| text(domain, path).to_owned();
    let lineage = items(domain, "lineage").iter().map(|tenure| {
        let of = |path: &str| text(tenure, path).to_owned();
        format!("{} in {} from {}", of("version"), of("clusterId"), of("since"))
    });
    let braked = match (plain(field(domain, "replica.brakedDeletions")), said("replica.state")) {
        (deletions, state) if state == "braked" => format!(
            "{deletions} deletions and {} replacements; mesh domains approve {} lets them pass",
            plain(field(domain, "replica.brakedReplacements")),
            said("domain")
        ),
        _ => String::new(),
    };
    let aside = items(domain, "replica.setAside").iter().map(|record| {
        format!("{}/{} ({})", text(record, "kind"), text(record, "key"), text(record, "reason"))
    });
    let followers = items(domain, "followers").iter().map(|told| {
        let at = |path: &str| time::back(time::ago(field(told, path), moment), moment);
        let until = Some(at("durableUntil")).filter(|until| !until.is_empty());
        let until = until.map_or(String::new(), |until| format!(", has all of {until}"));
        format!("{}, heard {}{until}", follower(told), at("heardAt"))
    });
    let version = Some(said("recordVersion")).filter(|version| version != "0");
    listing(&[
        ("domain", said("domain")),
        ("active", said("activeCluster")),
        ("here", state(domain)),
        ("reason", said("replica.reason")),
        ("since", ago("replica.since")),
        ("version", said("version")),
        ("namespaces", namespaces(domain)),
        ("lag", lag(domain)),
        (
            "behind",
            Some(plain(field(domain, "replica.lagRevisions")))
                .filter(|_| !lag(domain).is_empty())
                .unwrap_or_default(),
        ),
        ("applied", said("replica.applied")),
        ("head", said("replica.head")),
        ("heard", ago("replica.heardAt")),
        ("compared", ago("replica.comparedAt")),
        ("braked", braked),
        ("unknown", joined(domain, "replica.unknownKinds")),
        ("set aside", aside.collect::<Vec<_>>().join("; ")),
        ("followers", followers.collect::<Vec<_>>().join("; ")),
        ("lineage", lineage.collect::<Vec<_>>().join("; ")),
        ("record", version.unwrap_or_else(|| "nobody has said anything of it".to_owned())),
        ("writer", said("lastWriterId")),
        ("created", ago("createdAt")),
        ("updated", ago("updatedAt")),
    ])
}
