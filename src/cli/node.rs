//! Going to the daemon of a node that is named: what only that daemon knows is asked there.

use omnirelay_wire::rpc::node_service;

use super::complete;
use super::frame::address::Address;
use super::frame::settings::{CommandTarget, ValueSource};
use super::peers;
use crate::frame::prelude::*;

/// What a daemon says of itself.
pub(crate) const NODE: RpcMethod = node_service::GET;

/// Whose daemon is asked.
#[derive(Args, Clone, Debug, Default)]
pub struct NodeArgs {
    /// The node that is meant, where need be by asking its own daemon [default: the one that answers]
    #[arg(long, global = true, value_name = "NODE", help_heading = "Connection options",
          add = complete::ids(&peers::OBJECTS))]
    pub node: Option<String>,
}

/// The id of a node, also where it was given as `-o name` prints a peer.
pub(crate) fn bare(given: &str) -> &str {
    id_in("peer", given)
}

impl NodeArgs {
    /// The id that is given; empty: the node that is asked. What `-o name` prints of a peer can be given again.
    pub fn id(&self) -> &str {
        let given = self.node.as_deref().unwrap_or_default();
        bare(given)
    }

    /// Goes to the daemon of the node, if one is named, and gives its full id; else stays, and gives an empty one.
    ///
    /// # Errors
    /// As of [`CommandSession::go_to_node`].
    pub async fn go(&self, session: &mut CommandSession) -> Result<String, CliError> {
        match &self.node {
            Some(node) => session.go_to_node(node).await,
            None => Ok(String::new()),
        }
    }

    /// Whether another command must name the node to come to the same daemon; to be asked before going there.
    ///
    /// # Errors
    /// When there is no target.
    pub fn is_needed_again(&self, session: &CommandSession) -> Result<bool, CliError> {
        Ok(self.node.is_some() || session.target()?.addresses.len() > 1)
    }
}

impl CommandSession {
    /// Has the rest of the command talk to the daemon of the node that `given` names or begins; gives its id.
    ///
    /// # Errors
    /// When there is no such node, it is not alive, or it says no address; when another one answers there.
    pub async fn go_to_node(&mut self, given: &str) -> Result<String, CliError> {
        let given = bare(given);
        let document = peers::get::one(self, given).await?;
        let peer = field(&document, "peer");
        let id = text(peer, "nodeId").to_owned();
        if text(&document, "localNodeId") == id {
            self.stay()?;
            return Ok(id);
        }
        let address = control_address(&id, peer, self.client()?.address())?;
        let target =
            CommandTarget { addresses: vec![address], source: ValueSource::Peer, ..self.target()?.clone() };
        self.turn_to(target)?;
        let node = self.call(&Call::of(&NODE, &json!({}))?).await?;
        match text(&node, "localNodeId") {
            found if found == id => Ok(id),
            found => Err(another(&id, found, self.client()?.address())),
        }
    }
}

/// Address where the daemon of `peer` says it can be asked: under TLS if the one that was `asked` is.
///
/// # Errors
/// When it does not live, or says no address.
pub(crate) fn control_address(id: &str, peer: &Value, asked: &Address) -> Result<Address, CliError> {
    let status = text(peer, "status");
    if status != "alive" {
        return Err(CliError::new(
            reasons::NODE_NOT_ALIVE,
            format!("cannot ask the daemon of peer/{id}: it is {status}"),
        )
        .hint(format!("omnirelay mesh peers status {id}     # since when, and what to do")));
    }
    let control = text(peer, "metadata.endpoints.control");
    let unusable = |cause: String| {
        let message = format!("cannot ask the daemon of peer/{id}: nobody knows its address");
        CliError::new(reasons::NODE_ADDRESS_UNKNOWN, message)
            .cause(cause)
            .hint("name its address with --addr instead of --node")
    };
    if control.is_empty() {
        return Err(unusable("it has registered without metadata.endpoints.control".to_owned()));
    }
    let given = match asked.is_tls() && !control.contains("://") {
        true => format!("https://{control}"),
        false => control.to_owned(),
    };
    given.parse().map_err(|error| unusable(format!("metadata.endpoints.control: {error}")))
}

fn another(id: &str, found: &str, address: &Address) -> CliError {
    let message = format!("what answers at {address} is not the daemon of peer/{id}");
    CliError::new(reasons::NODE_IS_ANOTHER, message)
        .cause(format!(
            "it is {found}; {address} is what peer/{id} registered with, but it is not so from here"
        ))
        .hint("name an address that leads there with --addr, instead of --node")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_is_that_of_an_alive_node_that_says_one() {
        let peer = |status: &str, control: &str| {
            let peer = json!({"status": status, "metadata": {"endpoints": {"control": control}}});
            control_address("node-2", &peer, &Address::built_in())
                .map_err(|error| (error.exit() as u8, error.reason().to_owned()))
        };
        assert_eq!(peer("alive", "10.0.2.7:17420").unwrap().as_str(), "http://10.0.2.7:17420");
        let secure = "https://10.0.2.6:17420".parse().unwrap();
        let one = json!({"status": "alive", "metadata": {"endpoints": {"control": "10.0.2.7:17420"}}});
        assert_eq!(control_address("node-2", &one, &secure).unwrap().as_str(), "https://10.0.2.7:17420");
        let cases = [
            ("dead", "10.0.2.7:17420", "NODE_NOT_ALIVE"),
            ("suspect", "10.0.2.7:17420", "NODE_NOT_ALIVE"),
            ("alive", "", "NODE_ADDRESS_UNKNOWN"),
            ("alive", "ftp://a", "NODE_ADDRESS_UNKNOWN"),
        ];
        for (status, control, reason) in cases {
            assert_eq!(peer(status, control).unwrap_err(), (6, reason.to_owned()), "{status} {control}");
        }
    }
}
