//! `omnirelay version`.

use std::time::Duration;

use super::entry::{CommandEntry, entry};
use super::frame::client::Client;
use super::node::NODE;
use super::schema::documents::own;
use super::schema::schemas;
use crate::frame::prelude::*;

const LEAF: LeafCommand = LeafCommand::read("version", &[&NODE]).exiting("0 1 2");
pub(crate) static ENTRY: CommandEntry =
    entry!("version", VersionArgs, asking, &[LEAF], &[own("version", "version", schemas::version),]);

const EXAMPLES: &str = "\
Examples:
  omnirelay version
  omnirelay version --client
  omnirelay version -o json | jq -r .server.version";

/// A daemon that takes longer is left out.
const PATIENCE: Duration = Duration::from_secs(1);

/// Show the versions of this client and of the daemon
///
/// The daemon's is shown if it answers within a second; the exit code is 0 in any case.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(crate) struct VersionArgs {
    /// Only this client's, without asking a daemon
    #[arg(long)]
    client: bool,
}

/// Shows the versions.
///
/// # Errors
/// When standard output does not take them.
async fn run(args: &VersionArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let client = env!("CARGO_PKG_VERSION");
    let mut document = json!({"schemaVersion": "v1", "client": {"version": client}});
    let mut lines = format!("client {client}\n");
    if !args.client {
        match server(session).await {
            Ok(node) => {
                let (version, node_id) = (text(&node, "version"), text(&node, "localNodeId"));
                lines.push_str(&format!("server {version} ({node_id})\n"));
                document["server"] = json!({
                    "version": version, "nodeId": node_id, "clientVersionMin": text(&node, "clientVersionMin"),
                });
            }
            Err(error) => {
                session.notes().warn(&format!("the server's version is not known: {}", error.body().message));
            }
        }
    }
    session.show(&CommandOutput::lines(document, format!("version/{client}"), lines))?;
    Ok(Exit::Ok)
}

async fn server(session: &CommandSession) -> Result<serde_json::Value, CliError> {
    let mut settings = session.settings.clone();
    settings.request_timeout = settings.request_timeout.min(PATIENCE);
    settings.connect_timeout = settings.connect_timeout.min(PATIENCE);
    Client::new(&settings, session.target()?.clone())?.call(&Call::of(&NODE, &json!({}))?).await
}
