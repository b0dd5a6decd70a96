//! A worker: `orders-worker --daemon http://127.0.0.1:17420 --listen 127.0.0.1:7001 --ledger http://127.0.0.1:7009`.
#![allow(clippy::print_stdout, reason = "an example prints")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use omnirelay_orders::pb::ledger_client::LedgerClient;
use omnirelay_orders::pb::orders_server::OrdersServer;
use omnirelay_orders::worker::Worker;
use omnirelay_sdk::shards::{Endpoint, ShardWorker, ShardWorkerOptions};
use tonic::transport::Server;

/// Takes orders of the shards that the node of a daemon owns
#[derive(Parser)]
struct Arguments {
    /// The daemon of this node
    #[arg(long, value_name = "URL")]
    daemon: Endpoint,
    /// Where orders are taken
    #[arg(long, value_name = "HOST:PORT")]
    listen: SocketAddr,
    /// Where orders are written
    #[arg(long, value_name = "URL")]
    ledger: Endpoint,
    /// The namespace of orders
    #[arg(long, default_value = "orders")]
    namespace: String,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Arguments { daemon, listen, ledger, namespace } = Arguments::parse();
    let name = listen.to_string();
    let options = ShardWorkerOptions { daemon, namespace, worker_id: format!("orders at {name}") };
    let shards = Arc::new(ShardWorker::start(options));
    // Work that never ended would hold its shard for ever.
    let ledger = LedgerClient::new(ledger.timeout(Duration::from_secs(5)).connect_lazy());
    let worker = Worker { name, shards: shards.clone(), ledger };
    println!("orders are taken at {listen}");
    let stop = async { drop(tokio::signal::ctrl_c().await) };
    Server::builder().add_service(OrdersServer::new(worker)).serve_with_shutdown(listen, stop).await?;
    // Others may have the shards at once, without waiting for the leave of this process to run out.
    if let Some(shards) = Arc::into_inner(shards) {
        shards.stop().await;
    }
    Ok(())
}
