//! Several complete nodes in one process, each on a thread and a runtime of its own.
//!
//! A node can be ended as a crash would end it, or frozen: its thread is held, so that its
//! timers, sockets and heartbeats stand still together.

use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tracing::{Instrument, error, info_span};

use super::config::Config;
use super::node::{Node, NodeSpec};
use super::objects::dev::{Fate, Process};
use super::store::Store;
use crate::wire::pb::omnirelay::dev::v1 as pb;
use pb::dev_node::State;

/// How long a decree waits, so that the node it is about can still say that it was heard.
const DECREE_DELAY: Duration = Duration::from_millis(50);

/// What one node of a fleet is.
pub struct MemberSpec {
    pub node_id: String,
    pub config: Arc<Config>,
    pub session_secret: String,
    pub control: SocketAddr,
}

/// The nodes of this process.
pub struct Fleet {
    members: Vec<Arc<Member>>,
}

/// One node and what became of it.
struct Member {
    spec: MemberSpec,
    store: Arc<dyn Store>,
    fleet: OnceLock<Weak<Fleet>>,
    /// What its thread is to do; the receiver is the thread's.
    orders: watch::Sender<Order>,
    freezer: Arc<Freezer>,
    life: Mutex<Life>,
}

#[derive(Default)]
struct Life {
    state: State,
    thread: Option<JoinHandle<()>>,
    runtime: Option<Handle>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Order {
    #[default]
    Run,
    /// Leave on purpose.
    Stop,
    /// End as a crash would.
    Die,
}

/// Holds a thread for as long as it is frozen.
#[derive(Default)]
struct Freezer {
    frozen: Mutex<bool>,
    thawed: Condvar,
}

impl Freezer {
    fn set(&self, frozen: bool) {
        *lock(&self.frozen) = frozen;
        self.thawed.notify_all();
    }

    /// Blocks the calling thread until it is thawed.
    fn hold(&self) {
        let frozen = lock(&self.frozen);
        drop(self.thawed.wait_while(frozen, |frozen| *frozen).unwrap_or_else(PoisonError::into_inner));
    }
}

/// Why a fleet did not come up.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    #[error("cannot start node `{node_id}`")]
    Thread { node_id: String, source: std::io::Error },
    #[error("node `{node_id}` did not come up: {what}")]
    Node { node_id: String, what: String },
}

impl Fleet {
    /// Starts every node and returns when all are ready.
    ///
    /// # Errors
    /// The first node that did not come up; the others are ended.
    pub fn start(specs: Vec<MemberSpec>, store: &Arc<dyn Store>) -> Result<Arc<Self>, FleetError> {
        let members = specs.into_iter().map(|spec| Arc::new(Member::new(spec, store.clone()))).collect();
        let fleet = Arc::new(Self { members });
        let (said, mut heard) = mpsc::unbounded_channel();
        for member in &fleet.members {
            let _ = member.fleet.set(Arc::downgrade(&fleet));
            member.launch(Some(said.clone()))?;
        }
        drop(said);
        for _ in &fleet.members {
            match heard.blocking_recv() {
                Some((_, Ok(()))) => {}
                Some((node_id, Err(what))) => return Err(FleetError::Node { node_id, what }),
                None => {
                    let what = "its thread ended".to_owned();
                    return Err(FleetError::Node { node_id: "?".to_owned(), what });
                }
            }
        }
        Ok(fleet)
    }

    /// Ends every node on purpose and waits for them.
    pub fn stop(&self) {
        for member in &self.members {
            member.order(Order::Stop);
        }
        for member in &self.members {
            member.join();
        }
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for member in &self.members {
            member.order(Order::Die);
            member.join();
        }
    }
}

type Said = mpsc::UnboundedSender<(String, Result<(), String>)>;

impl Member {
    fn new(spec: MemberSpec, store: Arc<dyn Store>) -> Self {
        Self {
            spec,
            store,
            fleet: OnceLock::new(),
            orders: watch::Sender::new(Order::Run),
            freezer: Arc::default(),
            life: Mutex::default(),
        }
    }

    /// Starts the node's thread; what became of it is said once.
    fn launch(self: &Arc<Self>, said: Option<Said>) -> Result<(), FleetError> {
        let node_id = self.spec.node_id.clone();
        let refuse = |source| FleetError::Thread { node_id: node_id.clone(), source };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(refuse)?;
        self.orders.send_replace(Order::Run);
        let handle = runtime.handle().clone();
        let member = self.clone();
        let thread = std::thread::Builder::new().name(node_id.clone()).spawn(move || {
            let span = info_span!("node", peer = %member.spec.node_id);
            runtime.block_on(member.live(said).instrument(span));
            // Whatever is left is dropped where it stands.
            runtime.shutdown_background();
        });
        let mut life = lock(&self.life);
        *life = Life { state: State::Running, thread: Some(thread.map_err(refuse)?), runtime: Some(handle) };
        Ok(())
    }

    async fn live(&self, said: Option<Said>) {
        let mut orders = self.orders.subscribe();
        let node = match self.start_node().await {
            Ok(node) => node,
            Err(what) => {
                error!(error = what, "node did not start");
                self.say(said.as_ref(), Err(what));
                return;
            }
        };
        node.ready().await;
        self.say(said.as_ref(), Ok(()));
        // The sender lives in this value, so waiting ends only with an order.
        let order = orders.wait_for(|order| *order != Order::Run).await.map_or(Order::Die, |order| *order);
        match order {
            Order::Stop => node.stop().await,
            Order::Run | Order::Die => drop(node),
        }
    }

    fn say(&self, said: Option<&Said>, what: Result<(), String>) {
        if let Some(said) = said {
            // Nobody listens any more once another node has failed.
            let _ = said.send((self.spec.node_id.clone(), what));
        }
    }

    async fn start_node(&self) -> Result<Node, String> {
        let listener = TcpListener::bind(self.spec.control)
            .map_err(|error| format!("cannot listen on {}: {error}", self.spec.control))?;
        let fleet = self.fleet.get().and_then(Weak::upgrade);
        let spec = NodeSpec {
            node_id: self.spec.node_id.clone(),
            config: self.spec.config.clone(),
            store: self.store.clone(),
            session_secret: self.spec.session_secret.clone(),
            listener,
            process: fleet.map(|fleet| fleet as Arc<dyn Process>),
        };
        Node::start(spec).await.map_err(|error| super::registry::follow::chain(&error))
    }

    fn order(&self, order: Order) {
        self.orders.send_replace(order);
        self.freezer.set(false);
    }

    fn join(&self) {
        let thread = lock(&self.life).thread.take();
        if let Some(thread) = thread
            && thread.thread().id() != std::thread::current().id()
        {
            // A thread that panicked is as gone as one that ended.
            let _ = thread.join();
        }
    }

    fn shown(&self) -> pb::DevNode {
        let state = lock(&self.life).state;
        pb::DevNode {
            node_id: self.spec.node_id.clone(),
            state: state.into(),
            control: self.spec.control.to_string(),
        }
    }

    fn kill(self: &Arc<Self>) -> bool {
        let was = std::mem::replace(&mut lock(&self.life).state, State::Killed);
        if was == State::Killed {
            return false;
        }
        let member = self.clone();
        self.later(move || member.order(Order::Die));
        true
    }

    fn pause(&self) -> bool {
        let mut life = lock(&self.life);
        if life.state != State::Running {
            return false;
        }
        life.state = State::Paused;
        self.freezer.set(true);
        if let Some(runtime) = &life.runtime {
            let freezer = self.freezer.clone();
            runtime.spawn(async move {
                tokio::time::sleep(DECREE_DELAY).await;
                // The runtime has this one thread: while it is held, the node stands still.
                freezer.hold();
            });
        }
        true
    }

    fn resume(self: &Arc<Self>) -> bool {
        let was = lock(&self.life).state;
        match was {
            State::Paused => {
                lock(&self.life).state = State::Running;
                self.freezer.set(false);
                true
            }
            State::Killed => {
                self.join();
                self.launch(None).is_ok()
            }
            State::Running | State::Unspecified => false,
        }
    }

    /// Does it on a thread of its own, a moment from now.
    fn later(&self, what: impl FnOnce() + Send + 'static) {
        let started = std::thread::Builder::new().name("decree".to_owned()).spawn(move || {
            std::thread::sleep(DECREE_DELAY);
            what();
        });
        if let Err(error) = started {
            error!(%error, "decree could not be carried out");
        }
    }
}

impl Process for Fleet {
    fn nodes(&self) -> Vec<pb::DevNode> {
        self.members.iter().map(|member| member.shown()).collect()
    }

    fn decree(&self, node_id: &str, fate: Fate) -> Option<bool> {
        let member = self.members.iter().find(|member| member.spec.node_id == node_id)?;
        Some(match fate {
            Fate::Kill => member.kill(),
            Fate::Pause => member.pause(),
            Fate::Resume => member.resume(),
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
