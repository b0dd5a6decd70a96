//! Several complete nodes in one process, each on a thread and a runtime of its own.
//!
//! A node can be ended as a crash would end it, or frozen: its thread is held, so that its
//! timers, sockets and heartbeats stand still together.

#[cfg(test)]
mod fleet_test;
mod freezer;

use std::future::Future;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use omnirelay_audit::files::AuditFiles;
use omnirelay_core::text::chain;
use omnirelay_host::log::RecentLines;
use omnirelay_identity::IdentitySources;
use omnirelay_identity::federation::FederatedClusters;
use omnirelay_identity::node_identity::IdentityFiles;
use omnirelay_identity::provided::ChosenProvider;
use omnirelay_identity::socket::ControlSocket;
use omnirelay_node::{Node, NodeSpec, RelayAddresses, RelayListeners};
use omnirelay_node_service::dev::{DevProcess, InjectedFault, InjectedFaultOutcome};
use omnirelay_settings::Config;
use omnirelay_store::StoreSource;
use omnirelay_wire::pb::omnirelay::dev::v1 as pb;
use parking_lot::Mutex;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{Instrument, error, info_span};

use crate::compose::{self, FromProcess};
use freezer::Freezer;
use pb::dev_node::State;

/// How long a decree waits, so that the node it is about can still say that it was heard.
const DECREE_DELAY: Duration = Duration::from_millis(50);

/// Specification of one node of a fleet.
pub struct MemberSpec {
    pub node_id: String,
    pub config: Arc<Config>,
    pub session_secret: String,
    /// The newest lines of the log of the process.
    pub log: Arc<RecentLines>,
    pub control: SocketAddr,
    /// Where the node keeps what it knows of the audit trail.
    pub audit: AuditFiles,
    /// Where it keeps who it is and whom it trusts.
    pub identity: IdentityFiles,
    /// The data directory of the process.
    pub data_dir: PathBuf,
    /// Where its relay keeps telemetry.
    pub telemetry: PathBuf,
    /// Bound to `control`: taken when the address was chosen, so that nobody takes it in between.
    pub listener: TcpListener,
    /// Where the relay and the registry of relays are, taken in the same way; `None` while neither is switched on.
    pub relay: Option<(RelayAddresses, RelayListeners)>,
}

/// The nodes of this process.
pub struct Fleet {
    members: Vec<Arc<Member>>,
    /// Held while a decree is carried out.
    decrees: Mutex<()>,
    /// Why a node was started that is not ready: what it has heard of its store.
    awaited: OnceLock<String>,
}

/// One node and what became of it.
struct Member {
    node_id: String,
    config: Arc<Config>,
    session_secret: String,
    log: Arc<RecentLines>,
    control: SocketAddr,
    audit: AuditFiles,
    identity: IdentityFiles,
    data_dir: PathBuf,
    telemetry: PathBuf,
    relay: Option<RelayAddresses>,
    /// Of the first life; later ones bind anew.
    listener: Mutex<Option<NodeListeners>>,
    stores: StoreSource,
    fleet: OnceLock<Weak<Fleet>>,
    life: Mutex<NodeLife>,
    /// True once it was ready, in whatever life.
    ready: watch::Sender<bool>,
}

/// Listeners of a node: of its control port, and of the ports of the relay.
pub(super) type NodeListeners = (TcpListener, Option<RelayListeners>);

/// The life a node is in, or the one it had last.
#[derive(Default)]
struct NodeLife {
    /// Tells a life from the one before it.
    number: u64,
    state: State,
    thread: Option<JoinHandle<()>>,
    reins: Option<LifeControls>,
    /// Told when it has ended.
    mourners: Vec<oneshot::Sender<()>>,
}

/// Controls of one life of a node; they mean nothing to the next.
#[derive(Clone)]
struct LifeControls {
    runtime: Handle,
    /// What the thread is to do; the receiver is the thread's.
    orders: Arc<watch::Sender<LifeOrder>>,
    freezer: Arc<Freezer>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum LifeOrder {
    #[default]
    Run,
    /// Leave on purpose.
    Stop,
    /// End as a crash would.
    Die,
}

/// Reason why a fleet did not come up.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    #[error("cannot start node `{node_id}`")]
    Thread { node_id: String, source: std::io::Error },
    #[error("node `{node_id}` did not come up: {what}")]
    Node { node_id: String, what: String },
    #[error("cannot wait for the nodes")]
    Wait(#[source] std::io::Error),
    #[error("told to stop before all nodes were ready")]
    Stopped,
}

impl Fleet {
    /// Starts every node and returns when all are ready, or when `asked` to stop. A node whose store
    /// is away counts as ready.
    ///
    /// # Errors
    /// The first node that did not come up, or [`FleetError::Stopped`]; no node runs then.
    pub fn start(
        specs: Vec<MemberSpec>,
        stores: &StoreSource,
        asked: impl Future<Output = ()>,
    ) -> Result<Arc<Self>, FleetError> {
        let waiting = tokio::runtime::Builder::new_current_thread().build().map_err(FleetError::Wait)?;
        let members = specs.into_iter().map(|spec| Arc::new(Member::new(spec, stores.clone()))).collect();
        let fleet = Arc::new(Self { members, decrees: Mutex::default(), awaited: OnceLock::new() });
        let (said, heard) = mpsc::unbounded_channel();
        for member in &fleet.members {
            let _ = member.fleet.set(Arc::downgrade(&fleet));
            let said = said.clone();
            let node_id = member.node_id.clone();
            // Nobody listens any more once another node has failed.
            let say = Box::new(move |what| drop(said.send((node_id, what))));
            let spoken = member.launch(&mut member.life.lock(), say);
            let node_id = || member.node_id.clone();
            spoken.map_err(|source| FleetError::Thread { node_id: node_id(), source })?;
        }
        drop(said);
        let awaited = waiting.block_on(async {
            tokio::select! {
                outcome = all_ready(fleet.members.len(), heard) => outcome,
                () = asked => {
                    fleet.stop();
                    Err(FleetError::Stopped)
                }
            }
        })?;
        if let Some(why) = awaited {
            let _ = fleet.awaited.set(why);
        }
        Ok(fleet)
    }

    /// Reason why the store was away when the nodes were started, if it was.
    pub fn awaited(&self) -> Option<&str> {
        self.awaited.get().map(String::as_str)
    }

    /// Waits until every node has been ready.
    pub async fn ready(&self) {
        for member in &self.members {
            // The member lives as long as the fleet, so the sender is never gone while we wait.
            let _ = member.ready.subscribe().wait_for(|ready| *ready).await;
        }
    }

    /// Ends every node on purpose and waits for them.
    pub fn stop(&self) {
        self.end(LifeOrder::Stop);
    }

    fn end(&self, order: LifeOrder) {
        for member in &self.members {
            member.order(order);
        }
        for member in &self.members {
            member.join();
        }
    }
}

async fn all_ready(
    count: usize,
    mut heard: mpsc::UnboundedReceiver<(String, Result<Option<String>, String>)>,
) -> Result<Option<String>, FleetError> {
    let mut awaited = None;
    for _ in 0..count {
        match heard.recv().await {
            Some((_, Ok(why))) => awaited = awaited.or(why),
            Some((node_id, Err(what))) => return Err(FleetError::Node { node_id, what }),
            None => {
                let what = "its thread ended".to_owned();
                return Err(FleetError::Node { node_id: "?".to_owned(), what });
            }
        }
    }
    Ok(awaited)
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.end(LifeOrder::Die);
    }
}

/// Says once how a node's start ended; if the store is away, with what is known of that.
type StartReport = Box<dyn FnOnce(Result<Option<String>, String>) + Send>;

impl Member {
    fn new(spec: MemberSpec, stores: StoreSource) -> Self {
        let MemberSpec {
            node_id,
            config,
            session_secret,
            log,
            control,
            audit,
            identity,
            data_dir,
            telemetry,
            listener,
            relay,
        } = spec;
        let (relay, relay_listeners) = relay.unzip();
        let listener = Mutex::new(Some((listener, relay_listeners)));
        let (fleet, life) = (OnceLock::new(), Mutex::default());
        Self {
            node_id,
            config,
            session_secret,
            log,
            control,
            audit,
            identity,
            data_dir,
            telemetry,
            relay,
            listener,
            stores,
            fleet,
            life,
            ready: watch::Sender::new(false),
        }
    }

    /// Begins the node's next life, which waits for the end of the one before. On an error the
    /// node is killed.
    fn launch(self: &Arc<Self>, life: &mut NodeLife, say: StartReport) -> std::io::Result<()> {
        life.state = State::Killed;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let number = life.number + 1;
        let (orders, heard) = watch::channel(LifeOrder::Run);
        let reins = LifeControls {
            runtime: runtime.handle().clone(),
            orders: Arc::new(orders),
            freezer: Arc::default(),
        };
        let member = self.clone();
        let former = life.thread.take();
        let thread = std::thread::Builder::new().name(self.node_id.clone()).spawn(move || {
            // A thread that panicked is as gone as one that ended.
            drop(former.map(JoinHandle::join));
            let _end = LifeEndGuard { member: &member, number };
            member.run(runtime, heard, say);
        })?;
        // Whoever waits for the end of the life before is not to wait for that of this one.
        let (thread, reins, mourners) = (Some(thread), Some(reins), Vec::new());
        *life = NodeLife { number, state: State::Running, thread, reins, mourners };
        Ok(())
    }

    fn run(&self, runtime: Runtime, orders: watch::Receiver<LifeOrder>, say: StartReport) {
        let span = info_span!("node", peer = %self.node_id);
        runtime.block_on(self.live(orders, say).instrument(span));
        // Whatever is left is dropped where it stands.
        runtime.shutdown_background();
    }

    async fn live(&self, mut orders: watch::Receiver<LifeOrder>, say: StartReport) {
        let node = match self.start_node().await {
            Ok(node) => node,
            Err(what) => {
                error!(error = what, "node did not start");
                return say(Err(what));
            }
        };
        let order = tokio::select! {
            biased;
            order = next_order(&mut orders) => {
                say(Err("it was told to end before it was ready".to_owned()));
                order
            }
            order = broken(&node) => {
                say(Err("a part of it has panicked".to_owned()));
                order
            }
            () = node.ready_or_waiting() => {
                say(Ok(node.awaited()));
                self.obey_while_ready(&node, &mut orders).await
            }
        };
        match order {
            LifeOrder::Stop => node.stop().await,
            LifeOrder::Run | LifeOrder::Die => drop(node),
        }
    }

    /// Waits for the next order, or until the node is broken, and notes meanwhile that it is ready.
    async fn obey_while_ready(&self, node: &Node, orders: &mut watch::Receiver<LifeOrder>) -> LifeOrder {
        tokio::select! {
            biased;
            order = next_order(orders) => return order,
            order = broken(node) => return order,
            () = node.ready() => {}
        }
        self.ready.send_replace(true);
        tokio::select! {
            biased;
            order = next_order(orders) => order,
            order = broken(node) => order,
        }
    }

    async fn start_node(&self) -> Result<Node, String> {
        let kept = self.listener.lock().take();
        let (listener, relay) = kept.map_or_else(|| self.listen(), Ok)?;
        let fleet = self.fleet.get().cloned().unwrap_or_default();
        let control = &self.config.control;
        let open = |path: &PathBuf| {
            ControlSocket::open(path, control.socket_mode.0, control.socket_group.as_deref())
        };
        let spec = NodeSpec {
            node_id: self.node_id.clone(),
            config: Config::clone(&self.config).into(),
            source: None,
            store: self.stores.of_node(),
            session_secret: self.session_secret.clone(),
            listener,
            access: IdentitySources {
                socket: control.socket.as_ref().map(open).transpose().map_err(|error| chain(&error))?,
                provision: ChosenProvider::of(self.config.security.identity.provided()),
                federation: FederatedClusters::of(self.config.federated()),
                ..IdentitySources::default()
            },
            relay,
            identity: self.identity.clone(),
            data_dir: self.data_dir.clone(),
        };
        let given = FromProcess {
            audit: self.audit.clone(),
            telemetry: self.telemetry.clone(),
            // Nobody looks for stalls of the loops of a mesh on one host.
            stalls: Arc::default(),
            log: self.log.clone(),
            faults: Some(Arc::new(FleetHandle { fleet, own: self.node_id.clone() })),
        };
        compose::start(spec, given).await.map_err(|error| chain(&error))
    }

    /// Takes the ports of the node anew.
    fn listen(&self) -> Result<NodeListeners, String> {
        let listener = TcpListener::bind(self.control)
            .map_err(|error| format!("cannot listen on {}: {error}", self.control))?;
        let relay = self.relay.map(RelayListeners::bind).transpose();
        Ok((listener, relay.map_err(|error| chain(&error))?))
    }

    fn order(&self, order: LifeOrder) {
        let reins = self.life.lock().reins.clone();
        if let Some(reins) = reins {
            reins.order(order);
        }
    }

    fn join(&self) {
        let thread = self.life.lock().thread.take();
        if let Some(thread) = thread
            && thread.thread().id() != std::thread::current().id()
        {
            // A thread that panicked is as gone as one that ended.
            let _ = thread.join();
        }
    }

    fn shown(&self) -> pb::DevNode {
        let state = self.life.lock().state;
        pb::DevNode { node_id: self.node_id.clone(), state: state.into(), control: self.control.to_string() }
    }

    /// Ends a node. Its end is waited for, unless it is the one that was asked (`own`), which has to answer first.
    fn kill(&self, own: bool) -> InjectedFaultOutcome {
        let mut life = self.life.lock();
        let Some(reins) = life.reins.clone().filter(|_| life.state != State::Killed) else {
            return InjectedFaultOutcome::Unchanged;
        };
        life.state = State::Killed;
        if !own {
            let (mourner, end) = oneshot::channel();
            life.mourners.push(mourner);
            reins.order(LifeOrder::Die);
            return InjectedFaultOutcome::Ending(end);
        }
        // On a thread that is no node's, because a node's may be held.
        let started = std::thread::Builder::new().name("decree".to_owned()).spawn(move || {
            std::thread::sleep(DECREE_DELAY);
            reins.order(LifeOrder::Die);
        });
        if let Err(error) = started {
            error!(%error, "decree could not be carried out");
        }
        InjectedFaultOutcome::Done
    }

    fn pause(&self) -> InjectedFaultOutcome {
        let mut life = self.life.lock();
        let Some(reins) = life.reins.clone().filter(|_| life.state == State::Running) else {
            return InjectedFaultOutcome::Unchanged;
        };
        life.state = State::Paused;
        reins.freezer.set(true);
        reins.runtime.spawn(async move {
            tokio::time::sleep(DECREE_DELAY).await;
            // The runtime has this one thread: while it is held, the node stands still.
            reins.freezer.hold();
        });
        InjectedFaultOutcome::Done
    }

    fn resume(self: &Arc<Self>) -> InjectedFaultOutcome {
        let mut life = self.life.lock();
        match life.state {
            State::Paused => {
                life.state = State::Running;
                if let Some(reins) = &life.reins {
                    reins.freezer.set(false);
                }
                InjectedFaultOutcome::Done
            }
            State::Killed => {
                let (say, end) = oneshot::channel();
                // A caller that did not wait does not want to know.
                let say = Box::new(move |what: Result<_, _>| drop(say.send(what.map(drop))));
                if let Err(error) = self.launch(&mut life, say) {
                    error!(%error, "node could not be started");
                }
                InjectedFaultOutcome::Starting(end)
            }
            State::Running | State::Unspecified => InjectedFaultOutcome::Unchanged,
        }
    }
}

impl LifeControls {
    fn order(&self, order: LifeOrder) {
        self.orders.send_replace(order);
        self.freezer.set(false);
    }
}

/// The next order; without anybody to give one, the node dies.
async fn next_order(orders: &mut watch::Receiver<LifeOrder>) -> LifeOrder {
    orders.wait_for(|order| *order != LifeOrder::Run).await.map_or(LifeOrder::Die, |order| *order)
}

/// What follows once a part of the node has panicked: it goes on without that, and ends as one that was killed.
async fn broken(node: &Node) -> LifeOrder {
    node.broken().await;
    error!("a part of the node has panicked, and the node ends as one that was killed");
    LifeOrder::Die
}

/// Notes the end of a life, however it comes.
struct LifeEndGuard<'a> {
    member: &'a Member,
    number: u64,
}

impl Drop for LifeEndGuard<'_> {
    fn drop(&mut self) {
        let mut life = self.member.life.lock();
        if life.number == self.number {
            life.state = State::Killed;
            // Those who do not wait any more need not know.
            for mourner in life.mourners.drain(..) {
                let _ = mourner.send(());
            }
        }
    }
}

/// The fleet as one of its nodes reaches it: it does not keep it alive.
struct FleetHandle {
    fleet: Weak<Fleet>,
    own: String,
}

impl DevProcess for FleetHandle {
    fn nodes(&self) -> Vec<pb::DevNode> {
        self.fleet.upgrade().map(|fleet| fleet.nodes()).unwrap_or_default()
    }

    fn decree(&self, node_id: &str, fate: InjectedFault) -> Option<InjectedFaultOutcome> {
        self.fleet.upgrade()?.decree(node_id, fate, node_id == self.own)
    }
}

impl Fleet {
    fn nodes(&self) -> Vec<pb::DevNode> {
        self.members.iter().map(|member| member.shown()).collect()
    }

    /// `own`: whether the node that it is about was asked itself.
    fn decree(&self, node_id: &str, fate: InjectedFault, own: bool) -> Option<InjectedFaultOutcome> {
        // One after the other, or two could each take the other for the one that is left.
        let _one_at_a_time = self.decrees.lock();
        let member = self.members.iter().find(|member| member.node_id == node_id)?;
        let mut others = self.members.iter().filter(|other| other.node_id != node_id);
        let runs = |member: &Arc<Member>| member.life.lock().state == State::Running;
        if fate != InjectedFault::Resume && runs(member) && !others.any(runs) {
            return Some(InjectedFaultOutcome::Last);
        }
        Some(match fate {
            InjectedFault::Kill => member.kill(own),
            InjectedFault::Pause => member.pause(),
            InjectedFault::Resume => member.resume(),
        })
    }
}
