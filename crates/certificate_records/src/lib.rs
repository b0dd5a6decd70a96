//! Records of certificates, as every capability reads them: the authority, what it has issued, and what of that is revoked.

pub mod cluster_trust;
pub mod revoked;
pub mod standing;

use std::sync::Arc;

use omnirelay_core::spiffe::CertificateHolder;
use omnirelay_identity::trust::HasAuthority;
pub use omnirelay_pki::certificate::GRACE;
use omnirelay_pki::certificate::{Certificate, CertificateSerial, TlsNames};
use omnirelay_pki::key::Fingerprint;
use omnirelay_registry::Registry;
use omnirelay_registry::view::View;
use omnirelay_store::{RecordId, RecordKind};
use omnirelay_wire::pb::omnirelay::store::v1::{AuthorityValue, IssuedValue};

/// The record of the certificate authority; there is one.
pub const AUTHORITY: RecordKind = RecordKind::of("authority");

/// Records of what was issued; the key is the holder.
pub const CERTIFICATE: RecordKind = RecordKind::of("certificate");

/// The record of what is revoked; there is one.
pub const REVOCATION: RecordKind = RecordKind::of("revocation");

/// Records of join tokens; the key is the token's id.
pub const JOIN_TOKEN: RecordKind = RecordKind::of("join-token");

/// The record of the join policy; there is one.
pub const JOIN_POLICY: RecordKind = RecordKind::of("join-policy");

/// The key of records of which there is one.
pub const ONLY: &str = "mesh";

pub fn authority_id() -> RecordId {
    RecordId::new(AUTHORITY, ONLY)
}

pub fn revocation_id() -> RecordId {
    RecordId::new(REVOCATION, ONLY)
}

/// Whether the registry has an authority, as far as it was read.
pub fn has_authority(registry: &Registry) -> HasAuthority {
    let view = registry.view();
    match (view.head().caught_up, view.get(&authority_id())) {
        (false, _) => HasAuthority::Unknown,
        (true, Some(_)) => HasAuthority::Yes,
        (true, None) => HasAuthority::No,
    }
}

/// The number of the list of revocations that the registry has; 0 when it has none.
pub fn revocations_number(registry: &Registry) -> u64 {
    revoked::list_of(registry.view().get(&revocation_id()).as_deref()).number()
}

/// The authority as a view shows it; `None`: the mesh has none, or what the registry has in its place is none.
pub fn current_authority(view: &View) -> Option<Arc<AuthorityValue>> {
    view.get(&authority_id())?.value()
}

/// The record of a holder. Nodes of one id are one holder, whatever their roles.
pub fn record_of(holder: &CertificateHolder) -> RecordId {
    let key = match holder {
        CertificateHolder::Node { cluster, node, .. } => format!("node/{cluster}/{node}"),
        CertificateHolder::Operator(name) => format!("operator/{name}"),
        CertificateHolder::Service(name) => format!("service/{name}"),
    };
    RecordId::new(CERTIFICATE, key)
}

/// The record of what was issued to a node, in whatever role.
pub fn record_of_node(cluster: &str, node: &str) -> RecordId {
    record_of(&CertificateHolder::Node {
        cluster: cluster.to_owned(),
        role: String::new(),
        node: node.to_owned(),
    })
}

/// The node of this cluster whose certificates a record is about; `None`: it is about nobody's, or another holder's.
pub fn node_of_record<'a>(id: &'a RecordId, cluster: &str) -> Option<&'a str> {
    let of_cluster =
        id.key.strip_prefix("node/").filter(|_| id.kind == CERTIFICATE)?.strip_prefix(cluster)?;
    of_cluster.strip_prefix('/')
}

/// The certificate that is remembered; `None` when somebody else wrote the record.
pub fn certificate_of(issued: &IssuedValue) -> Option<Certificate> {
    Some(Certificate {
        serial: CertificateSerial::of(&issued.serial),
        id: issued.id.parse().ok()?,
        names: TlsNames {
            dns: issued.dns_names.clone(),
            addresses: issued.addresses.iter().filter_map(|address| address.parse().ok()).collect(),
        },
        not_before: issued.not_before,
        not_after: issued.not_after,
        key: Fingerprint::from_bytes(&issued.key)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_about_a_node_of_its_own_cluster_alone() {
        let of_node = record_of_node("eu", "node-1");
        assert_eq!(node_of_record(&of_node, "eu"), Some("node-1"));
        for cluster in ["e", "eu-1", "us", ""] {
            assert_eq!(node_of_record(&of_node, cluster), None, "{cluster}");
        }
        let operator = record_of(&CertificateHolder::Operator("eu/ann".to_owned()));
        let token = RecordId::new(JOIN_TOKEN, of_node.key.clone());
        assert_eq!((node_of_record(&operator, "eu"), node_of_record(&token, "eu")), (None, None));
    }
}
