//! Faults on demand: ends, freezes and revives the nodes of this process.

use std::sync::Arc;
use std::time::Duration;

use omnirelay_core::text::chain;
use omnirelay_identity::caller::Caller;
use omnirelay_nouns::SCHEMA_VERSION;
use omnirelay_nouns::serve;
use omnirelay_registry::Registry;
use omnirelay_registry::record::AuditedAction;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::dev::v1 as pb;
use omnirelay_wire::reasons;
use omnirelay_wire::rpc::dev_service;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tracing::warn;

use pb::dev_service_server::DevService;

/// How long the end of a node is waited for.
const END_LIMIT: Duration = Duration::from_secs(10);

/// Fault that is to be injected into a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InjectedFault {
    /// Its tasks and sockets are dropped; nothing is released.
    Kill,
    /// It keeps its sockets and does nothing.
    Pause,
    /// It goes on, or starts again.
    Resume,
}

/// Outcome of a fault that was injected into a node.
pub enum InjectedFaultOutcome {
    /// The node was so already, or is not in a state from which it could become so.
    Unchanged,
    /// Of all nodes only this one runs: nobody could be asked to bring any of them back.
    Last,
    Done,
    /// The node is being ended; told, or dropped, once its sockets are closed.
    Ending(oneshot::Receiver<()>),
    /// The node is being started; says once how that ended.
    Starting(oneshot::Receiver<Result<(), String>>),
}

/// The process that runs the nodes; it is not one of them, so it can freeze each.
pub trait DevProcess: Send + Sync + 'static {
    /// The nodes in the order they were started.
    fn nodes(&self) -> Vec<pb::DevNode>;

    /// Carries out a fate; `None` for an unknown node. Does not block.
    fn decree(&self, node_id: &str, fate: InjectedFault) -> Option<InjectedFaultOutcome>;
}

/// Serves `DevService` for a process.
pub struct DevCalls {
    pub process: Arc<dyn DevProcess>,
    pub registry: Arc<Registry>,
}

impl DevCalls {
    async fn list_all(&self) -> Result<pb::ListDevNodesResponse, Fault> {
        let nodes = self.process.nodes();
        Ok(pb::ListDevNodesResponse { schema_version: SCHEMA_VERSION.to_owned(), nodes })
    }

    async fn decree(
        &self,
        caller: &Caller,
        node_id: String,
        fate: InjectedFault,
    ) -> Result<pb::DevNodeChange, Fault> {
        if self.process.nodes().iter().any(|node| node.node_id == node_id) {
            self.record(caller, &node_id, fate).await;
        }
        let unknown = || {
            Fault::new(reasons::NODE_NOT_FOUND, "this process does not run that node")
                .hint("omnirelay dev list")
        };
        let changed = match self.process.decree(&node_id, fate).ok_or_else(unknown)? {
            InjectedFaultOutcome::Unchanged => false,
            InjectedFaultOutcome::Last => return Err(last(&node_id)),
            InjectedFaultOutcome::Done => true,
            InjectedFaultOutcome::Ending(end) => {
                // One that does not end in time is being ended still.
                let _ = timeout(END_LIMIT, end).await;
                true
            }
            InjectedFaultOutcome::Starting(end) => {
                let end = end.await.unwrap_or_else(|_| Err("its thread ended".to_owned()));
                end.map_err(|what| not_started(&node_id, &what))?;
                true
            }
        };
        let node = self.process.nodes().into_iter().find(|node| node.node_id == node_id);
        Ok(pb::DevNodeChange { schema_version: SCHEMA_VERSION.to_owned(), changed, node })
    }
}

impl DevCalls {
    /// Before it: this very node may be the one that ends. A store that is away is no reason to refuse a fault on demand.
    async fn record(&self, caller: &Caller, node_id: &str, fate: InjectedFault) {
        let (action, changes) = (fate.action(), Vec::new());
        let object = format!("node/{node_id}");
        let deed = AuditedAction { action, object, reason: "", dry_run: false, changes };
        if let Err(error) = self.registry.record(caller, deed).await {
            let request_id = &caller.request_id;
            warn!(%request_id, action, error = %chain(&error), "fault on demand was not recorded in the audit trail");
        }
    }
}

impl InjectedFault {
    fn action(self) -> &'static str {
        match self {
            Self::Kill => dev_service::KILL.audit_action,
            Self::Pause => dev_service::PAUSE.audit_action,
            Self::Resume => dev_service::RESUME.audit_action,
        }
    }
}

fn last(node_id: &str) -> Fault {
    let message = format!("node `{node_id}` is the only one that runs: nobody could bring any of them back");
    Fault::new(reasons::LAST_NODE, message)
        .hint("omnirelay dev resume NODE     # another one first; omnirelay down ends the mesh")
}

fn not_started(node_id: &str, what: &str) -> Fault {
    Fault::new(reasons::NODE_NOT_STARTED, format!("node `{node_id}` did not come up: {what}"))
        .hint(format!("omnirelay dev resume {node_id}"))
}

serve! {
    DevService for DevCalls {
        list(ListDevNodesRequest) -> ListDevNodesResponse: |dev, _, _| dev.list_all();
        kill(KillDevNodeRequest) -> DevNodeChange: |dev, caller, asked| dev.decree(caller, asked.node_id, InjectedFault::Kill);
        pause(PauseDevNodeRequest) -> DevNodeChange: |dev, caller, asked| dev.decree(caller, asked.node_id, InjectedFault::Pause);
        resume(ResumeDevNodeRequest) -> DevNodeChange: |dev, caller, asked| dev.decree(caller, asked.node_id, InjectedFault::Resume);
    }
}

#[cfg(test)]
#[path = "dev_test.rs"]
mod tests;
