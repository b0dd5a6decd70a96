//! `omnirelay alerts`: the rules for Prometheus that match this program.

mod durations;
mod export;
mod prove;

use super::entry::verbs;
use super::schema::documents::own;
use super::schema::schemas;

verbs! {
    /// The alert rules for Prometheus that match this program
    #[command(arg_required_else_help = true)]
    "alerts" AlertsArgs {
        Export: export::AlertsExportArgs,
        Prove: prove::AlertsProveArgs,
    }
    &[own("alerts-proofs", "alerts prove", schemas::alert_proofs)]
}
