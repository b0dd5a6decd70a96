//! What orders are written to: it takes writes only of whoever owns a shard by now.

use omnirelay_sdk::{FencingGate, Refused};
use tonic::{Request, Response, Status};

use crate::pb::ledger_server::Ledger as Service;
use crate::pb::{WriteRequest, WriteResponse};

/// The service of the ledger.
pub struct Ledger {
    pub namespace: String,
    /// Refuses a fence token below one that it has seen of the same shard.
    pub gate: FencingGate,
    /// Writes an order down.
    pub write: Box<dyn Fn(&WriteRequest) + Send + Sync>,
}

#[tonic::async_trait]
impl Service for Ledger {
    async fn write(&self, request: Request<WriteRequest>) -> Result<Response<WriteResponse>, Status> {
        let order = request.into_inner();
        let scope = format!("shard/{}/{}", self.namespace, order.shard_id);
        // In one step: nobody with a greater token comes in between.
        match self.gate.run(&scope, order.fence_token, || (self.write)(&order)) {
            Ok(()) => Ok(Response::new(WriteResponse {})),
            Err(stale @ Refused::Stale { .. }) => Err(Status::failed_precondition(stale.to_string())),
            Err(error) => Err(Status::internal(error.to_string())),
        }
    }
}
