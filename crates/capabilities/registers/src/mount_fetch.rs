//! Mounts the fetch of advertisements: what nodes of federated clusters advertise.

use std::sync::Arc;

use omnirelay_node::readiness::item;
use omnirelay_node::transport::NodeTransport;
use omnirelay_node::{NodeBuilder, NodeError, StopPhase};
use omnirelay_peer_records::presence::Presence;

use crate::advertisement_fetch::{AdvertisementFetch, ExchangeParts, ExchangeSettings};
use crate::fetch_metrics::ExchangeMetrics;

/// Mounts what fetches advertisements by `transport`; `presence` tells others of which clusters.
pub fn mount(
    node: &mut NodeBuilder,
    presence: &Arc<Presence>,
    transport: Arc<NodeTransport>,
) -> Result<Arc<AdvertisementFetch>, NodeError> {
    let parts = ExchangeParts {
        registry: node.registry.clone(),
        transport,
        federation: node.federation.clone(),
        metrics: ExchangeMetrics::new(node.metrics.all())?,
    };
    let secret = node.session_secret.clone();
    let settings = node.settings.live(move |config| ExchangeSettings::of(config, &secret));
    let exchange = Arc::new(AdvertisementFetch::new(parts, settings));
    let asked = exchange.clone();
    node.readiness.add(move || vec![item("federated-registers", false, asked.trouble())]);
    node.run(StopPhase::End, exchange.clone().run());
    let (mut chosen, presence) = (node.federation.subscribe(), presence.clone());
    node.run(StopPhase::End, async move {
        while chosen.changed().await.is_ok() {
            let fetches = AdvertisementFetch::fetched(&chosen.borrow_and_update());
            presence.say(|says| says.fetches = fetches);
        }
    });
    Ok(exchange)
}
