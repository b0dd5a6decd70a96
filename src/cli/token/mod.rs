//! `omnirelay token`: join tokens, by which hosts become nodes.

mod create;
mod list;
mod revoke;

use super::entry::verbs;
use super::schema::documents::message;
use crate::frame::prelude::*;

/// The kind in the names of join tokens.
const KIND: &str = "token";

verbs! {
    /// Make and take away the tokens by which hosts join the mesh
    #[command(alias = "tokens", arg_required_else_help = true)]
    "token" TokenArgs {
        Create: create::TokenCreateArgs,
        List: list::TokenListArgs,
        Revoke: revoke::TokenRevokeArgs,
    }
    &[
        message("join-tokens", "token list", "omnirelay.security.v1.ListJoinTokensResponse"),
        message("join-token-change", "token create, revoke", "omnirelay.security.v1.JoinTokenChange"),
    ]
}

static COLUMNS: &[Column] = &[
    Column::new("token", |token, _| text(token, "tokenId").to_owned()).keep(),
    Column::new("status", |token, _| text(token, "status").to_owned()).keep(),
    Column::new("role", |token, _| text(token, "role").to_owned()),
    Column::new("cluster", |token, _| text(token, "cluster").to_owned()).wide(),
    Column::new("used", |token, _| used(token)).number(|token| items(token, "usedBy").len() as f64),
    Column::new("expires", |token, moment| time::left(field(token, "expiresAt"), moment))
        .ranked(|token| time::millis(field(token, "expiresAt")).unwrap_or(0) as f64),
    Column::new("nodes", |token, _| joined(token, "nodes")),
    Column::new("used by", |token, _| joined(token, "usedBy")).wide(),
    Column::new("names", |token, _| joined(token, "names")).wide(),
    Column::new("created by", |token, _| text(token, "createdBy").to_owned()).wide(),
];

/// `1/3`.
fn used(token: &Value) -> String {
    format!("{}/{}", items(token, "usedBy").len(), number(token, "usesMax"))
}
