//! `omnirelay mesh shards`: which node owns which part of a namespace.

pub(crate) mod columns;
mod diff;
mod disable;
mod explain;
mod get;
mod history;
mod list;
mod load;
mod lookup;
mod pause;
mod rebalance;
mod resume;
mod simulate;
mod watch;
pub(crate) mod which;

pub(crate) use columns::difference;
pub(crate) use simulate::weight;

use super::entry::verbs;
use super::schema::documents::message;

/// The kind in `shard/NAMESPACE/SHARD`.
pub(crate) const KIND: &str = "shard";

verbs! {
    /// The shards of namespaces and who owns them
    #[command(visible_alias = "sh", alias = "shard", arg_required_else_help = true)]
    "shards" ShardsArgs {
        List: list::ShardsListArgs,
        Get: get::ShardsGetArgs,
        Lookup: lookup::ShardsLookupArgs,
        Watch: watch::ShardsWatchArgs,
        Diff: diff::ShardsDiffArgs,
        History: history::ShardsHistoryArgs,
        Simulate: simulate::ShardsSimulateArgs,
        Rebalance: rebalance::ShardsRebalanceArgs,
        Explain: explain::ShardsExplainArgs,
        Load: load::ShardsLoadArgs,
        Pause: pause::ShardsPauseArgs,
        Disable: disable::ShardsDisableArgs,
        Resume: resume::ShardsResumeArgs,
    }
    &[
        message("shard", "mesh shards get", "omnirelay.mesh.control.v1.GetShardResponse"),
        message("shard-change", "mesh shards pause, disable, resume", "omnirelay.mesh.control.v1.ShardChange"),
        message("shard-diff", "mesh shards diff", "omnirelay.mesh.control.v1.ShardDiffResponse"),
        message("shard-event", "mesh shards watch, list --watch", "omnirelay.mesh.control.v1.ShardDiffNotification"),
        message("shard-explanation", "mesh shards explain", "omnirelay.mesh.control.v1.ExplainShardResponse"),
        message("shard-history", "mesh shards history", "omnirelay.mesh.control.v1.ShardHistoryResponse"),
        message("shard-loads", "mesh shards load", "omnirelay.mesh.control.v1.ShardLoadsResponse"),
        message("shard-lookup", "mesh shards lookup", "omnirelay.mesh.control.v1.LookupShardResponse"),
        message("shard-simulation", "mesh shards simulate", "omnirelay.mesh.control.v1.ShardSimulationResponse"),
        message("shards", "mesh shards list", "omnirelay.mesh.control.v1.ShardListResponse"),
    ]
}
