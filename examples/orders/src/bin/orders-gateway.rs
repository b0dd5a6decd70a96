//! A gateway: `orders-gateway --daemon http://127.0.0.1:17420 --listen 127.0.0.1:7000 --worker node-1=http://127.0.0.1:7001`.
#![allow(clippy::print_stdout, reason = "an example prints")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Parser;
use omnirelay_orders::gateway::Gateway;
use omnirelay_orders::pb::orders_server::OrdersServer;
use omnirelay_sdk::shards::{Endpoint, ShardChooser, ShardMap, ShardMapOptions};
use tonic::transport::Server;

/// Sends each order to the worker of the node that owns its shard
#[derive(Parser)]
struct Arguments {
    /// A daemon; several times for more, of which one is asked
    #[arg(long, value_name = "URL", required = true)]
    daemon: Vec<Endpoint>,
    /// Where orders come in
    #[arg(long, value_name = "HOST:PORT")]
    listen: SocketAddr,
    /// Where the worker of a node takes orders; once for each
    #[arg(long, value_name = "NODE=URL", value_parser = worker, required = true)]
    worker: Vec<(String, Endpoint)>,
    /// The namespace of orders
    #[arg(long, default_value = "orders")]
    namespace: String,
    /// Where the map is kept for a start while no daemon answers
    #[arg(long, value_name = "FILE")]
    cache: Option<PathBuf>,
}

fn worker(text: &str) -> Result<(String, Endpoint), String> {
    let (node, url) = text.split_once('=').ok_or("expected NODE=URL")?;
    let endpoint = Endpoint::from_shared(url.to_owned()).map_err(|error| error.to_string())?;
    Ok((node.to_owned(), endpoint))
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Arguments { daemon, listen, worker, namespace, cache } = Arguments::parse();
    let options = ShardMapOptions { daemons: daemon, namespace, cache };
    let map = Arc::new(ShardMap::follow(options).await?);
    let workers: BTreeMap<String, Endpoint> = worker.into_iter().collect();
    let chooser = ShardChooser::new(map, move |node| workers.get(node).cloned());
    println!("orders come in at {listen}");
    let stop = async { drop(tokio::signal::ctrl_c().await) };
    let orders = OrdersServer::new(Gateway { chooser });
    Server::builder().add_service(orders).serve_with_shutdown(listen, stop).await?;
    Ok(())
}
