//! Watchdog: compares what this daemon holds with another daemon from time to time, so that somebody is told of what differs.

use std::sync::Arc;
use std::time::Duration;

use omnirelay_decisions::check::facts::is_alive;
use tokio::time::sleep;
use tracing::{debug, warn};

use super::service::StateDiff;

/// How often it is compared, give or take a fifth: in a mesh of any size each daemon asks one other.
pub(crate) const COMPARE_EVERY: Duration = Duration::from_secs(600);

/// Compares for ever.
pub(crate) async fn run(diff: Arc<StateDiff>) {
    loop {
        sleep(COMPARE_EVERY.mul_f64(0.8 + 0.4 * fastrand::f64())).await;
        compare_with_any(&diff).await;
    }
}

/// Compares with a node that lives, drawn by lot; not while there is none.
pub(crate) async fn compare_with_any(diff: &StateDiff) {
    let own = diff.registry.node_id();
    let mut others = diff.nodes.nodes().await;
    others.retain(|peer| is_alive(peer) && peer.node_id != own);
    let Some(node) = fastrand::choice(&others) else { return };
    match diff.compare_with_node(node, 1).await {
        Ok(found) => {
            if let Some(first) = found.differences.first() {
                let (with, records, record) =
                    (&node.node_id, found.differing, format!("{}/{}", first.kind, first.key));
                warn!(
                    with,
                    records,
                    record,
                    "this daemon holds other records than another one: omnirelay mesh state-diff"
                );
            }
        }
        Err(fault) => debug!(with = node.node_id, error = fault.message, "could not be compared"),
    }
}
