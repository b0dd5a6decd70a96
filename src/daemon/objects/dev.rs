//! Faults on demand: ends, freezes and revives the nodes of this process.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::SCHEMA_VERSION;
use crate::wire::fault::{Code, Fault};
use crate::wire::pb::omnirelay::dev::v1 as pb;
use pb::dev_node::State;
use pb::dev_service_server::DevService;

/// What is to become of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Its tasks and sockets are dropped; nothing is released.
    Kill,
    /// It keeps its sockets and does nothing.
    Pause,
    /// It goes on, or starts again.
    Resume,
}

/// The process that runs the nodes; it is not one of them, so it can freeze each.
pub trait Process: Send + Sync + 'static {
    /// The nodes in the order they were started.
    fn nodes(&self) -> Vec<pb::DevNode>;

    /// Carries out a fate; returns whether anything changed, or `None` for an unknown node.
    fn decree(&self, node_id: &str, fate: Fate) -> Option<bool>;
}

/// Serves `DevService` for a process.
pub struct Dev {
    pub process: Arc<dyn Process>,
}

impl Dev {
    fn decree(&self, node_id: &str, fate: Fate) -> Result<Response<pb::DevNodeChange>, Status> {
        let unknown = || {
            Fault::new(Code::NotFound, "NODE_NOT_FOUND", "this process does not run that node")
                .hint("omnirelay dev list")
        };
        let changed = self.process.decree(node_id, fate).ok_or_else(unknown)?;
        let mut node = self.process.nodes().into_iter().find(|node| node.node_id == node_id);
        if let Some(node) = &mut node {
            node.set_state(match fate {
                Fate::Kill => State::Killed,
                Fate::Pause => State::Paused,
                Fate::Resume => State::Running,
            });
        }
        Ok(Response::new(pb::DevNodeChange { schema_version: SCHEMA_VERSION.to_owned(), changed, node }))
    }
}

#[tonic::async_trait]
impl DevService for Dev {
    async fn list(
        &self,
        _request: Request<pb::ListDevNodesRequest>,
    ) -> Result<Response<pb::ListDevNodesResponse>, Status> {
        let nodes = self.process.nodes();
        Ok(Response::new(pb::ListDevNodesResponse { schema_version: SCHEMA_VERSION.to_owned(), nodes }))
    }

    async fn kill(
        &self,
        request: Request<pb::KillDevNodeRequest>,
    ) -> Result<Response<pb::DevNodeChange>, Status> {
        self.decree(&request.into_inner().node_id, Fate::Kill)
    }

    async fn pause(
        &self,
        request: Request<pb::PauseDevNodeRequest>,
    ) -> Result<Response<pb::DevNodeChange>, Status> {
        self.decree(&request.into_inner().node_id, Fate::Pause)
    }

    async fn resume(
        &self,
        request: Request<pb::ResumeDevNodeRequest>,
    ) -> Result<Response<pb::DevNodeChange>, Status> {
        self.decree(&request.into_inner().node_id, Fate::Resume)
    }
}
