//! Watchdog: compares what this daemon holds with another daemon and with its store from time to time, so that somebody is told of what
//! differs.

use std::sync::Arc;
use std::time::Duration;

use omnirelay_core::text::printable;
use omnirelay_decisions::check::facts::is_alive;
use omnirelay_wire::fault::Fault;
use tokio::time::sleep;
use tracing::{debug, warn};

use super::pb;
use super::service::StateDiff;

/// How often it is compared with another daemon, give or take a fifth: in a mesh of any size each daemon asks one other.
const COMPARE_EVERY: Duration = Duration::from_secs(600);
/// Each so many times it is compared with the store instead: once an hour.
const STORE_EACH: u32 = 6;

/// Compares for ever.
pub(crate) async fn run(diff: Arc<StateDiff>) {
    for round in 1_u32.. {
        sleep(COMPARE_EVERY.mul_f64(0.8 + 0.4 * fastrand::f64())).await;
        match round % STORE_EACH {
            0 => tell("the store", diff.compare_with_store(1).await),
            _ => compare_with_any(&diff).await,
        }
    }
}

/// Compares with a node that lives, drawn by lot; not while there is none.
async fn compare_with_any(diff: &StateDiff) {
    let own = diff.registry.node_id();
    let mut others = diff.nodes.nodes().await;
    others.retain(|peer| is_alive(peer) && peer.node_id != own);
    match fastrand::choice(&others) {
        Some(node) => tell(&node.node_id, diff.compare_with_node(node, 1).await),
        None => diff.metrics.note_nobody(),
    }
}

/// Has the log tell of what differs.
fn tell(with: &str, compared: Result<pb::GetStateDiffResponse, Fault>) {
    match compared {
        Ok(found) if found.differing > 0 => {
            let first = found
                .differences
                .first()
                .map(|one| printable(&format!("{}/{}", one.kind, one.key)).into_owned());
            let (records, first) = (found.differing, first.unwrap_or_default());
            warn!(with, records, first, "what this daemon holds differs: omnirelay mesh state-diff");
        }
        Ok(found) => debug!(with, records = found.records, unsettled = found.unsettled, "nothing differs"),
        Err(fault) => debug!(with, error = fault.message, "what this daemon holds could not be compared"),
    }
}
