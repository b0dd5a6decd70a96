//! Mounts leadership: campaigns for scopes, and serves who leads them.

use std::sync::Arc;

use omnirelay_host::chance::random_u64;
use omnirelay_leadership_records::{LEADERSHIP, leadership_id};
use omnirelay_node::{CapabilityKinds, NodeBuilder, NodeError, PortName, StopPhase};
use omnirelay_peer_records::peer_id;
use omnirelay_registry::epoch_loss::{RestorationRule, RestoredBy};
use omnirelay_settings::Config;
use omnirelay_wire::pb::omnirelay::mesh::control::v1::leadership_control_service_server::LeadershipControlServiceServer;
use tonic::codec::CompressionEncoding::Gzip;

use crate::Leaders;
use crate::campaign::{CampaignSettings, Campaigner};
use crate::forgetting::forget_leases;
use crate::metrics::LeadershipMetrics;
use crate::watching::topic;

pub const KINDS: CapabilityKinds = CapabilityKinds {
    mirrored: &[LEADERSHIP],
    // The labels and the policy, as leases are gone.
    restored: &[RestorationRule::merged(LEADERSHIP, RestoredBy::Furthest)],
    ..CapabilityKinds::NONE
};

/// Mounts leadership, and gives what has the fences of the scopes that this node leads.
pub fn mount(node: &mut NodeBuilder) -> Result<Arc<Campaigner>, NodeError> {
    // Without chance they wait alike, which costs a refused commit now and then.
    let (registry, seed) = (node.registry.clone(), random_u64().unwrap_or(1));
    let settings = node.settings.live(move |config| campaign_settings(config, seed));
    let metrics = Arc::new(LeadershipMetrics::new(node.metrics.all())?);
    let (counted, led) = (metrics.clone(), registry.clone());
    let is_there = move |scope: &str| led.view().get(&leadership_id(scope)).is_some();
    let (read, nodes) = (registry.clone(), registry.clone());
    let is_node = move |node: &str| nodes.view().get(&peer_id(node)).is_some();
    node.metrics.before_scrape(move || counted.read(&read, &is_there, &is_node));
    let campaigner = Arc::new(Campaigner::new(registry.clone(), settings, metrics));
    node.mergers.add(LEADERSHIP, campaigner.clone());
    let forgetful = registry.clone();
    node.run(StopPhase::Withdraw, async move { forget_leases(&forgetful).await });
    let candidate = campaigner.clone();
    node.run(StopPhase::Withdraw, async move { candidate.run().await });
    // Somebody may have handed over to it before hearing that it stops.
    for phase in [StopPhase::HandOver, StopPhase::Settle] {
        let leader = campaigner.clone();
        node.at(phase, async move { leader.leave().await });
    }
    node.topics.add(topic(registry.clone()));
    let leaders = Leaders::new(registry, node.watches_max());
    let leaders = LeadershipControlServiceServer::new(leaders).send_compressed(Gzip).accept_compressed(Gzip);
    node.serve(PortName::Control, leaders);
    Ok(campaigner)
}

/// Settings by which a node with this configuration campaigns.
pub(crate) fn campaign_settings(config: &Config, seed: u64) -> CampaignSettings {
    let leadership = &config.mesh.leadership;
    CampaignSettings {
        enabled: leadership.enabled,
        evaluation_interval: leadership.evaluation_interval.0,
        election_backoff: leadership.election_backoff.0,
        max_election_window: leadership.max_election_window.0,
        entered: leadership.entered(),
        seed,
    }
}
