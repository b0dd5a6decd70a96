//! Leaders that cannot prove who they are: a daemon of before, or one that means ill, does not judge itself.

use std::sync::Arc;
use std::time::Duration;

use omnirelay_identity::trust::MeshTrust;
use omnirelay_peer_records as peers;
use omnirelay_registry::Registry;
use omnirelay_registry::reactor::LookPace;
use omnirelay_registry::view::View;
use tokio::time::Instant;
use tracing::warn;

use super::expel::EndSession;

/// The shortest time between two looks, each of which goes through all peers.
const PACE: Duration = Duration::from_secs(1);
/// When it is looked again while there is a node that may come to lead, and while there is none: the time for being enrolled may
/// be over by then.
const AGAIN: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(60)];

/// Ends the sessions of leaders that the mesh has given no certificate, and so what they lead.
pub struct UnprovenLeaders {
    pub registry: Arc<Registry>,
    pub trust: Arc<MeshTrust>,
    pub end_session: EndSession,
}

impl UnprovenLeaders {
    /// Does so for ever.
    pub async fn run(&self) {
        let pace = LookPace { sense: |view: &View| peers::changed(view), between: PACE };
        self.registry.react_paced(|_: &View| (), pace, || self.look()).await;
    }

    async fn look(&self) -> Option<Instant> {
        let view = self.registry.view();
        let strangers = peers::unproven_and_live(view);
        // Whoever is nobody itself judges nobody.
        let is_nobody = self.trust.current().own.is_none();
        if !is_nobody && !strangers.iter().any(|node| node == self.registry.node_id()) {
            for node in strangers.iter().filter(|node| !peers::leads(view, node).is_empty()) {
                if (self.end_session)(node.clone()).await {
                    warn!(peer = node, "session ended of a leader without a certificate of the mesh");
                }
            }
        }
        Some(Instant::now() + AGAIN[usize::from(strangers.is_empty())])
    }
}
