//! Patterns of SPIFFE IDs: whom a list of allowed identities means.

use std::fmt;
use std::str::FromStr;

use crate::names::check_node_name;
use crate::spiffe::{SpiffeId, TrustDomain, TrustDomainError};

/// Reason why a text is no pattern of SPIFFE IDs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    #[error("it does not begin with `spiffe://`")]
    Scheme,
    #[error("its trust domain, in which no `*` may stand: {0}")]
    TrustDomain(#[from] TrustDomainError),
    #[error(
        "it is neither /mesh/CLUSTER/ROLE/NODE nor /operator/NAME nor /service/NAME; the first word has no `*`"
    )]
    Shape,
    #[error("`{0}` is no name; a `*` stands at the end of a name or in place of it")]
    Name(String),
}

/// A SPIFFE ID whose names may end in `*`, which is for any end of that name, and nothing beyond it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpiffePattern(String);

impl SpiffePattern {
    /// Whether it means this identity.
    pub fn matches(&self, id: &SpiffeId) -> bool {
        let id = id.to_string();
        let (mut own, mut theirs) = (self.0.split('/'), id.split('/'));
        loop {
            match (own.next(), theirs.next()) {
                (None, None) => return true,
                (Some(own), Some(theirs)) if means(own, theirs) => {}
                (_, _) => return false,
            }
        }
    }
}

/// Whether one name of a pattern means this one.
fn means(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(begun) => name.starts_with(begun),
        None => pattern == name,
    }
}

impl FromStr for SpiffePattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let rest = text.strip_prefix("spiffe://").ok_or(PatternError::Scheme)?;
        let (trust_domain, path) = rest.split_once('/').ok_or(PatternError::Shape)?;
        trust_domain.parse::<TrustDomain>()?;
        let parts: Vec<&str> = path.split('/').collect();
        let names = match parts[..] {
            ["mesh", _, _, _] | ["operator" | "service", _] => &parts[1..],
            _ => return Err(PatternError::Shape),
        };
        for name in names {
            let is_name = match name.strip_suffix('*') {
                // What it begins with is no name yet, but is one with something behind it.
                Some(begun) => check_node_name(&format!("{begun}a")).is_ok(),
                None => check_node_name(name).is_ok(),
            };
            if !is_name {
                return Err(PatternError::Name((*name).to_owned()));
            }
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for SpiffePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_means_what_it_says_and_no_more() {
        let cases = [
            // pattern, id, whether it is meant
            ("spiffe://m/operator/ann", "spiffe://m/operator/ann", true),
            ("spiffe://m/operator/ann", "spiffe://m/operator/anna", false),
            ("spiffe://m/operator/ann", "spiffe://n/operator/ann", false),
            ("spiffe://m/operator/ann", "spiffe://m/service/ann", false),
            ("spiffe://m/service/drone-*", "spiffe://m/service/drone-7", true),
            ("spiffe://m/service/drone-*", "spiffe://m/service/drone", false),
            ("spiffe://m/service/*", "spiffe://m/service/billing", true),
            ("spiffe://m/service/*", "spiffe://m/mesh/service/x/y", false),
            ("spiffe://m/mesh/default/*/*", "spiffe://m/mesh/default/gateway/relay-1", true),
            ("spiffe://m/mesh/default/*/*", "spiffe://m/mesh/other/gateway/relay-1", false),
            ("spiffe://m/mesh/d*/gateway/relay-*", "spiffe://m/mesh/default/gateway/relay-1", true),
        ];
        for (pattern, id, expected) in cases {
            let read: SpiffePattern = pattern.parse().unwrap();
            assert_eq!(read.matches(&id.parse().unwrap()), expected, "{pattern} of {id}");
            assert_eq!(read.to_string(), pattern);
        }
    }

    #[test]
    fn what_could_mean_more_than_it_seems_is_no_pattern() {
        for text in [
            "",
            "*",
            "spiffe://*",
            "spiffe://*/operator/ann",
            "spiffe://m*/operator/ann",
            "spiffe://m",
            "spiffe://m/*",
            "spiffe://m/*/ann",
            "spiffe://m/operator",
            "spiffe://m/operator/",
            "spiffe://m/operator/a*n",
            "spiffe://m/operator/**",
            "spiffe://m/operator/Ann",
            "spiffe://m/operator/ann/*",
            "spiffe://m/mesh/default/*",
            "spiffe://m/service/-*",
            "operator:ann",
        ] {
            assert!(text.parse::<SpiffePattern>().is_err(), "{text}");
        }
    }
}
