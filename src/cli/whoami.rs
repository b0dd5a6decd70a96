//! `omnirelay whoami`: who the daemon takes you for, by what, and what you may do.

use omnirelay_wire::rpc::token_service;

use super::entry::{CommandEntry, entry};
use super::schema::documents::message;
use crate::frame::prelude::*;

/// Who the caller is to the daemon.
pub(crate) const WHO: RpcMethod = token_service::WHO_AM_I;
const LEAF: LeafCommand = LeafCommand::read("whoami", &[&WHO]).exiting("0 1 2 6 8 9 10 11");
pub(crate) static ENTRY: CommandEntry = entry!(
    "whoami",
    WhoamiArgs,
    asking,
    &[LEAF],
    &[message("caller", "whoami", "omnirelay.security.v1.WhoAmIResponse")]
);

const SCOPES: [&str; 4] = ["mesh.connect", "mesh.read", "mesh.operate", "mesh.admin"];

const EXAMPLES: &str = "\
Examples:
  omnirelay whoami
  omnirelay whoami --can mesh.operate";

/// Show who the daemon takes you for, by what, and what you may do
///
/// Exits with 9 when you prove nothing, and says what is missing.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(crate) struct WhoamiArgs {
    /// Say whether you have this scope: exits with 0 if so, else with 10
    #[arg(long, value_name = "SCOPE", value_parser = SCOPES)]
    can: Option<String>,
}

async fn run(args: &WhoamiArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let document = session.call(&Call::of(&WHO, &json!({}))?).await?;
    let (name, mut lines) = (text(&document, "principal").to_owned(), told(&document));
    let mut exit = Exit::Ok;
    if let Some(scope) = &args.can {
        let has = items(&document, "scopes").iter().any(|held| held == scope);
        (exit, lines) = match has {
            true => (Exit::Ok, format!("yes: {} has {scope}\n", printable(&name))),
            false => (Exit::Negative, format!("no: {} has not {scope}\n", printable(&name))),
        };
    }
    session.show(&CommandOutput::lines(document, name, lines))?;
    Ok(exit)
}

/// A line for each thing that is known of the caller.
pub(crate) fn told(document: &Value) -> String {
    let words =
        |name: &str| items(document, name).iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ");
    let (scopes, own_node) = (words("scopes"), words("ownNodeScopes"));
    let node = text(document, "localNodeId");
    let own_node = if own_node.is_empty() { own_node } else { format!("{own_node}, for {node} alone") };
    let rows = [
        ("proof", text(document, "proof").to_owned()),
        ("scopes", if scopes.is_empty() { "none".to_owned() } else { scopes }),
        ("besides", own_node),
        ("cluster", text(document, "siblingCluster").to_owned()),
        ("reaches", reach(text(document, "federatedCluster"))),
        ("roles", words("roles")),
        ("token", text(document, "tokenId").to_owned()),
        ("until", text(document, "expiresAt").to_owned()),
    ];
    let rows = rows.iter().filter(|(_, value)| !value.is_empty());
    let rows: String = rows.map(|(name, value)| format!("  {name}: {}\n", printable(value))).collect();
    format!("{}\n{rows}", printable(text(document, "principal")))
}

/// What somebody of another mesh reaches; empty for those of this one.
fn reach(cluster: &str) -> String {
    match cluster {
        "" => String::new(),
        cluster => format!("the exchange of advertisements, for the federated cluster {cluster}"),
    }
}
