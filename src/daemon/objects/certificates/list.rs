//! Certificates as they are listed.

use omnirelay_pki::revocation::Revocations;
use omnirelay_wire::envelope::Enveloped as _;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::store::v1::{CertificateValue, IssuedValue, RevocationValue};
use tonic::Response;

use super::holder::{certificate_of, show};
use super::revoked::known;
use super::{CERTIFICATE, Certificates, pb, revocation_id};
use crate::daemon::identity::trust::unix_now;
use crate::daemon::objects::{at_cursor, envelope};
use pb::certificate::Status;

impl Certificates {
    pub(super) async fn list_all(
        &self,
        asked: pb::ListCertificatesRequest,
    ) -> Result<Response<pb::ListCertificatesResponse>, Fault> {
        self.registry.ready_for(&asked.min_revision).await?;
        let look = |view: &crate::daemon::registry::view::View| {
            (view.list(&CERTIFICATE), view.get(&revocation_id()))
        };
        let (read, revoked) = self.registry.look(look).await;
        let revoked = known(revoked.and_then(|record| record.value::<RevocationValue>()).as_deref())?;
        let now = unix_now();
        let mut certificates = Vec::new();
        for record in read.records.iter() {
            let value = record.value::<CertificateValue>().unwrap_or_default();
            let mut newest = true;
            for issued in &value.issued {
                let status = status(issued, &revoked, now, newest);
                newest &= status != Status::Valid;
                let shown = show(issued, status);
                let holder = shown.holder.as_ref();
                let named = asked.name.is_empty() || holder.is_some_and(|of| of.name == asked.name);
                let of_kind =
                    asked.kinds.is_empty() || holder.is_some_and(|of| asked.kinds.contains(&of.kind));
                if named && of_kind && (asked.all || status == Status::Valid) {
                    certificates.push(shown);
                }
            }
        }
        let cursor = read.cursor.to_string();
        let listed =
            pb::ListCertificatesResponse { cursor: cursor.clone(), certificates, ..Default::default() };
        Ok(at_cursor(listed.within(envelope(&self.registry)), &cursor))
    }
}

/// How a certificate stands, `newest` saying that no newer one of its holder is valid.
fn status(issued: &IssuedValue, revoked: &Revocations, now: i64, newest: bool) -> Status {
    match certificate_of(issued) {
        None => Status::Unspecified,
        Some(certificate) if revoked.of(&certificate).is_some() => Status::Revoked,
        Some(certificate) if certificate.not_after < now => Status::Expired,
        Some(_) if newest => Status::Valid,
        Some(_) => Status::Superseded,
    }
}
