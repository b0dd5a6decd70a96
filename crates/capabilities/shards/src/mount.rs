//! Mounts shards: has them owned as the rules say where this node leads, gives up what it is to, and serves what is known of all.

use std::sync::Arc;

use omnirelay_core::text::chain;
use omnirelay_gossip::Gossip;
use omnirelay_identity::signed_posts::SignedPosts;
use omnirelay_leadership_records::ScopeFences;
use omnirelay_node::{CapabilityKinds, NodeBuilder, NodeError, PortName, StopPhase};
use omnirelay_registry::epoch_loss::{RestorationRule, RestoredBy};
use omnirelay_settings::{Config, RefusedSetting, WebhookConfig};
use omnirelay_wire::pb::omnirelay::mesh::control::v1::LoadThresholds;
use omnirelay_wire::pb::omnirelay::mesh::control::v1::namespace_control_service_server::NamespaceControlServiceServer;
use omnirelay_wire::pb::omnirelay::mesh::control::v1::rebalance_control_service_server::RebalanceControlServiceServer;
use omnirelay_wire::pb::omnirelay::mesh::control::v1::shard_control_service_server::ShardControlServiceServer;
use parking_lot::Mutex;
use tonic::codec::CompressionEncoding::Gzip;

use crate::alarms::AlarmBell;
use crate::controller::{ControllerSettings, ShardController};
use crate::loads::WorkerLoads;
use crate::metrics::ShardMetrics;
use crate::namespaces::{Namespaces, ShardLimits};
use crate::plans::RebalancePlans;
use crate::plans::watching::{plans_topic, states_topic};
use crate::put_back::ShardMerger;
use crate::release::ShardReleases;
use crate::watching::topic;
use crate::webhook::{WEBHOOK, Webhook, WebhookDeliveries};
use crate::{LOAD, NAMESPACE, PLAN, RELEASE, SHARD, SHARD_CHANGE, Shards, levels};
use crate::{namespace_of_plan, namespace_of_shard};

pub const KINDS: CapabilityKinds = CapabilityKinds {
    mirrored: &[NAMESPACE, SHARD, PLAN, RELEASE, LOAD, WEBHOOK],
    stored: &[SHARD_CHANGE],
    claimed: &[RELEASE, LOAD],
    // A namespace that is there has its shards.
    restored: &[
        RestorationRule::parts(SHARD, RestoredBy::Furthest, namespace_of_shard),
        RestorationRule::of(NAMESPACE, RestoredBy::Furthest),
        RestorationRule::parts(PLAN, RestoredBy::Furthest, namespace_of_plan),
        // How far they were told: whoever leads begins anew.
        RestorationRule::of(WEBHOOK, RestoredBy::ItsPart),
    ],
    ..CapabilityKinds::NONE
};

/// Mounts shards. They are moved by the node that `leads` the mesh, away from those that `gossip` takes for gone.
pub fn mount(
    node: &mut NodeBuilder,
    gossip: Option<Arc<Gossip>>,
    leads: Arc<dyn ScopeFences>,
) -> Result<(), NodeError> {
    let registry = node.registry.clone();
    node.mergers.add(SHARD, Arc::new(ShardMerger));
    let metrics = Arc::new(ShardMetrics::new(node.metrics.all())?);
    let (counted, read, heard) = (metrics.clone(), registry.clone(), gossip.clone());
    node.metrics.before_scrape(move || {
        let are_all = read.view().is_whole();
        counted.read(&levels(read.view(), heard.as_deref()), are_all);
    });
    let settings = node.settings.live(controller_settings);
    let controller =
        ShardController::new(registry.clone(), gossip.clone(), leads.clone(), metrics.clone(), settings);
    let controller = Arc::new(controller);
    mount_webhook(node, gossip.clone(), leads, metrics.clone());
    let pruner = controller.clone();
    node.run(StopPhase::HandOver, async move { controller.run().await });
    node.run(StopPhase::HandOver, async move { pruner.prune().await });
    let session_ttl = node.settings.live(Config::session_ttl);
    let releases = Arc::new(ShardReleases::new(registry.clone(), session_ttl, metrics.clone()));
    let (says, closes) = (releases.clone(), releases.clone());
    node.run(StopPhase::Leave, async move { says.run().await });
    let thresholds = node.settings.live(thresholds);
    let loads = WorkerLoads::new(registry.clone(), thresholds, releases.holdings.workers.clone());
    let loads = Arc::new(loads);
    let says = loads.clone();
    node.run(StopPhase::Leave, async move { says.run().await });
    // Its session ends later: until then nobody else may serve what its workers do.
    node.at(StopPhase::Settle, async move { closes.holdings.close().await });
    node.topics.add(topic(registry.clone()));
    node.topics.add(plans_topic(registry.clone()));
    node.topics.add(states_topic());
    serve(node, gossip, metrics, (releases, loads));
    Ok(())
}

/// Serves what is known of shards, namespaces and plans.
fn serve(
    node: &mut NodeBuilder,
    gossip: Option<Arc<Gossip>>,
    metrics: Arc<ShardMetrics>,
    (releases, loads): (Arc<ShardReleases>, Arc<WorkerLoads>),
) {
    let (registry, watches_max) = (node.registry.clone(), node.watches_max());
    let (limits, self_approval) = (node.settings.live(limits), node.settings.live(self_approval));
    let namespaces = Namespaces {
        registry: registry.clone(),
        gossip: gossip.clone(),
        limits,
        self_approval: self_approval.clone(),
    };
    let namespaces = NamespaceControlServiceServer::new(namespaces);
    node.serve(PortName::Control, namespaces.send_compressed(Gzip).accept_compressed(Gzip));
    let plans = RebalancePlans::new(registry.clone(), gossip.clone(), self_approval, watches_max.clone())
        .counting(metrics);
    let plans = RebalanceControlServiceServer::new(plans);
    node.serve(PortName::Control, plans.send_compressed(Gzip).accept_compressed(Gzip));
    let shards = ShardControlServiceServer::new(Shards::new(registry, gossip, releases, loads, watches_max));
    node.serve(PortName::Control, shards.send_compressed(Gzip).accept_compressed(Gzip));
}

pub(crate) fn controller_settings(config: &Config) -> ControllerSettings {
    ControllerSettings { history: config.mesh.shards.history_kept.0 }
}

pub(crate) fn thresholds(config: &Config) -> LoadThresholds {
    config.mesh.shards.load.thresholds()
}

pub(crate) fn limits(config: &Config) -> ShardLimits {
    let shards = &config.mesh.shards;
    ShardLimits { per_namespace: shards.per_namespace_max, per_mesh: shards.per_mesh_max }
}

pub(crate) fn self_approval(config: &Config) -> bool {
    config.mesh.shards.self_approval.unwrap_or(false)
}

/// Has the webhook told what becomes of plans and what is wrong, while there is one.
fn mount_webhook(
    node: &mut NodeBuilder,
    gossip: Option<Arc<Gossip>>,
    leads: Arc<dyn ScopeFences>,
    metrics: Arc<ShardMetrics>,
) {
    let running = node.settings.live(|config| config.mesh.shards.webhook.clone());
    node.settings.check(move |config| check_webhook(&running.get(), &config.mesh.shards.webhook));
    let (registry, posts) = (node.registry.clone(), node.settings.live(posts));
    let deliveries = Arc::new(WebhookDeliveries { posts, metrics: metrics.clone() });
    let webhook =
        Webhook { registry: registry.clone(), leads: leads.clone(), deliveries: deliveries.clone() };
    let waiting = Mutex::default();
    let bell = AlarmBell { registry, gossip, leads, metrics, deliveries, waiting };
    node.run(StopPhase::HandOver, async move { webhook.run().await });
    node.run(StopPhase::HandOver, async move { bell.run().await });
}

/// Receiver that it is told to; `None`: nobody.
pub(crate) fn posts(config: &Config) -> Option<SignedPosts> {
    let config = &config.mesh.shards.webhook;
    let url = config.url.as_deref()?.parse().ok()?;
    Some(SignedPosts { url, secret_file: config.secret_file.clone()?, ca: config.ca.clone() })
}

/// Whether the files of another webhook can be read. Those of the running one may be about to be written.
fn check_webhook(running: &WebhookConfig, next: &WebhookConfig) -> Result<(), RefusedSetting> {
    let files = [
        ("mesh.shards.webhook.secretFile", &running.secret_file, &next.secret_file),
        ("mesh.shards.webhook.ca", &running.ca, &next.ca),
    ];
    for (key, running, next) in files {
        let Some(path) = next.as_ref().filter(|_| next != running) else { continue };
        let refuse = |error: std::io::Error| RefusedSetting {
            key,
            what: format!("{}: {}", path.display(), chain(&error)),
        };
        std::fs::read(path).map_err(refuse)?;
    }
    Ok(())
}
