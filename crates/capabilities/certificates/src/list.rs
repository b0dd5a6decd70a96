//! Certificates as they are listed.

use omnirelay_certificate_records::certificate_of;
use omnirelay_certificate_records::revoked::known;
use omnirelay_certificate_records::{CERTIFICATE, revocation_id};
use omnirelay_identity::trust::unix_now;
use omnirelay_nouns::listing::{self, AskedPage};
use omnirelay_nouns::{at_cursor, envelope};
use omnirelay_pki::revocation::Revocations;
use omnirelay_registry::mutate::request_hash;
use omnirelay_registry::view::{View, ViewRecord};
use omnirelay_wire::envelope::EnvelopedAnswer as _;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::store::v1::{CertificateValue, IssuedValue, RevocationValue};
use tonic::Response;

use super::holder::show;
use super::{Certificates, pb};
use pb::certificate::Status;

impl Certificates {
    pub(super) async fn list_all(
        &self,
        asked: pb::ListCertificatesRequest,
    ) -> Result<Response<pb::ListCertificatesResponse>, Fault> {
        let pb::ListCertificatesRequest { kinds, name, all, min_revision, page_size, page_token } = asked;
        let filters = pb::ListCertificatesRequest { kinds, name, all, ..Default::default() };
        let page = AskedPage::of(page_size, &page_token, request_hash(&filters))?;
        self.registry.ready_for(&min_revision).await?;
        let revocations = |view: &View| view.get(&revocation_id());
        let (read, revoked) =
            listing::read_with(&self.registry, &CERTIFICATE, &page.token.as_ref().into(), revocations)
                .await?;
        let revoked = known(revoked.and_then(|record| record.value::<RevocationValue>()).as_deref())?;
        let now = unix_now();
        let (certificates, next_page_token) =
            page.cut(read.cursor, read.records.iter(), |record| of_holder(record, &filters, &revoked, now));
        let cursor = read.cursor.to_string();
        let listed = pb::ListCertificatesResponse {
            cursor: cursor.clone(),
            certificates,
            next_page_token,
            ..Default::default()
        };
        Ok(at_cursor(listed.within(envelope(&self.registry)), &cursor))
    }
}

/// The certificates of one holder, `None` for those that are not asked for.
fn of_holder(
    record: &ViewRecord,
    asked: &pb::ListCertificatesRequest,
    revoked: &Revocations,
    now: i64,
) -> Vec<Option<pb::Certificate>> {
    let value = record.value::<CertificateValue>().unwrap_or_default();
    let mut newest = true;
    let each = value.issued.iter().map(|issued| {
        let status = status(issued, revoked, now, newest);
        newest &= status != Status::Valid;
        let shown = show(issued, status);
        let holder = shown.holder.as_ref();
        let named = asked.name.is_empty() || holder.is_some_and(|of| of.name == asked.name);
        let of_kind = asked.kinds.is_empty() || holder.is_some_and(|of| asked.kinds.contains(&of.kind));
        (named && of_kind && (asked.all || status == Status::Valid)).then_some(shown)
    });
    each.collect()
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
