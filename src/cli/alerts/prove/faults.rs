//! Faults that are planted on a mesh of `omnirelay up`, each with the alerts that tell of it.

use std::time::Duration;

use clap::ValueEnum;
use omnirelay_wire::rpc::{
    dev_service, leadership_control_service, namespace_control_service, peer_control_service,
};
use tokio::time::Instant;

use crate::frame::client::fresh_key;
use crate::frame::prelude::*;

const NODES: RpcMethod = dev_service::LIST;
const KILL: RpcMethod = dev_service::KILL;
const PAUSE: RpcMethod = dev_service::PAUSE;
const RESUME: RpcMethod = dev_service::RESUME;
const LEADER: RpcMethod = leadership_control_service::GET;
const SET_SCOPE: RpcMethod = leadership_control_service::SET_SCOPE;
const DELETE_SCOPE: RpcMethod = leadership_control_service::DELETE_SCOPE;
const CORDON: RpcMethod = peer_control_service::CORDON;
const UNCORDON: RpcMethod = peer_control_service::UNCORDON;
const CREATE_NAMESPACE: RpcMethod = namespace_control_service::CREATE;
const DELETE_NAMESPACE: RpcMethod = namespace_control_service::DELETE;

/// All that is called.
pub(super) const CALLED: &[&RpcMethod] = &[
    &NODES,
    &KILL,
    &PAUSE,
    &RESUME,
    &LEADER,
    &SET_SCOPE,
    &DELETE_SCOPE,
    &CORDON,
    &UNCORDON,
    &CREATE_NAMESPACE,
    &DELETE_NAMESPACE,
];

/// Changes that take no reason.
const DEV: [&str; 3] = [KILL.method, PAUSE.method, RESUME.method];

/// The scope that every mesh has.
const GLOBAL_SCOPE: &str = "global-control";
/// The scope that is made for a fault.
const SCOPE: &str = "drill/alerts";
/// The namespace that is made for a fault, and how many shards it has.
const DRILL_NAMESPACE: &str = "alerts-drill";
const SHARDS: u32 = 40;
/// Reason of each change, as the audit trail has it.
const REASON: &str = "alerts prove";
/// How long a call is repeated that the mesh is not ready for, and how often.
const CHANGE_WITHIN: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Fault that is planted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum DrillFault {
    /// A node that does not lead is killed
    Node,
    /// The leader of global-control is killed
    Leader,
    /// The only node that may lead a scope is killed
    Candidate,
    /// More than half of the nodes are killed
    Majority,
    /// A node stands still
    Pause,
    /// One node owns all shards of a namespace
    Shards,
}

impl DrillFault {
    pub(super) const ALL: [Self; 6] =
        [Self::Node, Self::Leader, Self::Candidate, Self::Majority, Self::Pause, Self::Shards];

    /// As flags and documents have it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Leader => "leader",
            Self::Candidate => "candidate",
            Self::Majority => "majority",
            Self::Pause => "pause",
            Self::Shards => "shards",
        }
    }

    /// Alerts that have to fire.
    pub(super) fn alerts(self) -> &'static [&'static str] {
        match self {
            Self::Node | Self::Leader => &["DaemonDown", "PeerUnexpectedlyGone"],
            Self::Candidate => &["DaemonDown", "NoLeader"],
            Self::Majority => &["DaemonDown", "DaemonsMissing"],
            Self::Pause => &["DaemonDown"],
            Self::Shards => &["ShardsUnbalanced"],
        }
    }
}

/// Mesh of `omnirelay up` on which faults are planted.
pub(super) struct DrillMesh<'a> {
    session: &'a CommandSession,
    nodes: Vec<String>,
    /// What puts right what was planted, the last first.
    undo: Vec<(&'static RpcMethod, Value)>,
}

impl<'a> DrillMesh<'a> {
    /// The mesh of a session, all of whose nodes run.
    ///
    /// # Errors
    /// When it is none of `omnirelay up`, has fewer than three nodes, or some of them do not run.
    pub(super) async fn of(session: &'a CommandSession) -> Result<Self, CliError> {
        let document = session.call(&Call::of(&NODES, &json!({}))?).await?;
        let listed = items(&document, "nodes");
        if let Some(node) = listed.iter().find(|node| text(node, "state") != "running") {
            let (name, state) = (text(node, "nodeId"), text(node, "state"));
            return Err(CliError::new(reasons::NODE_NOT_STARTED, format!("{name} is {state}"))
                .hint(format!("omnirelay dev resume {name}")));
        }
        let nodes: Vec<String> = listed.iter().map(|node| text(node, "nodeId").to_owned()).collect();
        if nodes.len() < 3 {
            return Err(CliError::usage("the faults need a mesh of three nodes or more")
                .hint("omnirelay up --nodes 5"));
        }
        Ok(Self { session, nodes, undo: Vec::new() })
    }

    pub(super) fn nodes(&self) -> &[String] {
        &self.nodes
    }

    /// Plants a fault; what was planted of it before an error is put right by [`Self::heal`] too.
    ///
    /// # Errors
    /// What the mesh refuses.
    pub(super) async fn plant(&mut self, fault: DrillFault) -> Result<(), CliError> {
        let leader = self.leader(GLOBAL_SCOPE).await?;
        let others = self.nodes.iter().filter(|node| **node != leader).cloned();
        let others: Vec<String> = others.collect();
        let Some(last) = others.last().cloned() else { return Ok(()) };
        match fault {
            DrillFault::Node => self.kill(&last).await,
            DrillFault::Leader => self.kill(&leader).await,
            DrillFault::Candidate => {
                let policy = json!({"eligible": {"nodes": [last]}});
                self.undo.push((&DELETE_SCOPE, json!({ "scope": SCOPE })));
                self.change(&SET_SCOPE, json!({ "scope": SCOPE, "policy": policy })).await?;
                self.leader(SCOPE).await?;
                self.kill(&last).await
            }
            DrillFault::Majority => {
                for node in &others[others.len() - self.nodes.len() / 2 - 1..] {
                    self.kill(node).await?;
                }
                Ok(())
            }
            DrillFault::Pause => {
                self.undo.push((&RESUME, json!({ "nodeId": last })));
                self.change(&PAUSE, json!({ "nodeId": last })).await.map(drop)
            }
            DrillFault::Shards => self.unbalance(&others).await,
        }
    }

    /// Puts right what was planted. Each part is tried, whatever becomes of another.
    ///
    /// # Errors
    /// The last that could not be put right.
    pub(super) async fn heal(&mut self) -> Result<(), CliError> {
        let mut healed = Ok(());
        while let Some((rpc, request)) = self.undo.pop() {
            match self.change(rpc, request).await {
                Err(error) if error.exit() != Exit::NotFound => healed = Err(error),
                _ => {}
            }
        }
        healed
    }

    async fn kill(&mut self, node: &str) -> Result<(), CliError> {
        self.undo.push((&RESUME, json!({ "nodeId": node })));
        self.change(&KILL, json!({ "nodeId": node })).await.map(drop)
    }

    /// Has one node own all shards of a namespace: the others may own none while it is made.
    async fn unbalance(&mut self, others: &[String]) -> Result<(), CliError> {
        self.undo.push((&DELETE_NAMESPACE, json!({ "namespace": DRILL_NAMESPACE })));
        for node in others {
            self.undo.push((&UNCORDON, json!({ "nodeId": node })));
            self.change(&CORDON, json!({ "nodeId": node })).await?;
        }
        let made = json!({ "namespace": DRILL_NAMESPACE, "shards": SHARDS });
        let document = self.change(&CREATE_NAMESPACE, made).await?;
        if !flag(&document, "detail.ready") {
            return Err(CliError::new(
                reasons::NAMESPACE_NOT_READY,
                "the shards of the namespace have no owner",
            )
            .hint(format!("omnirelay mesh leaders explain {GLOBAL_SCOPE}")));
        }
        for node in others {
            self.change(&UNCORDON, json!({ "nodeId": node })).await?;
        }
        Ok(())
    }

    /// Which node leads a scope, once one does.
    async fn leader(&self, scope: &str) -> Result<String, CliError> {
        let begun = Instant::now();
        loop {
            let document = self.session.call(&Call::of(&LEADER, &json!({ "scope": scope }))?).await?;
            let leader = text(&document, "leadership.leaderId");
            if !leader.is_empty() {
                return Ok(leader.to_owned());
            }
            if begun.elapsed() > CHANGE_WITHIN {
                return Err(CliError::new(reasons::NO_LEADER, format!("nobody leads {scope}"))
                    .hint(format!("omnirelay mesh leaders explain {scope}")));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Makes a change, again while the mesh has not come round yet.
    async fn change(&self, rpc: &RpcMethod, mut request: Value) -> Result<Value, CliError> {
        if !DEV.contains(&rpc.method) {
            request["reason"] = json!(REASON);
        }
        let begun = Instant::now();
        loop {
            match self.session.call(&Call::of(rpc, &request)?.keyed(&fresh_key()?, "")).await {
                Err(error) if error.exit() == Exit::Unavailable && begun.elapsed() < CHANGE_WITHIN => {
                    tokio::time::sleep(LOOK_EVERY).await;
                }
                answered => return answered,
            }
        }
    }
}
