//! One node: its registry, its ports and its capabilities, put together.

mod access;
mod control_port;
#[cfg(any(test, feature = "testing"))]
#[expect(clippy::unwrap_used, reason = "of tests")]
pub mod lab;
mod mesh_port;
pub mod metrics;
pub mod node_asker;
mod node_builder;
pub mod operations;
mod port_tls;
mod ports;
mod probes;
pub mod readiness;
mod serving;
mod slow_calls;
mod token_issuer;
pub mod transport;

use std::collections::BTreeMap;
use std::mem;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use omnirelay_decisions::audit_seal::mac::MacKey;
use omnirelay_host::data_dir::disk_space::DiskSpace;
use omnirelay_identity::IdentitySources;
use omnirelay_identity::bearer::Bearers;
use omnirelay_identity::node_identity::IdentityFiles;
use omnirelay_identity::tls::TlsError;
use omnirelay_identity::trust::{HasAuthority, MeshTrust};
use omnirelay_identity::without_proof::WithoutProof;
use omnirelay_registry::Registry;
use omnirelay_registry::follow::follow_log;
use omnirelay_settings::{Config, ConfigSource, LiveConfig};
use omnirelay_store::timed::{TimedCall, TimedOutcome, TimedStore};
use omnirelay_store::{RecordKind, Retention, Store};
use omnirelay_surface::{CallTrace, FinishedCall, RequestObserver, SurfaceError};
use tokio::sync::watch;

use crate::metrics::Metrics;
use crate::operations::Operations;
use crate::readiness::{Readiness, item};

/// What [`metrics!`] makes metrics of, and collects their rows with.
#[doc(hidden)]
pub use {inventory, prometheus};

pub use control_port::limits;
pub use mesh_port::{LatePort, MeshPort, OpenMeshPort};
pub use node_builder::{CapabilityKinds, NodeBuilder, StopPhase};
pub use port_tls::{LiveTls, PortTls, TlsOpener};
pub use ports::{
    NodeAddresses, PortName, PortState, PortTaken, RELAY_REGISTRY_SERVICE, RELAY_SERVICE, RelayAddresses,
    RelayListeners, ServedPort,
};
pub use serving::{asynchronous, per_address_max};

use access::follow_access;
use node_builder::{AtPort, RequestObservers, StopSequence};
use probes::ProbeSources;
use serving::SurfaceListeners;
use slow_calls::SlowCallLog;
use token_issuer::TokenIssuer;

/// How soon a node that starts looks whether it is ready, and how often one that waits long for its store: each look asks all of it.
const READY_LOOK_FIRST: Duration = Duration::from_millis(2);
const READY_LOOK_EVERY: Duration = Duration::from_millis(100);

/// How often the store is tidied.
const HOUSEKEEPING_EVERY: Duration = Duration::from_secs(5);

/// What is so once a part has panicked.
const BROKEN: &str = "a part of the daemon has panicked, as its log says, and what it did is done by nobody: start the daemon again";

/// The folder of telemetry in a data directory.
pub const TELEMETRY_FOLDER: &str = "telemetry";

/// Settings and parts that a node is made of.
pub struct NodeSpec {
    pub node_id: String,
    pub config: LiveConfig,
    /// Where that is from; `None`: the process has made it.
    pub source: Option<ConfigSource>,
    pub store: Arc<dyn Store>,
    pub session_secret: String,
    pub listener: TcpListener,
    /// By what else it lets callers in.
    pub access: IdentitySources,
    /// The ports of the relay and of the registry of relays, where one of them is switched on.
    pub relay: Option<RelayListeners>,
    /// Where it keeps who it is and whom it trusts.
    pub identity: IdentityFiles,
    /// Its data directory, or that of its process.
    pub data_dir: PathBuf,
}

/// The capabilities of a node: which records are theirs, and how they are mounted.
pub struct NodeCapabilities<C> {
    /// The kinds of each, in the order in which they are brought back after an outage.
    pub kinds: &'static [CapabilityKinds],
    /// The key under which the node marks the audit records that it writes.
    pub audit_mac: MacKey,
    /// What a registry says of an authority.
    pub has_authority: fn(&Registry) -> HasAuthority,
    /// Mounts them.
    pub mount: C,
}

/// Callers that come in at the control port without proof, with every scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdmitWithoutProof {
    /// Whoever reaches the port.
    Anyone,
    /// Whoever is on the daemon's host.
    Host,
    Nobody,
}

impl AdmitWithoutProof {
    /// As in answers: `anyone`, `host` or `nobody`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Anyone => "anyone",
            Self::Host => "host",
            Self::Nobody => "nobody",
        }
    }
}

/// Reason why a node could not be started.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    #[error("cannot serve the API")]
    Surface(#[from] SurfaceError),
    #[error("cannot use the listening socket")]
    Listen(#[source] std::io::Error),
    #[error("cannot serve a port under TLS")]
    Tls(#[from] TlsError),
    #[error("cannot count")]
    Metrics(#[from] prometheus::Error),
    /// A capability that cannot be mounted.
    #[error("{what}")]
    Capability { what: &'static str, source: Box<dyn std::error::Error + Send + Sync> },
}

impl NodeError {
    /// Wraps the error that a capability failed with, under a sentence that says what could not be done.
    pub fn of<E: std::error::Error + Send + Sync + 'static>(what: &'static str) -> impl FnOnce(E) -> Self {
        move |source| Self::Capability { what, source: Box::new(source) }
    }
}

/// Looks at whether a node is ready, each after a tenth longer than the one before.
struct ReadyLooks(Duration);

impl ReadyLooks {
    async fn pause(&mut self) {
        tokio::time::sleep(self.0).await;
        self.0 = (self.0 + self.0 / 10).min(READY_LOOK_EVERY);
    }
}

impl Default for ReadyLooks {
    fn default() -> Self {
        Self(READY_LOOK_FIRST)
    }
}

/// A running node. Dropping it ends it as a crash would.
pub struct Node {
    registry: Arc<Registry>,
    readiness: Arc<Readiness>,
    addresses: NodeAddresses,
    stopping: StopSequence,
}

impl Node {
    /// Starts everything; returns once the API listens, before the node is ready. To be called within a runtime.
    ///
    /// # Errors
    /// [`NodeError`]; nothing runs then.
    pub async fn start<C>(spec: NodeSpec, capabilities: NodeCapabilities<C>) -> Result<Self, NodeError>
    where
        C: FnOnce(&mut NodeBuilder) -> Result<(), NodeError>,
    {
        let NodeCapabilities { kinds, audit_mac, has_authority, mount } = capabilities;
        let mut node = NodeBuilder::of(spec, kinds, &audit_mac, has_authority)?;
        mount(&mut node)?;
        node.listen()?;
        Ok(node.begin())
    }

    pub fn id(&self) -> &str {
        self.registry.node_id()
    }

    /// Address where the API listens.
    pub fn control(&self) -> SocketAddr {
        self.addresses.control
    }

    /// Addresses where the relay and the registry of relays listen; `None` while neither is switched on.
    pub fn relay(&self) -> Option<RelayAddresses> {
        self.addresses.relay
    }

    /// Registry of the node: what it knows of the mesh, for the tests of other crates.
    #[cfg(any(test, feature = "testing"))]
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Returns once the node is ready: `/readyz` says 200.
    pub async fn ready(&self) {
        let mut looks = ReadyLooks::default();
        while !self.readiness.is_ready() {
            looks.pause().await;
        }
    }

    /// Returns once the node is ready, or its store is known to be away.
    pub async fn ready_or_waiting(&self) {
        let mut looks = ReadyLooks::default();
        while !self.readiness.is_ready() && self.registry.view().silence().is_none() {
            looks.pause().await;
        }
    }

    /// Reason why the store does not answer, while the node is not ready because of that.
    pub fn awaited(&self) -> Option<String> {
        let view = self.registry.view();
        let waits = !self.readiness.is_ready() && view.silence().is_some();
        waits.then(|| view.connectivity().trouble().unwrap_or_default())
    }

    /// Returns once a part of the node has panicked. The node goes on without it, is not ready any more, and is better ended: what
    /// that part was for, nobody does.
    pub async fn broken(&self) {
        self.stopping.broken.happens().await;
    }

    /// Stops on purpose, in the steps of [`StopPhase`]: no new calls, streams told to go elsewhere, running calls
    /// finished, the peer marked as left and its session ended.
    pub async fn stop(self) {
        self.readiness.drain();
        self.stopping.stop().await;
    }
}

impl NodeBuilder {
    /// A node without capabilities, whose registry has their kinds.
    fn of(
        spec: NodeSpec,
        kinds: &[CapabilityKinds],
        audit_mac: &MacKey,
        has_authority: fn(&Registry) -> HasAuthority,
    ) -> Result<Self, NodeError> {
        let control = spec.listener.local_addr().map_err(NodeError::Listen)?;
        let relay = spec.relay.as_ref().map(RelayListeners::addresses).transpose();
        let addresses = NodeAddresses::new(control, relay.map_err(NodeError::Listen)?);
        let trust = MeshTrust::default();
        let trusted = trust.changes();
        let metrics = Arc::new(Metrics::new()?);
        let timing = metrics.store_timing();
        let observe = move |ended: TimedOutcome| {
            timing(ended);
            CallTrace::note(store_span(ended.call), ended.took, ended.has_failed);
        };
        let store = Arc::new(TimedStore::new(spec.store.clone(), Box::new(observe)));
        let registry = registry(&spec, store, kinds, audit_mac);
        let registry = Arc::new(registry.believing_files(move || trusted.borrow().provided.is_some()));
        // What whoever lives says again is told of nobody as lost.
        let is_said_again = |kind: &&RecordKind| kinds.iter().any(|of| of.claimed.contains(kind));
        let told = registry.view().mirrored().iter().filter(|kind| !is_said_again(kind));
        metrics.expect_losses(&told.cloned().collect::<Vec<_>>());
        // The registry has records judged by the trust, and neither is to keep the other.
        let known = Arc::downgrade(&registry);
        let asks = move || known.upgrade().map_or(HasAuthority::Unknown, |registry| has_authority(&registry));
        let trust = Arc::new(trust.asking(asks));
        let issuer = TokenIssuer::of(&spec.config);
        let secret = spec.config.live(|config| config.security.issuer_secret_file.clone());
        let bearers = Arc::new(Bearers::new(trust.clone(), issuer.live()));
        let slow_calls = SlowCallLog::new(spec.config.live(|config| config.log.slow_calls.0));
        let mut node = Self {
            tokens: spec.access.tokens.clone(),
            bearers,
            readiness: Arc::new(Readiness::new(registry.clone())),
            operations: Arc::new(Operations::new(registry.clone())),
            topics: Arc::default(),
            notices: Arc::default(),
            mergers: Arc::default(),
            observers: vec![Arc::new(CallCounter(metrics.clone())), Arc::new(slow_calls)],
            call_judge: None,
            call_tracer: None,
            metrics,
            trust,
            mesh_port: Arc::new(watch::Sender::new(MeshPort::NotEnrolled)),
            identity_files: spec.identity.with_secret_at(&secret),
            provision: spec.access.provision.clone(),
            federation: spec.access.federation.clone(),
            session_secret: spec.session_secret,
            disk: Arc::new(DiskSpace::of(spec.data_dir)),
            addresses,
            relay: spec.relay,
            ports: BTreeMap::new(),
            stopping: StopSequence::default(),
            settings: spec.config,
            source: spec.source,
            registry: registry.clone(),
        };
        node.run(StopPhase::End, node.metrics.clone().keep());
        let access = spec.access;
        node.run(StopPhase::End, follow_access(&node.settings, &access));
        issuer.tell(&node.metrics);
        node.run(StopPhase::End, issuer.keep());
        node.open_control(spec.listener, access.socket)?;
        node.run(StopPhase::End, follow_log(registry.clone()));
        node.run(StopPhase::End, registry.keep_house(node.settings.live(retention), HOUSEKEEPING_EVERY));
        Ok(node)
    }

    /// Serves its ports.
    fn listen(&mut self) -> Result<(), NodeError> {
        let observer = Arc::new(RequestObservers(mem::take(&mut self.observers)));
        for (name, AtPort { port, served, drained }) in mem::take(&mut self.ports) {
            let Some(mut port) = port else { continue };
            port.surface.name_port(name.word());
            port.surface.name_changes(!self.registry.store().is_in_process());
            if let Some(judge) = &self.call_judge {
                port.surface.judge_calls(judge.clone());
            }
            if let Some(tracer) = &self.call_tracer {
                port.surface.trace_calls(tracer.clone());
            }
            served.into_iter().for_each(|serve| serve(&mut port.surface));
            let mut serving =
                SurfaceListeners::begin(self.stopping.until(StopPhase::End), port, observer.clone())?;
            self.stopping.at(StopPhase::Drain, async move {
                serving.stop().await;
                join_all(drained).await;
            });
        }
        Ok(())
    }

    /// Begins what it does by itself.
    fn begin(self) -> Node {
        let Self { registry, readiness, addresses, mut stopping, .. } = self;
        let broken = stopping.broken.clone();
        readiness.add(move || {
            broken.is_so().then(|| item("parts", true, Some(BROKEN.to_owned()))).into_iter().collect()
        });
        stopping.begin();
        Node { registry, readiness, addresses, stopping }
    }

    fn probed(&self) -> ProbeSources {
        let (registry, readiness) = (self.registry.clone(), self.readiness.clone());
        ProbeSources { registry, readiness, metrics: self.metrics.clone() }
    }

    /// What the relay's own HTTP port answers.
    pub fn relay_probes(&self, is_up: impl Fn() -> bool + Clone + Send + Sync + 'static) -> axum::Router {
        probes::relay_probes(self.probed(), is_up)
    }
}

/// The registry of a node, and what is special about its kinds.
fn registry(spec: &NodeSpec, store: Arc<dyn Store>, kinds: &[CapabilityKinds], mac: &MacKey) -> Registry {
    let families = kinds.iter().map(|kinds| kinds.restored.to_vec());
    let restored = families.filter(|family| !family.is_empty()).collect();
    let all = |pick: fn(&CapabilityKinds) -> &'static [RecordKind]| -> Vec<RecordKind> {
        kinds.iter().flat_map(pick).cloned().collect()
    };
    Registry::new(spec.node_id.clone(), store, &all(|kinds| kinds.mirrored))
        .following(&all(|kinds| kinds.followed))
        .claiming(&all(|kinds| kinds.claimed))
        .signing(&all(|kinds| kinds.signed))
        .restoring(restored, spec.config.live(Config::session_ttl))
        .marking_audit(mac.clone())
}

/// What the span of a call of the store is called, where it is made for a call.
fn store_span(call: TimedCall) -> &'static str {
    match call {
        TimedCall::Pulse => "store pulse",
        TimedCall::Commit => "store commit",
        TimedCall::Read => "store read",
        TimedCall::Group => "store group",
        TimedCall::Housekeep => "store housekeep",
    }
}

fn retention(config: &Config) -> Retention {
    let history = &config.history;
    Retention {
        log_age: history.age.0,
        log_entries_max: history.entries_max,
        tombstone_age: history.tombstone_age.0,
        idempotency_age: history.idempotency_age.0,
        idempotency_entries_max: history.idempotency_entries_max,
    }
}

/// Callers that come in at the control port without proof now.
pub fn let_in(config: &Config, trust: &MeshTrust) -> AdmitWithoutProof {
    match config.without_proof() {
        WithoutProof::Anyone => AdmitWithoutProof::Anyone,
        WithoutProof::Host => AdmitWithoutProof::Host,
        WithoutProof::HostUntilAuthority if trust.has_authority() == HasAuthority::No => {
            AdmitWithoutProof::Host
        }
        WithoutProof::HostUntilAuthority | WithoutProof::Nobody => AdmitWithoutProof::Nobody,
    }
}

/// Counts finished calls.
struct CallCounter(Arc<Metrics>);

impl RequestObserver for CallCounter {
    fn finished(&self, call: &FinishedCall<'_>) {
        self.0.count_call(call.method, call.code, call.protocol.word(), call.duration);
        if !call.streamed {
            self.0.count_objective(call.code);
        }
        self.0.count_transport(call.protocol, call.port);
    }
}

#[cfg(test)]
mod reload_test;
