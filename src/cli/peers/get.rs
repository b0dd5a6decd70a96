//! `mesh peers get`.

use omnirelay_core::text::some_of;
use omnirelay_decisions::check::transport::downgrade;
use omnirelay_wire::rpc::peer_control_service;

use super::{KIND, columns, resolve};
use crate::complete;
use crate::frame::prelude::*;

pub(crate) const GET: RpcMethod = peer_control_service::GET;
pub(crate) const LEAF: LeafCommand =
    LeafCommand::read("mesh peers get", &[&GET]).exiting("0 1 2 3 5 6 7 8 9 11");

const EXAMPLES: &str = "\
Examples:
  omnirelay mesh peers get node-1
  omnirelay mesh peers inspect node-1 node-2 -o yaml
  omnirelay mesh peers get node-1 -o json | jq -r .peer.version
  omnirelay mesh peers list -o name | omnirelay mesh peers get - -o json";

/// Show everything known of one or more peers
#[derive(Args, Debug)]
#[command(visible_aliases = ["show", "inspect"], before_long_help = EXAMPLES)]
pub(crate) struct PeersGetArgs {
    /// Ids, peer/ID, or their first letters if unique; - reads them from standard input
    #[arg(required = true, value_name = "ID", add = complete::ids(&super::OBJECTS))]
    ids: Vec<String>,
    /// Times in UTC instead of ages
    #[arg(long, hide_short_help = true)]
    absolute: bool,
}

pub(crate) async fn run(args: &PeersGetArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let ids = ids::expand(&args.ids, KIND)?;
    let mut batch = BatchOutcomes::new(KIND, "response", "was not found or could not be read");
    for id in ids {
        let result = one(session, &id).await;
        batch.push(id, result);
    }
    let absolute = args.absolute;
    batch.finish(session, |_, document| describe(document, absolute))
}

/// The answer for one peer, by its id or the beginning of it.
pub(crate) async fn one(session: &CommandSession, id: &str) -> Result<Value, CliError> {
    resolve::ask(session, id, |id| Call::of(&GET, &json!({ "nodeId": id }))).await
}

/// Everything of a peer, one line per field.
fn describe(document: &Value, absolute: bool) -> String {
    let peer = field(document, "peer");
    let moment = time::moment(document, absolute);
    let ago = |path: &str| time::back(time::ago(field(peer, path), moment), moment);
    let cordoned = match (flag(peer, "cordoned"), text(peer, "cordonReason")) {
        (false, _) => "no".to_owned(),
        (true, "") => "yes".to_owned(),
        (true, reason) => format!("yes: {reason}"),
    };
    let rows = [
        ("id", text(peer, "nodeId").to_owned()),
        ("status", format!("{} ({})", text(peer, "status"), text(peer, "statusReason"))),
        ("since", ago("statusSince")),
        ("health", health(peer, moment)),
        ("last seen", ago("lastSeen")),
        ("cordoned", cordoned),
        ("draining", if flag(peer, "draining") { "yes" } else { "no" }.to_owned()),
        ("leads", leads(peer)),
        ("role", text(peer, "metadata.role").to_owned()),
        ("identity", identity(peer)),
        ("cluster", text(peer, "metadata.clusterId").to_owned()),
        ("region", text(peer, "metadata.region").to_owned()),
        ("zone", text(peer, "metadata.zone").to_owned()),
        ("mesh version", text(peer, "metadata.meshVersion").to_owned()),
        ("control", text(peer, "metadata.endpoints.control").to_owned()),
        ("mesh", text(peer, "metadata.endpoints.mesh").to_owned()),
        ("relay", text(peer, "metadata.endpoints.relay").to_owned()),
        ("transport", transport(peer)),
        ("rtt", field(peer, "rttMs").as_f64().map(|ms| format!("{ms}ms")).unwrap_or_default()),
        ("labels", pairs(peer, "metadata.labels")),
        ("version", plain(field(peer, "version"))),
        ("written by", text(peer, "lastWriterId").to_owned()),
        ("created", ago("createdAt")),
        ("updated", ago("updatedAt")),
    ];
    listing(&rows)
}

/// Why it is none of the mesh, or that its certificate is of files.
fn identity(peer: &Value) -> String {
    match (columns::unproven(peer), flag(peer, "metadata.identityOfFiles")) {
        (Some(unproven), _) => unproven.why().to_owned(),
        (None, true) => "a certificate of files".to_owned(),
        (None, false) => String::new(),
    }
}

/// `suspect since 3s by node-2; 2 flaps`: how it is by gossip.
fn health(peer: &Value, moment: CellContext) -> String {
    let state = text(peer, "health.state");
    let since = time::back(time::ago(field(peer, "health.since"), moment), moment);
    let by: Vec<&str> = items(peer, "health.by").iter().filter_map(Value::as_str).collect();
    let by = if by.is_empty() { String::new() } else { format!(" by {}", some_of(&by, 4)) };
    let flaps = match field(peer, "health.flaps").as_u64().unwrap_or(0) {
        0 => String::new(),
        flaps => format!("; came back {flaps}x"),
    };
    let unwell = match field(peer, "health.unwell").as_u64().unwrap_or(0) {
        0 => String::new(),
        unwell => format!("; unwell ({unwell})"),
    };
    match (state, since.as_str()) {
        ("" | "unknown", _) => "unknown".to_owned(),
        (state, "") => format!("{state}{by}{flaps}{unwell}"),
        (state, since) => format!("{state}{by} (since {since}){flaps}{unwell}"),
    }
}

/// `http2: nothing came back over UDP`: by what it is called, and why that is not HTTP/3.
fn transport(peer: &Value) -> String {
    match (text(peer, "rpcTransport"), text(peer, "downgrade")) {
        (word, "") => word.to_owned(),
        ("", why) => downgrade(why).to_owned(),
        (word, why) => format!("{word}: {}", downgrade(why)),
    }
}

/// `2: global-control, shard/orders/03`: how many scopes it leads, and the first of them.
fn leads(peer: &Value) -> String {
    const NAMED_MAX: usize = 10;
    let scopes = items(peer, "leads");
    if scopes.is_empty() {
        return "nothing".to_owned();
    }
    let scopes: Vec<&str> = scopes.iter().filter_map(Value::as_str).collect();
    format!("{}: {}", scopes.len(), some_of(&scopes, NAMED_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leads_are_counted_and_ten_of_them_named() {
        let peer = |count: usize| json!({"leads": (0..count).map(|at| format!("s{at}")).collect::<Vec<_>>()});
        let ten = "s0, s1, s2, s3, s4, s5, s6, s7, s8, s9";
        let cases = [
            (0, "nothing".to_owned()),
            (1, "1: s0".to_owned()),
            (10, format!("10: {ten}")),
            (12, format!("12: {ten} and 2 more")),
        ];
        for (count, expected) in cases {
            assert_eq!(leads(&peer(count)), expected);
        }
    }
}
