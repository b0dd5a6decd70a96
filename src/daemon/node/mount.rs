//! Mounting: what a part of a node is given, and where it puts what it serves, does by itself, needs, and does at the
//! end.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};

use futures_util::future::join_all;
use omnirelay_store::Kind;
use tokio::task::JoinSet;

use super::NodeError;
use super::ports::{Addresses, Port, PortName, RelayListeners};
use crate::daemon::audit::files::{AuditFiles, AuditKey};
use crate::daemon::config::Config;
use crate::daemon::metrics::Metrics;
use crate::daemon::objects::dev::Process;
use crate::daemon::operations::Operations;
use crate::daemon::readiness::Readiness;
use crate::daemon::registry::Registry;
use crate::daemon::surface::{FinishedCall, RequestObserver, Servable};

/// One capability of a node. A node is its parts, in their order.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    /// The kinds of records that are its own.
    pub kinds: Kinds,
    /// Puts it into a node that is about to start.
    pub mount: fn(&mut Mount) -> Result<(), NodeError>,
}

/// How a registry treats the kinds of a part.
#[derive(Clone, Copy, Debug)]
pub struct Kinds {
    /// Held in memory by every daemon.
    pub mirrored: &'static [Kind],
    /// Not held; those who watch are told of their changes.
    pub followed: &'static [Kind],
    /// Of the mirrored: nobody restores what a new epoch has lost of them, as whoever lives says so again. In the
    /// order in which an outage has them brought back: those first that others depend on.
    pub claimed: &'static [Kind],
    /// Of the mirrored: every daemon restores all that a new epoch has lost of them, whoever owns it.
    pub shared: &'static [Kind],
}

impl Kinds {
    /// Of a part that has no records.
    pub const NONE: Self = Self { mirrored: &[], followed: &[], claimed: &[], shared: &[] };
}

/// The steps of a stop, in their order. What runs until one of them is ended when it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
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

impl Phase {
    const ALL: [Self; 7] =
        [Self::Withdraw, Self::HandOver, Self::Drain, Self::Settle, Self::Seal, Self::Leave, Self::End];
}

/// How this node stands in the mesh, as the part knows that keeps it present.
pub trait KnowsPresence: Send + Sync {
    /// Whether it is registered, or is about to be again.
    fn stands(&self) -> bool;
    /// Whether its record says that it is alive, in the session it has.
    fn is_registered(&self) -> bool;
    /// Whether another daemon is known to have its id.
    fn has_rival(&self) -> bool;
}

/// How this node stands, for all of its parts. A node without the part that keeps it present has nothing to lose.
#[derive(Clone, Default)]
pub struct OwnPresence(Arc<OnceLock<Arc<dyn KnowsPresence>>>);

impl OwnPresence {
    /// Asks there from now on; the first is kept.
    pub fn ask(&self, known: Arc<dyn KnowsPresence>) {
        // A second one would be of another node.
        let _ = self.0.set(known);
    }
}

impl KnowsPresence for OwnPresence {
    fn stands(&self) -> bool {
        self.0.get().is_none_or(|known| known.stands())
    }

    fn is_registered(&self) -> bool {
        self.0.get().is_some_and(|known| known.is_registered())
    }

    fn has_rival(&self) -> bool {
        self.0.get().is_some_and(|known| known.has_rival())
    }
}

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A node that is being put together.
pub struct Mount {
    pub config: Arc<Config>,
    pub registry: Arc<Registry>,
    pub metrics: Arc<Metrics>,
    pub readiness: Arc<Readiness>,
    pub operations: Arc<Operations>,
    pub presence: OwnPresence,
    pub session_secret: String,
    pub audit_files: AuditFiles,
    pub audit_key: Arc<AuditKey>,
    /// Where telemetry is kept, unless the configuration says where.
    pub telemetry: PathBuf,
    /// The process, where it serves faults on demand.
    pub process: Option<Arc<dyn Process>>,
    /// Where the node listens.
    pub addresses: Addresses,
    /// The ports of the relay, where they are taken.
    pub relay: Option<RelayListeners>,
    pub(super) ports: BTreeMap<PortName, Port>,
    pub(super) observers: Vec<Arc<dyn RequestObserver>>,
    pub(super) stopping: Stopping,
}

impl Mount {
    /// Opens a port.
    pub fn open(&mut self, name: PortName, port: Port) {
        self.ports.insert(name, port);
    }

    /// Serves a generated tonic service on a port, where that is open.
    pub fn serve(&mut self, name: PortName, service: impl Servable) {
        if let Some(port) = self.ports.get_mut(&name) {
            port.surface.add(service);
        }
    }

    /// Has finished calls told of, on all ports.
    pub fn observe(&mut self, observer: Arc<dyn RequestObserver>) {
        self.observers.push(observer);
    }

    /// Has something done from the start on, until `until` at the latest.
    pub fn run(&mut self, until: Phase, work: impl Future<Output = ()> + Send + 'static) {
        self.stopping.begun.push((until, Box::pin(work)));
    }

    /// Has something done in a step of the stop, beside what others do then; what runs until that step has ended.
    pub fn at(&mut self, phase: Phase, work: impl Future<Output = ()> + Send + 'static) {
        self.stopping.at(phase, work);
    }
}

/// What runs, and how it stops. Dropping it ends everything as a crash would.
#[derive(Default)]
pub(super) struct Stopping {
    /// What is about to begin.
    begun: Vec<(Phase, Work)>,
    running: BTreeMap<Phase, JoinSet<()>>,
    steps: BTreeMap<Phase, Vec<Work>>,
}

impl Stopping {
    pub(super) fn at(&mut self, phase: Phase, work: impl Future<Output = ()> + Send + 'static) {
        self.steps.entry(phase).or_default().push(Box::pin(work));
    }

    /// What runs as long as the node does.
    pub(super) fn until_the_end(&mut self) -> &mut JoinSet<()> {
        self.running.entry(Phase::End).or_default()
    }

    /// Begins what is to run.
    pub(super) fn begin(&mut self) {
        for (until, work) in self.begun.drain(..) {
            self.running.entry(until).or_default().spawn(work);
        }
    }

    /// Goes through the steps.
    pub(super) async fn stop(mut self) {
        for phase in Phase::ALL {
            if let Some(mut running) = self.running.remove(&phase) {
                running.shutdown().await;
            }
            join_all(self.steps.remove(&phase).unwrap_or_default()).await;
        }
    }
}

/// Tells all who want to hear of finished calls.
pub(super) struct Observers(pub Vec<Arc<dyn RequestObserver>>);

impl RequestObserver for Observers {
    fn finished(&self, call: &FinishedCall<'_>) {
        self.0.iter().for_each(|observer| observer.finished(call));
    }
}
