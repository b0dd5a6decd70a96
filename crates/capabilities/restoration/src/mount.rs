//! Mounts restoration, and what tells of the store.

use std::sync::Arc;

use omnirelay_host::wall_clock;
use omnirelay_node::readiness::{clocks_apart, item};
use omnirelay_node::{CapabilityKinds, NodeBuilder, PortName, StopPhase};
use omnirelay_registry::Registry;
use omnirelay_restoration_records::RESTORATION;
use omnirelay_settings::Config;
use omnirelay_wire::pb::omnirelay::mesh::control::v1::store_service_server::StoreServiceServer;
use tonic::codec::CompressionEncoding::Gzip;
use tracing::{info, warn};

use crate::store::StoreCalls;
use crate::{LostRecordRestorer, trouble};

pub const KINDS: CapabilityKinds =
    CapabilityKinds { mirrored: &[RESTORATION], claimed: &[RESTORATION], ..CapabilityKinds::NONE };

pub fn mount(node: &mut NodeBuilder) {
    let store = StoreCalls { registry: node.registry.clone() };
    let store = StoreServiceServer::new(store).send_compressed(Gzip).accept_compressed(Gzip);
    node.serve(PortName::Control, store);
    let (restoration, asked) = (restorer(node), node.registry.clone());
    node.readiness.add(move || vec![item("lost-records", false, trouble(&asked))]);
    node.run(StopPhase::End, async move { restoration.run().await });
    let registry = node.registry.clone();
    node.run(StopPhase::End, async move { tell_of_clocks(&registry).await });
}

fn restorer(node: &NodeBuilder) -> LostRecordRestorer {
    let own_turn = node.settings.live(Config::session_ttl);
    LostRecordRestorer::new(node.registry.clone(), node.mergers.clone(), own_turn)
}

/// Tells the log when store time and the clock of this host have come apart, and when they agree again.
async fn tell_of_clocks(registry: &Arc<Registry>) {
    let mut told = false;
    loop {
        let apart = clocks_apart(registry);
        match (told, apart) {
            (false, Some(why)) => {
                let ahead_ms = registry.view().connectivity().ahead_of_host_ms();
                warn!(
                    ahead_ms,
                    why,
                    runbook = "docs/runbooks/store.md",
                    "store time and the clock of this host came apart"
                );
                told = true;
            }
            (true, None) => {
                info!("store time and the clock of this host agree again");
                told = false;
            }
            (false, None) | (true, Some(_)) => {}
        }
        tokio::time::sleep(wall_clock::LOOK_EVERY).await;
    }
}
