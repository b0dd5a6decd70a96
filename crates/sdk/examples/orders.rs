//! Serves orders where their shard is owned: `cargo run -p omnirelay-sdk --features client --example orders -- http://127.0.0.1:17421 order-1`.
//!
//! Run beside the daemon of each node, one of them writes the order, and the others say who does.
#![allow(clippy::print_stdout, reason = "an example prints")]

use std::error::Error;
use std::time::Duration;

use omnirelay_sdk::FencingGate;
use omnirelay_sdk::shards::{Endpoint, ShardMap, ShardMapOptions, ShardWorker, ShardWorkerOptions};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(daemon), Some(order)) = (arguments.next(), arguments.next()) else {
        return Err("name a daemon and an order: http://127.0.0.1:17421 order-1".into());
    };
    let daemon = Endpoint::from_shared(daemon)?;
    let map = ShardMap::follow(ShardMapOptions {
        daemons: vec![daemon.clone()],
        namespace: "orders".to_owned(),
        cache: Some("orders-map.json".into()),
    });
    let map = map.await?;
    let worker = ShardWorker::start(ShardWorkerOptions {
        daemon,
        namespace: "orders".to_owned(),
        worker_id: format!("orders-{}", std::process::id()),
    });
    // Beside what is written to: all workers pass the same one.
    let gate = FencingGate::open("orders-fences")?;
    tokio::time::sleep(Duration::from_secs(1)).await;

    let shard = map.lookup(order.as_bytes()).ok_or("the namespace has no shards")?;
    let Some(work) = worker.enter(&shard.id) else {
        println!("{order} is of shard {}, which {} owns", shard.id, shard.owner);
        return Ok(());
    };
    gate.run(&format!("shard/orders/{}", shard.id), work.fence, || println!("{order} is written here"))?;
    Ok(())
}
