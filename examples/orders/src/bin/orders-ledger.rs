//! The ledger: `orders-ledger --listen 127.0.0.1:7009 --fences orders-fences`.
#![allow(clippy::print_stdout, reason = "an example prints")]

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;
use omnirelay_orders::ledger::Ledger;
use omnirelay_orders::pb::ledger_server::LedgerServer;
use omnirelay_sdk::FencingGate;
use tonic::transport::Server;

/// Writes orders down, of whoever owns their shards
#[derive(Parser)]
struct Arguments {
    /// Where writes come in
    #[arg(long, value_name = "HOST:PORT")]
    listen: SocketAddr,
    /// The file of the greatest fence tokens, of this process alone
    #[arg(long, value_name = "FILE")]
    fences: PathBuf,
    /// The namespace of orders
    #[arg(long, default_value = "orders")]
    namespace: String,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Arguments { listen, fences, namespace } = Arguments::parse();
    let write = Box::new(|order: &omnirelay_orders::pb::WriteRequest| {
        println!("{} of shard {} by {}: {}", order.order_id, order.shard_id, order.worker, order.text);
    });
    let ledger = LedgerServer::new(Ledger { namespace, gate: FencingGate::open(fences)?, write });
    let stop = async { drop(tokio::signal::ctrl_c().await) };
    Server::builder().add_service(ledger).serve_with_shutdown(listen, stop).await?;
    Ok(())
}
