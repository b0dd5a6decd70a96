//! Holders of the shards of a namespace, who may report what they have to do: whom its policy names, and nodes for
//! themselves alone.

use omnirelay_core::text::shown;
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;

/// The most principals that a policy names.
pub const HOLDERS_MAX: usize = 64;
/// The longest name of one, in bytes.
const HOLDER_BYTES_MAX: usize = 200;
/// What the names of those begin with who can be named.
const KINDS: [&str; 6] = ["service:", "operator:", "node:", "token:", "oidc:", "uid:"];
/// Those who prove nothing and come in all the same, where a mesh has no authority.
const UNPROVEN: [&str; 2] = ["local", "anonymous"];

/// Reason why somebody may not hold shards of a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShardHolderRefusal {
    #[error("the policy of the namespace names others as `holders`")]
    NotNamed,
    #[error("a node holds and reports for itself alone, at its own daemon")]
    OtherNode,
}

/// Holders that the policy of a namespace names; none: nobody.
pub fn of(spec: Option<&pb::NamespaceSpec>) -> &[String] {
    spec.and_then(|spec| spec.policy.as_ref()).map(|policy| policy.holders.as_slice()).unwrap_or_default()
}

/// Checks that those who are named can be anybody, each once.
///
/// # Errors
/// The first that cannot, with its field.
pub fn check(holders: &[String]) -> Result<(), String> {
    const FIELD: &str = "field `policy.holders`";
    if holders.len() > HOLDERS_MAX {
        return Err(format!("{FIELD} names {} principals, and {HOLDERS_MAX} at most", holders.len()));
    }
    let mut seen = std::collections::BTreeSet::new();
    for holder in holders {
        let is_named = KINDS.iter().any(|of| holder.strip_prefix(of).is_some_and(|name| !name.is_empty()));
        let is_visible = holder.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/');
        if !(is_named || UNPROVEN.contains(&holder.as_str()))
            || !is_visible
            || holder.len() > HOLDER_BYTES_MAX
        {
            return Err(format!(
                "{FIELD}: `{}` is no principal such as service:NAME; the kinds are {}",
                shown(holder, 64),
                KINDS.map(|kind| kind.trim_end_matches(':')).join(", ")
            ));
        }
        if !seen.insert(holder) {
            return Err(format!("{FIELD} names `{holder}` twice"));
        }
    }
    Ok(())
}

/// Whether a principal may hold shards at the daemon of a node, and report for it.
///
/// # Errors
/// [`ShardHolderRefusal`]: why not.
pub fn may_hold(holders: &[String], principal: &str, node_id: &str) -> Result<(), ShardHolderRefusal> {
    let is_of_other_node = principal.strip_prefix("node:").is_some_and(|node| node != node_id);
    if is_of_other_node {
        return Err(ShardHolderRefusal::OtherNode);
    }
    match holders.is_empty() || holders.iter().any(|holder| holder == principal) {
        true => Ok(()),
        false => Err(ShardHolderRefusal::NotNamed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_named_holds_and_a_node_for_itself_alone() {
        let named = ["service:orders".to_owned(), "node:a".to_owned()];
        type Case<'a> = (&'a str, &'a [String], &'a str, Result<(), ShardHolderRefusal>);
        let cases: [Case<'_>; 8] = [
            ("anybody where nobody is named", &[], "service:billing", Ok(())),
            ("whoever is on the host of a mesh without an authority", &[], "local", Ok(())),
            ("who is named", &named, "service:orders", Ok(())),
            ("another service", &named, "service:billing", Err(ShardHolderRefusal::NotNamed)),
            ("root at the socket", &named, "uid:root", Err(ShardHolderRefusal::NotNamed)),
            ("a node at its own daemon", &[], "node:a", Ok(())),
            ("a node at another daemon", &[], "node:b", Err(ShardHolderRefusal::OtherNode)),
            (
                "one that is named, at another daemon",
                &["node:b".to_owned()],
                "node:b",
                Err(ShardHolderRefusal::OtherNode),
            ),
        ];
        for (what, holders, principal, expected) in cases {
            assert_eq!(may_hold(holders, principal, "a"), expected, "{what}");
        }
    }

    #[test]
    fn who_cannot_be_anybody_is_refused() {
        let check = |names: &[&str]| check(&names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>());
        assert_eq!(check(&[]), Ok(()));
        assert_eq!(
            check(&["service:orders", "operator:ann", "node:a", "oidc:ci", "uid:1000", "local"]),
            Ok(())
        );
        for bad in
            ["", "orders", "service:", "role:admins", "service:a b", "service:\u{202e}x", "node:west/a"]
        {
            assert!(check(&[bad]).is_err(), "{bad}");
        }
        assert!(check(&["service:a", "service:a"]).unwrap_err().contains("twice"));
        let many: Vec<String> = (0..=HOLDERS_MAX).map(|number| format!("service:{number}")).collect();
        assert!(super::check(&many).unwrap_err().contains("64 at most"));
    }
}
