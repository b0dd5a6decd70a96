//! Takes orders of the shards that its node owns.

use std::sync::Arc;

use omnirelay_sdk::shards::ShardWorker;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use crate::pb::ledger_client::LedgerClient;
use crate::pb::orders_server::Orders;
use crate::pb::{PlaceRequest, PlaceResponse, WriteRequest};

/// The service of a worker.
pub struct Worker {
    pub name: String,
    /// Asks the daemon of this node what may be served.
    pub shards: Arc<ShardWorker>,
    pub ledger: LedgerClient<Channel>,
}

#[tonic::async_trait]
impl Orders for Worker {
    async fn place(&self, request: Request<PlaceRequest>) -> Result<Response<PlaceResponse>, Status> {
        let PlaceRequest { order_id, shard_id, text } = request.into_inner();
        // Held until the order is written: the shard goes to nobody else before.
        let served = self.shards.enter(&shard_id)?;
        let (fence_token, worker) = (served.fence, self.name.clone());
        let write =
            WriteRequest { shard_id: shard_id.clone(), fence_token, order_id, text, worker: worker.clone() };
        self.ledger.clone().write(write).await?;
        Ok(Response::new(PlaceResponse { shard_id, fence_token, worker }))
    }
}
