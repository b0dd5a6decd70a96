//! Mounts the fetch of advertisements: what nodes of other clusters advertise.

use std::sync::Arc;

use omnirelay_node::readiness::item;
use omnirelay_node::transport::NodeTransport;
use omnirelay_node::{NodeBuilder, NodeError, StopPhase};
use omnirelay_peer_records::presence::Presence;

use crate::advertisement_fetch::{AdvertisementFetch, ExchangeParts, ExchangeSettings, FetchedClusters};
use crate::fetch_metrics::ExchangeMetrics;

/// Mounts what fetches advertisements by `transport`; `presence` tells others of which clusters.
pub fn mount(
    node: &mut NodeBuilder,
    presence: &Arc<Presence>,
    transport: Arc<NodeTransport>,
) -> Result<Arc<AdvertisementFetch>, NodeError> {
    let clusters = FetchedClusters::of(&node.federation);
    let parts = ExchangeParts {
        registry: node.registry.clone(),
        transport,
        clusters: clusters.clone(),
        metrics: ExchangeMetrics::new(node.metrics.all())?,
    };
    let secret = node.session_secret.clone();
    let settings = node.settings.live(move |config| ExchangeSettings::of(config, &secret));
    let exchange = Arc::new(AdvertisementFetch::new(parts, settings));
    let asked = exchange.clone();
    node.readiness.add(move || vec![item("federated-registers", false, asked.trouble())]);
    node.run(StopPhase::End, exchange.clone().run());
    let (mut chosen, told, presence) = (clusters.subscribe(), clusters.clone(), presence.clone());
    node.run(StopPhase::End, async move {
        while chosen.changed().await.is_ok() {
            presence.say(|says| says.fetches = told.names());
        }
    });
    let own = node.settings.now().node.cluster.clone();
    node.run(StopPhase::End, clusters.run(node.registry.clone(), node.federation.clone(), own));
    Ok(exchange)
}
