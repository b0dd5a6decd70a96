//! `omnirelay support`: what helps those who help.

mod bundle;
mod reads;
mod recorder;

use super::entry::verbs;
use super::schema::documents::own;
use super::schema::schemas;

verbs! {
    /// Help those who help: show how a mesh is to who cannot ask it
    #[command(arg_required_else_help = true)]
    "support" SupportArgs {
        Bundle: bundle::SupportBundleArgs,
    }
    &[own("support-bundle", "support bundle", schemas::support_bundle)]
}
