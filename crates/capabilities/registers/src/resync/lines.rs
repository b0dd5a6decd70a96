//! Lines of a resync: the targets that are pushed to, as the settings name them.

use std::sync::Arc;
use std::time::Duration;

use omnirelay_host::live::Live;
use omnirelay_identity::client::{ClientCertificate, ExpectedServers, LiveTlsClient, ServerTrust};
use omnirelay_identity::trust::MeshTrust;
use omnirelay_settings::ClientTlsConfig;
use parking_lot::Mutex;
use reqwest::Url;
use tracing::info;

use super::drive::TargetDriver;
use super::foreign::ForeignPool;
use super::local::LocalPoolTarget;
use super::target::PoolTarget as _;
use super::{PeerService, ResyncParts, ResyncSettings};

/// The lines of a resync: one to the pool in this daemon, and one to each of others that is kept up to date.
pub(super) struct PushLines {
    local: Arc<TargetDriver>,
    foreign: Mutex<Vec<ForeignLine>>,
}

/// Line to a pool of others.
struct ForeignLine {
    url: Url,
    tls: PoolTls,
    pool: Arc<ForeignPool>,
    driver: Arc<TargetDriver>,
}

/// TLS with a pool of others.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum PoolTls {
    /// As it is set for all.
    Set(ClientTlsConfig),
    /// With a node of this federated cluster.
    Cluster(String),
}

impl PoolTls {
    /// Client of a node that judges by `trust`.
    pub(super) fn client(&self, trust: &Arc<MeshTrust>) -> Arc<LiveTlsClient> {
        match self {
            Self::Set(tls) => tls.client(ExpectedServers::NodesAndServices, trust),
            Self::Cluster(cluster) => {
                let believes = ServerTrust::Cluster(cluster.clone());
                LiveTlsClient::new(believes, ClientCertificate::Node, trust.clone())
            }
        }
    }
}

impl ResyncSettings {
    /// TLS with pools of others that a resync names.
    pub(super) fn tls(&self) -> PoolTls {
        PoolTls::Set(self.peer_services_tls.clone())
    }

    fn tls_with(&self, service: &PeerService) -> PoolTls {
        service.cluster.clone().map_or_else(|| self.tls(), PoolTls::Cluster)
    }
}

impl PushLines {
    pub(super) fn new(parts: &ResyncParts, settings: &Live<ResyncSettings>) -> Self {
        let every = settings.map(|settings| settings.resync_interval);
        let local = LocalPoolTarget::new(parts.registry.clone(), parts.pool.clone(), every);
        let local = Arc::new(TargetDriver::new(Arc::new(local), parts.metrics.clone()));
        let lines = Self { local, foreign: Mutex::default() };
        lines.follow(parts, settings);
        lines
    }

    /// Line to the pool in this daemon.
    pub(super) fn local(&self) -> Arc<TargetDriver> {
        self.local.clone()
    }

    /// Lines to pools of others, in the order of the settings.
    pub(super) fn foreign_lines(&self) -> Vec<Arc<TargetDriver>> {
        self.foreign.lock().iter().map(|line| line.driver.clone()).collect()
    }

    /// All of them, that to the pool in this daemon first.
    pub(super) fn all(&self) -> Vec<Arc<TargetDriver>> {
        [vec![self.local()], self.foreign_lines()].concat()
    }

    /// Pool of others at an address, if there is a line to it.
    pub(super) fn foreign(&self, url: &Url) -> Option<Arc<ForeignPool>> {
        self.foreign.lock().iter().find(|line| line.url == *url).map(|line| line.pool.clone())
    }

    /// Brings the lines to what the settings name by now, and returns those that are new. A pool that stays keeps what is known of it,
    /// and is pushed to at once where its TLS is another. What was pushed to one that goes is left to run out.
    pub(super) fn follow(
        &self,
        parts: &ResyncParts,
        settings: &Live<ResyncSettings>,
    ) -> Vec<Arc<TargetDriver>> {
        let (named, mut lines) = (settings.get(), self.foreign.lock());
        let (mut before, mut begun) = (std::mem::take(&mut *lines), Vec::new());
        for service in &named.peer_services {
            let tls = named.tls_with(service);
            let known = before.iter().position(|line| line.url == service.url);
            let line = match known.map(|at| before.remove(at)) {
                Some(line) if line.tls == tls => line,
                Some(line) => {
                    line.pool.connect_by(tls.client(&parts.trust));
                    line.driver.inbox.all_at_once();
                    ForeignLine { tls, ..line }
                }
                None => {
                    let every = settings.map(|settings| settings.push_every);
                    let line = ForeignLine::new(parts, service.url.clone(), tls, every);
                    begun.push(line.driver.clone());
                    line
                }
            };
            lines.push(line);
        }
        for gone in before {
            gone.driver.end();
            info!(pool = gone.pool.name(), "pushing to a pool ended");
        }
        begun
    }
}

impl ForeignLine {
    fn new(parts: &ResyncParts, url: Url, tls: PoolTls, every: Live<Duration>) -> Self {
        let client = tls.client(&parts.trust);
        let pool = Arc::new(ForeignPool::new(parts.registry.clone(), url.clone(), client, every));
        let driver = Arc::new(TargetDriver::new(pool.clone(), parts.metrics.clone()));
        Self { url, tls, pool, driver }
    }
}
