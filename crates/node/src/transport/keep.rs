//! Keeping in touch: other nodes are called now and then, so that it is known by what, and how far they are.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use omnirelay_transport::peer::CallPath;

use super::NodeTransport;

/// How often some of them are called.
const EVERY: Duration = Duration::from_secs(5);
/// How many at a time: however large the mesh is, it costs the same.
const AT_A_TIME: usize = 8;
/// For how long what was measured is told.
const TOLD_FOR: Duration = Duration::from_secs(600);

impl NodeTransport {
    /// Calls the nodes that `nodes` names, in their order, some at a time, for ever.
    pub async fn keep_in_touch(&self, nodes: impl Fn() -> Vec<String>) {
        let mut last = String::new();
        loop {
            tokio::time::sleep(EVERY).await;
            let mut known = nodes();
            known.sort_unstable();
            self.forget_others(&known);
            let after = known.partition_point(|node| *node <= last);
            known.rotate_left(after);
            known.truncate(AT_A_TIME);
            if let Some(newest) = known.last() {
                last.clone_from(newest);
            }
            join_all(known.iter().map(|node| self.touch(node))).await;
        }
    }

    /// Calls a node, by whatever calls to it use.
    pub async fn touch(&self, node: &str) {
        let Ok(channel) = self.channel(node, CallPath::REPEATABLE) else { return };
        let begun = Instant::now();
        match self.mesh.greet(channel).await {
            Ok(answer) => {
                self.note_revocations(node, answer.revocations_number);
                // Of what QUIC measures itself no call is part.
                let rtt = self.used(node).and_then(|used| used.rtt).unwrap_or_else(|| begun.elapsed());
                self.rtts.lock().insert(node.to_owned(), (rtt, Instant::now()));
            }
            Err(error) => {
                tracing::debug!(peer = node, error, "peer not called");
                self.rtts.lock().remove(node);
            }
        }
    }

    /// Round-trip time to a node, as it was measured last.
    pub fn rtt(&self, node: &str) -> Option<Duration> {
        self.rtts.lock().get(node).filter(|(_, at)| at.elapsed() < TOLD_FOR).map(|(rtt, _)| *rtt)
    }

    fn forget_others(&self, known: &[String]) {
        let is_known = |node: &String| known.binary_search(node).is_ok();
        self.rtts.lock().retain(|node, _| is_known(node));
        self.peers.lock().retain(|node, _| is_known(node));
    }
}
