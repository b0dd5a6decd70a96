//! `omnirelay mesh config`: the transport policy, and what endpoints speak.

mod file;
mod report;
mod validate;

use super::entry::verbs;
use super::schema::documents::message;

verbs! {
    /// Judge what endpoints speak, and the policy that they are judged by
    #[command(arg_required_else_help = true)]
    "config" MeshConfigArgs {
        Validate: validate::ValidateArgs,
    }
    &[
        message("transport-policy", "mesh config validate --file", "omnirelay.mesh.control.v1.TransportPolicy"),
        message(
            "config-validation",
            "mesh config validate",
            "omnirelay.mesh.control.v1.ValidateConfigResponse"
        ),
    ]
}
