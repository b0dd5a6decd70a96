//! Principals that can be given scopes, besides those of their proof.

use omnirelay_core::names::check_node_name;
use omnirelay_core::text::is_unseen;

use super::caller::Scopes;

/// The longest name of a principal in bytes.
pub const PRINCIPAL_BYTES_MAX: usize = 200;
/// The longest name in bytes that an issuer outside gives; with what stands before it, it is a principal's.
pub const NAME_BYTES_MAX: usize = 190;

/// What the names of those begin with who can be given something: whoever comes through the control socket has every
/// scope, whoever proves nothing is nobody, and what a node may do is the same for all nodes.
const BOUND: [&str; 5] = ["token:", "operator:", "service:", "oidc:", "role:"];

/// Grant of scopes to a principal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantedRoles {
    /// Whom, as bindings name them.
    pub principal: String,
    pub scopes: Scopes,
}

/// Those of them whom an issuer outside names, as it likes.
const NAMED_OUTSIDE: [&str; 2] = ["oidc:", "role:"];

/// Those of them whom another cluster of the trust domain may vouch for: `operator:CLUSTER/NAME`.
const NAMED_BY_CLUSTERS: [&str; 2] = ["operator:", "service:"];

/// Whether this is somebody who can be given something.
pub fn is_bound(principal: &str) -> bool {
    let visible = |name: &str| name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/');
    let named = |of: &str, name: &str| {
        let name = match name.split_once('/').filter(|_| NAMED_BY_CLUSTERS.contains(&of)) {
            Some((cluster, name)) if check_node_name(cluster).is_ok() => name,
            Some(_) | None => name,
        };
        match NAMED_OUTSIDE.contains(&of) {
            true => unbound_name(name).is_none(),
            false => !name.is_empty() && visible(name),
        }
    };
    let bound = BOUND.iter().any(|of| principal.strip_prefix(of).is_some_and(|name| named(of, name)));
    principal.len() <= PRINCIPAL_BYTES_MAX && bound
}

/// Reason why a name that an issuer outside gives to somebody, or to a group of them, cannot be bound; `None`: it can.
/// Names of groups are paths and have blanks in them, and are in any language.
pub fn unbound_name(name: &str) -> Option<&'static str> {
    let is_odd = |c: char| is_unseen(c) || (c.is_whitespace() && c != ' ');
    match name {
        "" => Some("it is empty"),
        long if long.len() > NAME_BYTES_MAX => Some("it is longer than 190 bytes"),
        odd if odd.contains(is_odd) => Some("it has characters that nobody sees"),
        blank if blank.starts_with(' ') || blank.ends_with(' ') => Some("it begins or ends with a blank"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_somebody_could_have() {
        let long = format!("role:{}", "x".repeat(NAME_BYTES_MAX + 1));
        let cases = [
            ("role:/platform/sre", true),
            ("role:Domain Users", true),
            ("role:Gesch\u{e4}ftsf\u{fc}hrung", true),
            ("oidc:repo:org/x:ref:refs/heads/main", true),
            ("oidc:project_path:a/b:ref_type:branch:ref:main", true),
            ("role:", false),
            ("role: sre", false),
            ("role:sre ", false),
            ("role:a\u{a0}b", false),
            ("role:a\u{202e}b", false),
            ("role:a\nb", false),
            (long.as_str(), false),
            ("operator:ann", true),
            ("operator:a/b", true),
            ("service:east-1/billing", true),
            ("operator:A/b", false),
            ("operator:a/b/c", false),
            ("operator:a/", false),
            ("operator:/b", false),
            ("token:a/b", false),
            ("token:a b", false),
            ("service:", false),
            ("local", false),
        ];
        for (principal, expected) in cases {
            assert_eq!(is_bound(principal), expected, "{principal}");
        }
    }
}
