//! `omnirelay join-policy`: who may join, of those that have a token.

mod set;
mod show;

use super::entry::verbs;
use super::schema::documents::message;

/// What `-o name` prints: there is one.
const NAME: &str = "join-policy/mesh";

verbs! {
    /// Look at and change the rules by which hosts that have a token are let in
    #[command(arg_required_else_help = true)]
    "join-policy" JoinPolicyArgs {
        Show: show::JoinPolicyShowArgs,
        Set: set::JoinPolicySetArgs,
    }
    &[
        message("join-policy", "join-policy show", "omnirelay.security.v1.GetJoinPolicyResponse"),
        message("join-policy-file", "join-policy set --file", "omnirelay.security.v1.JoinPolicy"),
        message("join-policy-change", "join-policy set", "omnirelay.security.v1.JoinPolicyChange"),
    ]
}
