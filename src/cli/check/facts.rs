//! What the checks judge: gathered once, so that judging needs no daemon.

use std::time::Instant;

use serde_json::{Value, json};

use super::{LIST, NODE};
use crate::cli::frame::args::PageArgs;
use crate::cli::frame::context_file::ContextFile;
use crate::cli::frame::error::CliError;
use crate::cli::frame::list::{self, Page};
use crate::cli::frame::rpc::Call;
use crate::cli::frame::session::Session;
use crate::cli::frame::time;

/// What was found out, or why it could not be.
#[derive(Clone, Debug)]
pub struct Facts {
    pub config: Result<ContextFile, CliError>,
    /// The answer about the daemon itself.
    pub node: Result<Value, CliError>,
    pub node_ms: u64,
    pub peers: Result<Value, CliError>,
    pub peers_ms: u64,
    /// This machine's time when the daemon answered, half of the round trip taken off.
    pub now_ms: Option<i64>,
    /// Where the answers are from.
    pub address: String,
}

/// Asks everything the checks need.
pub async fn gather(session: &Session) -> Facts {
    let config = session.settings.config.clone();
    let started = Instant::now();
    let node = match Call::of(&NODE, &json!({})) {
        Ok(call) => session.call(&call).await,
        Err(error) => Err(error),
    };
    let node_ms = elapsed_ms(started);
    let now_ms = time::now_ms().map(|now| now - i64::try_from(node_ms / 2).unwrap_or(0));
    let started = Instant::now();
    let peers = match &node {
        Ok(_) => all_peers(session).await,
        // Whoever does not answer one question is not asked the next.
        Err(error) => Err(error.clone()),
    };
    let address = session.client().map(|client| client.address().to_string()).unwrap_or_default();
    Facts { config, node, node_ms, peers, peers_ms: elapsed_ms(started), now_ms, address }
}

async fn all_peers(session: &Session) -> Result<Value, CliError> {
    let request = |page: &Page| Call::of(&LIST, &json!({"pageToken": page.token}));
    list::fetch(session, "peers", &PageArgs::default(), true, request).await
}

fn elapsed_ms(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}
