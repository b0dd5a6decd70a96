//! What the API costs, as ratios to a bare server, and to etcd where it is installed.
//!
//! Nothing is asserted. Each figure is the median of five runs that take turns with what they are
//! compared with, and the worst of them beside it.

#![allow(
    clippy::print_stdout,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a benchmark prints, and stops at the first surprise"
)]

mod etcd;
mod fanout;
mod load;
mod served;

use anyhow::Result;

fn main() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        load::get_peer().await?;
        load::list_peers().await?;
        load::commits().await?;
        load::store_commits().await?;
        fanout::grpc_watchers(100).await?;
        fanout::grpc_watchers(4).await?;
        fanout::sse_watchers().await
    })
}
