//! SPIFFE IDs: what a certificate of a mesh says its holder is.
//!
//! `spiffe://TRUST-DOMAIN/mesh/CLUSTER/ROLE/NODE` is a node, `spiffe://TRUST-DOMAIN/operator/NAME` a person,
//! `spiffe://TRUST-DOMAIN/service/NAME` a program. The first word tells them apart, so that no choice of cluster, role
//! or node makes an operator of a node. After the SPIFFE ID specification
//! (<https://spiffe.io/docs/latest/spiffe-specs/spiffe-id/>), narrowed to the names that nodes have.

use std::fmt;
use std::str::FromStr;

use crate::names::{NameError, check_node_name};

/// The longest trust domain in bytes, as the specification has it.
pub const TRUST_DOMAIN_BYTES_MAX: usize = 255;

/// Reason why a text is no SPIFFE ID of a mesh.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpiffeIdError {
    #[error("it does not begin with `spiffe://`")]
    Scheme,
    #[error("its trust domain: {0}")]
    TrustDomain(#[from] TrustDomainError),
    #[error("it is neither /mesh/CLUSTER/ROLE/NODE nor /operator/NAME nor /service/NAME")]
    Shape,
    #[error("its {part}: {source}")]
    Name { part: &'static str, source: NameError },
}

/// Reason why a text is no trust domain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrustDomainError {
    #[error("it is empty")]
    Empty,
    #[error("it is {0} bytes long, the limit is {TRUST_DOMAIN_BYTES_MAX}")]
    TooLong(usize),
    #[error("it may hold only a-z, 0-9, `.`, `_` and `-`")]
    Characters,
}

/// Trust domain: the name of a mesh's certificate authority, whose certificates are trusted together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrustDomain(String);

impl TrustDomain {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TrustDomain {
    type Err = TrustDomainError;

    fn from_str(text: &str) -> Result<Self, TrustDomainError> {
        if text.is_empty() {
            return Err(TrustDomainError::Empty);
        }
        if text.len() > TRUST_DOMAIN_BYTES_MAX {
            return Err(TrustDomainError::TooLong(text.len()));
        }
        let known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
        if text.bytes().all(known) { Ok(Self(text.to_owned())) } else { Err(TrustDomainError::Characters) }
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Holder of a certificate, within its trust domain.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CertificateHolder {
    Node { cluster: String, role: String, node: String },
    Operator(String),
    Service(String),
}

impl CertificateHolder {
    /// `node`, `operator` or `service`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Node { .. } => "node",
            Self::Operator(_) => "operator",
            Self::Service(_) => "service",
        }
    }

    /// Name of the holder among those of its kind.
    pub fn name(&self) -> &str {
        match self {
            Self::Node { node, .. } => node,
            Self::Operator(name) | Self::Service(name) => name,
        }
    }

    /// Checks that every name in it may stand in a SPIFFE ID.
    ///
    /// # Errors
    /// The name that may not, and why.
    pub fn check(&self) -> Result<(), SpiffeIdError> {
        let parts: &[(&'static str, &str)] = match self {
            Self::Node { cluster, role, node } => &[("cluster", cluster), ("role", role), ("node", node)],
            Self::Operator(name) => &[("operator", name)],
            Self::Service(name) => &[("service", name)],
        };
        parts.iter().try_for_each(|(part, name)| {
            check_node_name(name).map_err(|source| SpiffeIdError::Name { part, source })
        })
    }
}

/// The SPIFFE ID of a node, an operator or a service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpiffeId {
    trust_domain: TrustDomain,
    holder: CertificateHolder,
}

impl SpiffeId {
    /// The one of `holder` in `trust_domain`.
    ///
    /// # Errors
    /// A name that may not stand in it.
    pub fn new(trust_domain: TrustDomain, holder: CertificateHolder) -> Result<Self, SpiffeIdError> {
        holder.check()?;
        Ok(Self { trust_domain, holder })
    }

    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    pub fn holder(&self) -> &CertificateHolder {
        &self.holder
    }
}

impl FromStr for SpiffeId {
    type Err = SpiffeIdError;

    fn from_str(text: &str) -> Result<Self, SpiffeIdError> {
        let rest = text.strip_prefix("spiffe://").ok_or(SpiffeIdError::Scheme)?;
        let (trust_domain, path) = rest.split_once('/').ok_or(SpiffeIdError::Shape)?;
        let trust_domain = trust_domain.parse()?;
        let parts: Vec<&str> = path.split('/').collect();
        let holder = match parts[..] {
            ["mesh", cluster, role, node] => CertificateHolder::Node {
                cluster: cluster.to_owned(),
                role: role.to_owned(),
                node: node.to_owned(),
            },
            ["operator", name] => CertificateHolder::Operator(name.to_owned()),
            ["service", name] => CertificateHolder::Service(name.to_owned()),
            _ => return Err(SpiffeIdError::Shape),
        };
        Self::new(trust_domain, holder)
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "spiffe://{}/", self.trust_domain)?;
        match &self.holder {
            CertificateHolder::Node { cluster, role, node } => write!(f, "mesh/{cluster}/{role}/{node}"),
            CertificateHolder::Operator(name) => write!(f, "operator/{name}"),
            CertificateHolder::Service(name) => write!(f, "service/{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_printed_as_it_was_read() {
        for (text, kind, name) in [
            ("spiffe://mesh.example/mesh/default/worker/node-1", "node", "node-1"),
            ("spiffe://mesh_1.example/operator/alice", "operator", "alice"),
            ("spiffe://m/service/billing.eu", "service", "billing.eu"),
        ] {
            let id: SpiffeId = text.parse().unwrap();
            assert_eq!((id.to_string().as_str(), id.holder().kind(), id.holder().name()), (text, kind, name));
        }
    }

    #[test]
    fn what_may_be_read_otherwise_elsewhere_is_no_id() {
        for text in [
            "",
            "https://mesh.example/operator/alice",
            "SPIFFE://mesh.example/operator/alice",
            "spiffe://mesh.example",
            "spiffe://mesh.example/",
            "spiffe:///operator/alice",
            "spiffe://Mesh.example/operator/alice",
            "spiffe://mesh.example:8443/operator/alice",
            "spiffe://user@mesh.example/operator/alice",
            "spiffe://mesh.example/operator",
            "spiffe://mesh.example/operator/",
            "spiffe://mesh.example/operator/alice/",
            "spiffe://mesh.example//operator/alice",
            "spiffe://mesh.example/operator/../alice",
            "spiffe://mesh.example/operator/%61lice",
            "spiffe://mesh.example/operator/alice?x",
            "spiffe://mesh.example/operator/alice#x",
            "spiffe://mesh.example/operator/Alice",
            "spiffe://mesh.example/mesh/default/worker",
            "spiffe://mesh.example/mesh/default/worker/node-1/x",
            "spiffe://mesh.example/mesh/default//node-1",
            "spiffe://mesh.example/agent/a",
            " spiffe://mesh.example/operator/alice",
        ] {
            assert!(text.parse::<SpiffeId>().is_err(), "{text}");
        }
        let long = format!("spiffe://{}/operator/alice", "a".repeat(256));
        let too_long = SpiffeIdError::TrustDomain(TrustDomainError::TooLong(256));
        assert_eq!(long.parse::<SpiffeId>(), Err(too_long));
    }

    #[test]
    fn no_name_of_a_node_makes_an_operator() {
        let of = |cluster: &str, role: &str, node: &str| {
            let holder = CertificateHolder::Node {
                cluster: cluster.to_owned(),
                role: role.to_owned(),
                node: node.to_owned(),
            };
            SpiffeId::new("m".parse().unwrap(), holder)
        };
        assert!(of("default", "worker/../../operator", "alice").is_err());
        assert!(of("..", "operator", "alice").is_err());
        let id = of("operator", "operator", "operator").unwrap();
        assert!(matches!(
            id.to_string().parse::<SpiffeId>().unwrap().holder(),
            CertificateHolder::Node { .. }
        ));
    }
}
