//! `omnirelay dashboards`: the dashboards for Grafana that match this program.

mod export;

use super::entry::verbs;

verbs! {
    /// The dashboards for Grafana that match this program
    #[command(arg_required_else_help = true)]
    "dashboards" DashboardsArgs {
        Export: export::DashboardsExportArgs,
    }
    &[]
}
