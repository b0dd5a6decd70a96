//! The node builder: what a capability is given when it is mounted, and where it puts what it serves, does by itself, needs, and
//! does at the end.

use std::any::type_name;
use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use omnirelay_host::data_dir::disk_space::DiskSpace;
use omnirelay_host::live::Live;
use omnirelay_host::stalls::doing;
use omnirelay_identity::authenticate::Authenticator;
use omnirelay_identity::bearer::Bearers;
use omnirelay_identity::federation::FederatedClusters;
use omnirelay_identity::node_identity::IdentityFiles;
use omnirelay_identity::proof::SecretTokens;
use omnirelay_identity::provided::ChosenProvider;
use omnirelay_identity::trust::MeshTrust;
use omnirelay_nouns::merge::RecordMergers;
use omnirelay_nouns::notice::Notices;
use omnirelay_nouns::topic::Topics;
use omnirelay_registry::Registry;
use omnirelay_registry::epoch_loss::RestorationRule;
use omnirelay_settings::{ConfigSource, LiveConfig};
use omnirelay_store::RecordKind;
use omnirelay_surface::{
    CallJudge, CallTracer, FailedHandshake, FinishedCall, RequestObserver, SurfaceBuilder, TonicService,
};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::mesh_port::MeshPort;
use super::ports::{NodeAddresses, PortName, RelayListeners, ServedPort};
use crate::metrics::Metrics;
use crate::operations::Operations;
use crate::readiness::Readiness;

/// The kinds of records of a capability, and how a registry treats them.
#[derive(Clone, Copy, Debug)]
pub struct CapabilityKinds {
    /// Held in memory by every daemon.
    pub mirrored: &'static [RecordKind],
    /// Not held; those who watch are told of their changes.
    pub followed: &'static [RecordKind],
    /// Neither held nor told of: whoever is asked for them reads them.
    pub stored: &'static [RecordKind],
    /// Of the mirrored: nobody restores what a new epoch has lost of them, as whoever lives says so again. In the
    /// order in which an outage has them brought back: those first that others depend on.
    pub claimed: &'static [RecordKind],
    /// Of the mirrored: they count only when an issuer has signed them, once the mesh demands that.
    pub signed: &'static [RecordKind],
    /// Of the mirrored: how what a new epoch has lost of them comes back, in this order.
    pub restored: &'static [RestorationRule],
}

impl CapabilityKinds {
    /// Of a capability that has no records.
    pub const NONE: Self =
        Self { mirrored: &[], followed: &[], stored: &[], claimed: &[], signed: &[], restored: &[] };
}

/// The steps of a stop, in their order. What runs until one of them is ended when it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StopPhase {
    /// Others are told not to count on this node.
    Withdraw,
    /// What it holds is handed over: others are waiting for it.
    HandOver,
    /// Its ports take no more calls, and finish those that run.
    Drain,
    /// What came while they did is brought to its end.
    Settle,
    /// What it has done is sealed.
    Seal,
    /// It leaves the mesh.
    Leave,
    /// The rest ends; until then probes are answered.
    End,
}

pub(super) type BoxedWork = Pin<Box<dyn Future<Output = ()> + Send>>;
/// Adds a service to what a port serves.
pub(super) type ServiceMount = Box<dyn FnOnce(&mut SurfaceBuilder) + Send>;

/// A node that is being put together.
pub struct NodeBuilder {
    /// The configuration as it is now.
    pub settings: LiveConfig,
    /// Where that is from; `None`: the process has made it.
    pub source: Option<ConfigSource>,
    pub registry: Arc<Registry>,
    pub metrics: Arc<Metrics>,
    pub readiness: Arc<Readiness>,
    pub operations: Arc<Operations>,
    /// What capabilities tell in the stream of events, of records.
    pub topics: Arc<Topics>,
    /// What they tell there of this daemon.
    pub notices: Arc<Notices>,
    /// How capabilities put together what a new epoch has lost with what was written since.
    pub mergers: Arc<RecordMergers>,
    /// By what certificates are judged, and who the node is by its own.
    pub trust: Arc<MeshTrust>,
    /// How the mesh port stands.
    pub mesh_port: Arc<watch::Sender<MeshPort>>,
    /// Where who the node is and whom it trusts are kept.
    pub identity_files: IdentityFiles,
    /// Where the node's own identity comes from.
    pub provision: ChosenProvider,
    /// Clusters of other meshes that advertisements are exchanged with.
    pub federation: FederatedClusters,
    pub session_secret: String,
    /// The disk of its data directory.
    pub disk: Arc<DiskSpace>,
    /// Where the node listens.
    pub addresses: NodeAddresses,
    /// The ports of the relay, where they are taken.
    pub relay: Option<RelayListeners>,
    /// The secret tokens that prove somebody at the control port.
    pub tokens: Arc<SecretTokens>,
    /// The signed tokens that do.
    pub bearers: Arc<Bearers>,
    pub(super) ports: BTreeMap<PortName, AtPort>,
    pub(super) observers: Vec<Arc<dyn RequestObserver>>,
    /// `None`: every call that is let in may begin.
    pub(super) call_judge: Option<Arc<dyn CallJudge>>,
    /// `None`: nobody records what is done for calls.
    pub(super) call_tracer: Option<Arc<dyn CallTracer>>,
    pub(super) stopping: StopSequence,
}

impl NodeBuilder {
    /// Limit of the watches that each noun serves at once.
    pub fn watches_max(&self) -> Live<usize> {
        self.settings.live(|config| config.control.watches_max)
    }

    /// Opens a port.
    pub fn open(&mut self, name: PortName, port: ServedPort) {
        self.port(name).port = Some(port);
    }

    /// Serves a generated tonic service on a port, if a capability opens it. What the control port serves, nodes reach at the mesh
    /// port too, as far as the policies of its methods say so.
    pub fn serve(&mut self, name: PortName, service: impl TonicService) {
        if name == PortName::Control {
            let service = service.clone();
            self.port(PortName::Mesh).served.push(Box::new(move |surface| surface.add(service)));
        }
        self.port(name).served.push(Box::new(move |surface| surface.add(service)));
    }

    /// Adds routes (HTTP paths) that are no operations to a port that serves operations, if a capability opens it. They pass the check
    /// of the host and no authentication; a path that is there already ends the process at its start.
    pub fn routes(&mut self, name: PortName, routes: axum::Router) {
        self.port(name).served.push(Box::new(move |surface| surface.add_routes(routes)));
    }

    /// Has an authenticator prove the callers of a port, if a capability opens it; the last one that is given counts. Nobody else is let
    /// in at the control port.
    pub fn authenticate(&mut self, name: PortName, authenticator: impl Authenticator) {
        self.port(name).served.push(Box::new(move |surface| surface.set_authenticator(authenticator)));
    }

    /// Has something done as soon as a port is drained, beside what others do until all are.
    pub fn after_drain(&mut self, name: PortName, work: impl Future<Output = ()> + Send + 'static) {
        self.port(name).drained.push(Box::pin(work));
    }

    /// Has finished calls told of, on all ports.
    pub fn observe(&mut self, observer: Arc<dyn RequestObserver>) {
        self.observers.push(observer);
    }

    /// Has the calls of all ports judged before they begin; the last judge that is given counts.
    pub fn judge_calls(&mut self, judge: Arc<dyn CallJudge>) {
        self.call_judge = Some(judge);
    }

    /// Has what is done for the calls of all ports recorded; the last tracer that is given counts.
    pub fn trace_calls(&mut self, tracer: Arc<dyn CallTracer>) {
        self.call_tracer = Some(tracer);
    }

    /// Has something done from the start on, until `until` at the latest.
    pub fn run<W: Future<Output = ()> + Send + 'static>(&mut self, until: StopPhase, work: W) {
        self.stopping.step(until).begun.push(Box::pin(doing(type_name::<W>(), work)));
    }

    /// Has something done in a step of the stop, beside what others do then; what runs until that step has ended.
    pub fn at(&mut self, phase: StopPhase, work: impl Future<Output = ()> + Send + 'static) {
        self.stopping.at(phase, work);
    }

    fn port(&mut self, name: PortName) -> &mut AtPort {
        self.ports.entry(name).or_default()
    }
}

/// Share of the capabilities in a port: the port, what is served there, and what is done once it is drained.
#[derive(Default)]
pub(super) struct AtPort {
    /// `None`: no capability opens it.
    pub port: Option<ServedPort>,
    pub served: Vec<ServiceMount>,
    /// What is done once it is drained.
    pub drained: Vec<BoxedWork>,
}

/// Signal that something that runs has panicked: the node goes on without it, and is not ready any more.
#[derive(Clone, Debug)]
pub(super) struct PanicSignal(Arc<watch::Sender<bool>>);

impl Default for PanicSignal {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }
}

impl PanicSignal {
    pub(super) fn is_so(&self) -> bool {
        *self.0.borrow()
    }

    /// Is ready once something has.
    pub(super) async fn happens(&self) {
        // The sender is here.
        let _ = self.0.subscribe().wait_for(|is_so| *is_so).await;
    }

    /// Does what a capability does by itself. What it panicked with is told by the runtime.
    async fn unless(self, work: impl Future<Output = ()> + Send) {
        if AssertUnwindSafe(work).catch_unwind().await.is_err() {
            self.0.send_replace(true);
        }
    }
}

/// Tasks that run until a step of the stop.
pub(super) struct PhaseTasks {
    tasks: JoinSet<()>,
    broken: PanicSignal,
}

impl PhaseTasks {
    pub(super) fn spawn(&mut self, work: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(self.broken.clone().unless(work));
    }
}

/// Tasks that run, and the steps by which they stop. Dropping it ends everything as a crash would.
#[derive(Default)]
pub(super) struct StopSequence {
    steps: BTreeMap<StopPhase, StopStep>,
    pub(super) broken: PanicSignal,
}

struct StopStep {
    /// What is about to begin, and is ended when the step begins.
    begun: Vec<BoxedWork>,
    running: PhaseTasks,
    /// What is done then.
    done: Vec<BoxedWork>,
}

impl StopSequence {
    /// Tasks that run until a step of the stop.
    pub(super) fn until(&mut self, phase: StopPhase) -> &mut PhaseTasks {
        &mut self.step(phase).running
    }

    pub(super) fn at(&mut self, phase: StopPhase, work: impl Future<Output = ()> + Send + 'static) {
        self.step(phase).done.push(Box::pin(work));
    }

    /// Begins what is to run.
    pub(super) fn begin(&mut self) {
        for StopStep { begun, running, .. } in self.steps.values_mut() {
            for work in begun.drain(..) {
                running.spawn(work);
            }
        }
    }

    /// Goes through the steps.
    pub(super) async fn stop(mut self) {
        while let Some((_, mut step)) = self.steps.pop_first() {
            step.running.tasks.shutdown().await;
            join_all(step.done).await;
        }
    }

    fn step(&mut self, phase: StopPhase) -> &mut StopStep {
        let broken = &self.broken;
        self.steps.entry(phase).or_insert_with(|| StopStep {
            begun: Vec::new(),
            running: PhaseTasks { tasks: JoinSet::new(), broken: broken.clone() },
            done: Vec::new(),
        })
    }
}

/// Tells all who want to hear of finished calls.
pub(super) struct RequestObservers(pub Vec<Arc<dyn RequestObserver>>);

impl RequestObserver for RequestObservers {
    fn finished(&self, call: &FinishedCall<'_>) {
        self.0.iter().for_each(|observer| observer.finished(call));
    }

    fn unshaken(&self, handshake: &FailedHandshake<'_>) {
        self.0.iter().for_each(|observer| observer.unshaken(handshake));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_node_whose_part_has_panicked_is_broken_and_one_whose_parts_end_is_not() {
        let mut stopping = StopSequence::default();
        let broken = stopping.broken.clone();
        stopping.until(StopPhase::End).spawn(async {});
        stopping.until(StopPhase::End).spawn(std::future::pending());
        stopping.stop().await;
        assert!(!broken.is_so());

        let mut stopping = StopSequence::default();
        let broken = stopping.broken.clone();
        stopping.until(StopPhase::Drain).spawn(std::future::pending());
        stopping.step(StopPhase::End).begun.push(Box::pin(async { panic!("as a part would") }));
        assert!(!broken.is_so());
        stopping.begin();
        broken.happens().await;
        assert!(broken.is_so());
    }
}
