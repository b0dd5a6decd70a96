//! The cluster of an issuer, as its certificate names it.
//!
//! Several clusters of one trust domain have an issuer each, under one root. The subject of such an issuer has
//! `O=omnirelay cluster` and the name of its cluster as `OU`; that of a root whose issuers all name their cluster has
//! `O=omnirelay clusters`. It stands in the subject and not beside the SPIFFE ID, as a signing certificate may have no
//! path in that (<https://github.com/spiffe/spiffe/blob/main/standards/X509-SVID.md>, section 3.2).

use omnirelay_core::names::check_node_name;
use omnirelay_core::spiffe::{CertificateHolder, SpiffeId};
use rcgen::{DistinguishedName, DnType};
use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer as _, X509Certificate, X509Name};

use crate::certificate::Certificate;

/// The organisation of an issuer that names its cluster.
const OF_CLUSTER: &str = "omnirelay cluster";
/// The organisation of a root under which every issuer names its cluster.
const OF_CLUSTERS: &str = "omnirelay clusters";

/// Cluster that an issuer vouches for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IssuerCluster {
    /// Its nodes, and operators and services as this cluster names them.
    Named(String),
    /// It was certified before issuers named a cluster: it is of the mesh that has its root, which has no other cluster.
    Unnamed,
}

impl IssuerCluster {
    /// The name that it has; `None`: it has none.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Named(name) => Some(name),
            Self::Unnamed => None,
        }
    }
}

/// Names the cluster in the subject of an issuer.
pub(crate) fn name_cluster(subject: &mut DistinguishedName, cluster: &str) {
    subject.push(DnType::OrganizationName, OF_CLUSTER);
    subject.push(DnType::OrganizationalUnitName, cluster);
}

/// Says in the subject of a root that every issuer under it names its cluster.
pub(crate) fn demand_clusters(subject: &mut DistinguishedName) {
    subject.push(DnType::OrganizationName, OF_CLUSTERS);
}

/// The cluster that an authority names. A name that none can have is none of any cluster.
pub fn cluster_of(authority: &X509Certificate) -> IssuerCluster {
    cluster_in(authority.subject())
}

fn cluster_in(subject: &X509Name) -> IssuerCluster {
    if !is_of_organisation(subject, OF_CLUSTER) {
        return IssuerCluster::Unnamed;
    }
    let mut units = subject.iter_organizational_unit();
    let named = match (units.next(), units.next()) {
        (Some(only), None) => only.as_str().ok().filter(|name| check_node_name(name).is_ok()),
        _ => None,
    };
    IssuerCluster::Named(named.unwrap_or_default().to_owned())
}

/// The same of a certificate that nobody has read yet; what is none names none.
pub fn named_cluster(certificate: &CertificateDer) -> IssuerCluster {
    let read = X509Certificate::from_der(certificate);
    read.map_or(IssuerCluster::Unnamed, |(_, read)| cluster_of(&read))
}

/// Whether every issuer under this root names its cluster: one that does not is believed nowhere.
pub fn demands_clusters(root: &X509Certificate) -> bool {
    is_of_organisation(root.subject(), OF_CLUSTERS)
}

/// The same of a root that nobody has read yet.
pub fn names_clusters(root: &CertificateDer) -> bool {
    X509Certificate::from_der(root).is_ok_and(|(_, read)| demands_clusters(&read))
}

/// Reason why a server's certificate is of none of the clusters that a client expects.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OtherCluster {
    #[error("it is of cluster `{found}`, and `{expected}` was expected")]
    Unexpected { found: String, expected: String },
    #[error("it is of no node of a mesh, and one of cluster `{expected}` was expected")]
    NoNode { expected: String },
    #[error("it says that it is of cluster `{said}`, and the issuer of `{by}` has signed it")]
    Issuer { said: String, by: String },
}

/// Checks that a server's certificate, which the caller has verified, is of one of these clusters and signed by the issuer of
/// that; none is named: of whichever its issuer is. The issuer's name stands in the certificate, as the issuer has signed it.
///
/// # Errors
/// [`OtherCluster`].
pub fn check_server(leaf: &CertificateDer, expected: &[String]) -> Result<(), OtherCluster> {
    let named = || expected.join("` or `");
    let id = Certificate::read(leaf).ok().map(|leaf| leaf.id);
    let Some(CertificateHolder::Node { cluster, .. }) = id.as_ref().map(SpiffeId::holder) else {
        return if expected.is_empty() { Ok(()) } else { Err(OtherCluster::NoNode { expected: named() }) };
    };
    let by = X509Certificate::from_der(leaf).map(|(_, read)| cluster_in(read.issuer()));
    if let Ok(IssuerCluster::Named(by)) = by
        && by != *cluster
    {
        return Err(OtherCluster::Issuer { said: cluster.clone(), by });
    }
    match expected.is_empty() || expected.contains(cluster) {
        true => Ok(()),
        false => Err(OtherCluster::Unexpected { found: cluster.clone(), expected: named() }),
    }
}

fn is_of_organisation(subject: &X509Name, name: &str) -> bool {
    subject.iter_organization().any(|of| of.as_str() == Ok(name))
}

#[cfg(test)]
#[path = "issuer_cluster_test.rs"]
mod tests;
