//! `omnirelay dev`: faults on demand for the nodes of `omnirelay up`.

mod change;
mod kill;
mod list;
mod pause;
mod resume;

use super::entry::verbs;
use super::schema::documents::message;

verbs! {
    /// Make nodes of `omnirelay up` fail, and come back
    #[command(arg_required_else_help = true)]
    "dev" DevArgs {
        List: list::DevListArgs,
        Kill: kill::DevKillArgs,
        Pause: pause::DevPauseArgs,
        Resume: resume::DevResumeArgs,
    }
    &[
        message("dev-node-change", "dev kill, pause, resume", "omnirelay.dev.v1.DevNodeChange"),
        message("dev-nodes", "dev list", "omnirelay.dev.v1.ListDevNodesResponse"),
    ]
}
