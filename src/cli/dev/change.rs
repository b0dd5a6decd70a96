//! Change of nodes, common to kill, pause and resume.

use crate::complete;
use crate::frame::client::fresh_key;
use crate::frame::prelude::*;
use crate::peers;

/// The kind in `node/ID`.
const KIND: &str = "node";

#[derive(Args, Debug)]
pub(super) struct DevNodesArgs {
    /// Ids of nodes of `omnirelay up`; - reads them from standard input
    #[arg(required = true, value_name = "NODE", add = complete::ids(&peers::OBJECTS))]
    nodes: Vec<String>,
}

/// Carries `rpc` out on every node named.
///
/// # Errors
/// As of [`BatchOutcomes::finish`].
pub(super) async fn run(
    rpc: &RpcMethod,
    args: &DevNodesArgs,
    session: &mut CommandSession,
) -> Result<Exit, CliError> {
    let nodes = ids::expand(&args.nodes, KIND)?;
    session.announce_target()?;
    let mut batch = BatchOutcomes::new(KIND, "change", "could not be changed");
    for node in nodes {
        let outcome = match batch.hopeless() {
            Some(error) => Err(error),
            None => one(rpc, &node, session).await,
        };
        batch.push(node, outcome);
    }
    batch.finish(session, describe)
}

async fn one(rpc: &RpcMethod, node: &str, session: &CommandSession) -> Result<Value, CliError> {
    let call = Call::of(rpc, &json!({ "nodeId": node }))?.keyed(&fresh_key()?, "");
    session.call(&call).await
}

fn describe(node: &str, document: &Value) -> String {
    let state = text(field(document, "node"), "state");
    let unchanged = if flag(document, "changed") { "" } else { " already" };
    format!("{KIND}/{node} is{unchanged} {state}\n")
}
