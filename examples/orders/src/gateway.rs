//! Sends each order to the worker of the node that owns its shard.

use std::time::Duration;

use omnirelay_sdk::shards::{CallError, Chosen, ShardChooser};
use tonic::{Request, Response, Status};

use crate::pb::orders_client::OrdersClient;
use crate::pb::orders_server::Orders;
use crate::pb::{PlaceRequest, PlaceResponse};

/// How long an order waits while its shard goes from one node to another.
const WITHIN: Duration = Duration::from_secs(5);

/// The service of a gateway.
pub struct Gateway {
    pub chooser: ShardChooser,
}

impl Gateway {
    /// Has an order taken by whoever owns its shard.
    ///
    /// # Errors
    /// [`CallError`]: nobody has taken it, or it is not known.
    pub async fn send(&self, order: PlaceRequest) -> Result<PlaceResponse, CallError> {
        let key = order.order_id.clone();
        let place = |chosen: Chosen| {
            let order = PlaceRequest { shard_id: chosen.shard.id.clone(), ..order.clone() };
            async move { Ok(OrdersClient::new(chosen.channel).place(order).await?.into_inner()) }
        };
        self.chooser.call(key.as_bytes(), WITHIN, place).await
    }
}

#[tonic::async_trait]
impl Orders for Gateway {
    async fn place(&self, request: Request<PlaceRequest>) -> Result<Response<PlaceResponse>, Status> {
        match self.send(request.into_inner()).await {
            Ok(taken) => Ok(Response::new(taken)),
            Err(CallError::Failed(status)) => Err(*status),
            Err(error) => Err(Status::unavailable(error.to_string())),
        }
    }
}
