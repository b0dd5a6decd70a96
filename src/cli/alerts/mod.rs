//! `omnirelay alerts`: the rules for Prometheus that match this program.

mod durations;
mod export;

use super::entry::verbs;

verbs! {
    /// The alert rules for Prometheus that match this program
    #[command(arg_required_else_help = true)]
    "alerts" AlertsArgs {
        Export: export::AlertsExportArgs,
    }
    &[]
}
