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
    // `cargo bench --bench api -- commits` measures only what has this in its name.
    let given = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    let asked = |name: &str| name.contains(&given);
    runtime.block_on(async {
        if asked("get-peer") {
            load::get_peer().await?;
        }
        if asked("list-peers") {
            load::list_peers().await?;
        }
        if asked("commits") {
            load::commits().await?;
        }
        if asked("store-commits") {
            load::store_commits().await?;
        }
        if asked("fanout") {
            fanout::grpc_watchers(100).await?;
            fanout::grpc_watchers(4).await?;
            fanout::sse_watchers().await?;
        }
        Ok(())
    })
}
