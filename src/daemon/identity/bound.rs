//! Who can be given scopes, besides those of their proof.

use super::caller::Scopes;

/// The longest name of a principal in bytes.
pub const PRINCIPAL_BYTES_MAX: usize = 200;

/// What the names of those begin with who can be given something: whoever comes through the control socket has every
/// scope, whoever proves nothing is nobody, and what a node may do is the same for all nodes.
const BOUND: [&str; 5] = ["token:", "operator:", "service:", "oidc:", "role:"];

/// What somebody is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// Whom, as bindings name them.
    pub principal: String,
    pub scopes: Scopes,
}

/// Whether this is somebody who can be given something.
pub fn is_bound(principal: &str) -> bool {
    let visible = principal.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/');
    let bound = BOUND.iter().any(|of| principal.strip_prefix(of).is_some_and(|name| !name.is_empty()));
    principal.len() <= PRINCIPAL_BYTES_MAX && visible && bound
}
