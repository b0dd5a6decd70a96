//! The pool of a node, and what keeps it as the catalogue says.

use std::sync::Arc;

use crate::daemon::config::peer_service;
use crate::daemon::metrics::{Metrics, PoolCounts};
use crate::daemon::node::NodeSpec;
use crate::daemon::objects::advertisements::pool::{LocalCounts, Pool, PoolSettings};
use crate::daemon::objects::advertisements::remote_count;
use crate::daemon::objects::peers::presence::Presence;
use crate::daemon::objects::peers::session_id;
use crate::daemon::operations::Operations;
use crate::daemon::registry::Registry;
use crate::daemon::resync::{Resync, ResyncParts, ResyncSettings};

pub(super) fn pool(registry: &Arc<Registry>, spec: &NodeSpec, presence: &Arc<Presence>) -> Pool {
    let settings = PoolSettings {
        ttl: spec.config.registers.advertisement_ttl.0,
        grace: spec.config.session_ttl(),
        secret: spec.session_secret.clone(),
    };
    let presence = presence.clone();
    Pool::new(registry.clone(), settings, move || presence.has_rival())
}

/// What pushes the catalogue to the pool, and to those of others.
pub(super) fn resync(
    spec: &NodeSpec,
    pool: &Arc<Pool>,
    presence: &Arc<Presence>,
    metrics: &Metrics,
    operations: &Arc<Operations>,
) -> Result<Resync, reqwest::Error> {
    let registers = &spec.config.registers;
    let (present, sessions, counted) = (presence.clone(), pool.registry().clone(), pool.clone());
    let parts = ResyncParts {
        registry: pool.registry().clone(),
        pool: pool.clone(),
        operations: operations.clone(),
        metrics: metrics.registers(),
        session: Arc::new(move || {
            let session = sessions.held_groups().life_of(&session_id(sessions.node_id()));
            session.filter(|_| present.is_registered()).map(|session| session.instance)
        }),
        count_pool: Arc::new(move || {
            let LocalCounts { entries, unverified, deferred } = counted.counts();
            PoolCounts { local: entries, remote: remote_count(&counted), unverified, deferred }
        }),
    };
    let settings = ResyncSettings {
        resync_interval: registers.resync_interval.0,
        push_every: registers.push_every(),
        // Those that are none were refused with the configuration.
        peer_services: registers.peer_services.iter().filter_map(|url| peer_service(url).ok()).collect(),
    };
    Resync::new(parts, &settings)
}
