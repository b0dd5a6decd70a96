//! Holders: who a certificate is for, and under which record it stands.

use std::collections::BTreeSet;

use omnirelay_certificate_records::CERTIFICATE;
use omnirelay_certificate_records::certificate_of;
use omnirelay_core::spiffe::{CertificateHolder, SpiffeId, TrustDomain};
use omnirelay_core::text::chain;
use omnirelay_pki::certificate::{Certificate, CertificateSerial};
use omnirelay_pki::key::Fingerprint;
use omnirelay_registry::view::View;
use omnirelay_store::RecordId;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::store::v1::{CertificateValue, IssuedValue};

use super::authority::at;
use super::lineage::RenewalLineage;
use super::pb;
use pb::certificate::Status;
use pb::holder::Kind;

/// The role of a node whose request names none.
const ROLE: &str = "worker";

/// Selector of a holder, who is named in a request by one of three fields.
pub(crate) struct HolderSelector<'a> {
    pub node: &'a str,
    pub operator: &'a str,
    pub service: &'a str,
    /// Empty: that of the daemon.
    pub cluster: &'a str,
    pub role: &'a str,
}

impl HolderSelector<'_> {
    /// The holder, `own` being the daemon's cluster; `None` when no field names one.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` when several do, or it cannot be called so.
    pub(crate) fn holder(&self, own: &str) -> Result<Option<CertificateHolder>, Fault> {
        let or = |given: &str, default: &str| if given.is_empty() { default } else { given }.to_owned();
        let holder = match (self.node, self.operator, self.service) {
            ("", "", "") => return Ok(None),
            (node, "", "") => {
                let (cluster, role) = (or(self.cluster, own), or(self.role, ROLE));
                CertificateHolder::Node { cluster, role, node: node.to_owned() }
            }
            ("", name, "") => CertificateHolder::Operator(name.to_owned()),
            ("", "", name) => CertificateHolder::Service(name.to_owned()),
            _ => return Err(Fault::invalid("more than one of the fields `node`, `operator` and `service`")),
        };
        let is_node = matches!(holder, CertificateHolder::Node { .. });
        let says_more = !self.cluster.is_empty() || !self.role.is_empty();
        if !is_node && says_more {
            return Err(Fault::invalid("fields `cluster` and `role` are for a node"));
        }
        holder.check().map_err(|error| Fault::invalid(format!("who it is for: {error}")))?;
        Ok(Some(holder))
    }
}

/// The SPIFFE ID of a holder that was checked.
///
/// # Errors
/// `INVALID_ARGUMENT` when it cannot be called so.
pub(crate) fn id_of(domain: &TrustDomain, holder: CertificateHolder) -> Result<SpiffeId, Fault> {
    SpiffeId::new(domain.clone(), holder).map_err(|error| Fault::invalid(chain(&error)))
}

/// Value by which an issued certificate is remembered.
pub(crate) fn remembered(
    certificate: &Certificate,
    issued_by: &str,
    issuer: &[u8],
    RenewalLineage { renewed_from, since }: RenewalLineage,
) -> IssuedValue {
    IssuedValue {
        serial: certificate.serial.as_bytes().to_vec(),
        id: certificate.id.to_string(),
        key: certificate.key.as_bytes().to_vec(),
        not_before: certificate.not_before,
        not_after: certificate.not_after,
        dns_names: certificate.names.dns.clone(),
        addresses: certificate.names.addresses.iter().map(ToString::to_string).collect(),
        issued_by: issued_by.to_owned(),
        issuer: Fingerprint::of(issuer).as_bytes().to_vec(),
        renewed_from,
        renewed_since: since,
        unknown_fields: Default::default(),
    }
}

/// The DNS names in the certificates of holders other than this one that have not ended.
pub(crate) fn names_of_others(view: &View, own: &RecordId, now: i64) -> BTreeSet<String> {
    let records = view.list(&CERTIFICATE).records;
    let others = records.iter().filter(|record| record.record.id != *own);
    let issued = others.filter_map(|record| record.value::<CertificateValue>()).flat_map(|held| {
        let valid = held.issued.iter().filter(|one| one.not_after >= now);
        valid.flat_map(|one| one.dns_names.clone()).collect::<Vec<_>>()
    });
    issued.collect()
}

/// A certificate as it is shown.
pub(crate) fn show(issued: &IssuedValue, status: Status) -> pb::Certificate {
    let certificate = certificate_of(issued);
    pb::Certificate {
        serial: CertificateSerial::of(&issued.serial).to_string(),
        id: issued.id.clone(),
        holder: certificate.as_ref().map(|certificate| shown(certificate.id.holder())),
        status: status as i32,
        not_before: Some(at(issued.not_before)),
        not_after: Some(at(issued.not_after)),
        dns_names: issued.dns_names.clone(),
        addresses: issued.addresses.clone(),
        key_fingerprint: certificate.map(|one| one.key.to_string()).unwrap_or_default(),
        issued_by: issued.issued_by.clone(),
    }
}

fn shown(holder: &CertificateHolder) -> pb::Holder {
    let (kind, cluster, role) = match holder {
        CertificateHolder::Node { cluster, role, .. } => (Kind::Node, cluster.clone(), role.clone()),
        CertificateHolder::Operator(_) => (Kind::Operator, String::new(), String::new()),
        CertificateHolder::Service(_) => (Kind::Service, String::new(), String::new()),
    };
    pb::Holder { kind: kind as i32, name: holder.name().to_owned(), cluster, role }
}
