//! `omnirelay mesh config`: the transport policy, what endpoints speak, and the reload of the daemons' own settings.

mod change;
mod file;
mod get;
mod history;
mod reload;
mod report;
mod rollback;
mod set;
mod validate;

use super::entry::verbs;
use super::schema::documents::message;

/// The kind in `transport-policy/VERSION`.
const KIND: &str = "transport-policy";
/// What `-o name` prints of the one that holds.
const NAME: &str = "transport-policy/mesh";

verbs! {
    /// Look at, judge and change what endpoints may speak; have daemons reload their settings
    #[command(arg_required_else_help = true)]
    "config" MeshConfigArgs {
        Get: get::MeshConfigGetArgs,
        Validate: validate::MeshConfigValidateArgs,
        Set: set::MeshConfigSetArgs,
        History: history::MeshConfigHistoryArgs,
        Rollback: rollback::MeshConfigRollbackArgs,
        Reload: reload::MeshConfigReloadArgs,
    }
    &[
        message("config", "mesh config get", "omnirelay.mesh.control.v1.GetConfigResponse"),
        message("config-reload", "mesh config reload", "omnirelay.mesh.control.v1.ReloadConfigResponse"),
        message(
            "config-validation",
            "mesh config validate",
            "omnirelay.mesh.control.v1.ValidateConfigResponse"
        ),
        message(
            "transport-policy",
            "mesh config set, validate --file",
            "omnirelay.mesh.control.v1.TransportPolicy"
        ),
        message(
            "transport-policy-change",
            "mesh config set, rollback",
            "omnirelay.mesh.control.v1.TransportPolicyChange"
        ),
        message(
            "transport-policy-versions",
            "mesh config history",
            "omnirelay.mesh.control.v1.ListTransportPolicyVersionsResponse"
        ),
    ]
}
