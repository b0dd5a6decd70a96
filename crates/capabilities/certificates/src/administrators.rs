//! The last administrator: a change after which nobody who holds `mesh.admin` could come in is refused.
//!
//! Counted is whom a binding gives `mesh.admin`. Operators and services of a mesh with an authority have to have a certificate besides
//! that lives and is not revoked; what proves the others is not in the registry. The control socket of an issuer's host counts for
//! nothing: it is the way back in.

use omnirelay_certificate_records::certificate_of;
use omnirelay_certificate_records::{CERTIFICATE, authority_id};
use omnirelay_identity::trust::unix_now;
use omnirelay_pki::revocation::Revocations;
use omnirelay_registry::act::DecisionReader;
use omnirelay_registry::view::{View, ViewRecord};
use omnirelay_store::RecordId;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::store::v1::CertificateValue;
use omnirelay_wire::reasons;

use crate::bindings::{administers, administrators, binding_id};

/// Rights that a change takes away. Lists are those that are believed: one that nobody has signed revokes nothing.
#[derive(Clone, Copy, Debug)]
pub struct RemovedRights<'a> {
    /// Whose binding gives no `mesh.admin` any more; empty: nobody's.
    pub principal: &'a str,
    /// The list of revocations as it is.
    pub before: &'a Revocations,
    /// As it is to be.
    pub after: &'a Revocations,
}

/// Fate of the last administrator, as the caller says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastAdministrator {
    Stays,
    /// `last_administrator` was asked for.
    MayGo,
}

impl LastAdministrator {
    pub fn of(may_go: bool) -> Self {
        if may_go { Self::MayGo } else { Self::Stays }
    }
}

/// A line for the audit trail, where nobody is left after a change that may do so; `None`: somebody is, or nobody was.
///
/// Who is left is read as a decision reads it: another change that takes that one away conflicts with this one.
///
/// # Errors
/// `LAST_ADMINISTRATOR`.
pub fn check_left(
    view: &View,
    reader: &DecisionReader<'_>,
    taken: RemovedRights<'_>,
    last: LastAdministrator,
) -> Result<Option<String>, Fault> {
    let holders = administrators(view);
    let RemovedRights { before, after, .. } = taken;
    let stays = |principal: &&String| {
        *principal != taken.principal
            && comes_in(
                view.get(&certificates_of(principal)).as_deref(),
                has_authority(reader),
                principal,
                after,
            )
    };
    if let Some(left) = holders.iter().find(stays) {
        // Its binding and its certificates are a condition of the commit now; where they have changed, it is decided anew.
        let still = reader.get(&binding_id(left)).is_some_and(|record| administers(&record));
        let held = reader.get(&certificates_of(left));
        if still && comes_in(held.as_deref(), has_authority(reader), left, after) {
            return Ok(None);
        }
    }
    let was = |principal: &String| {
        comes_in(view.get(&certificates_of(principal)).as_deref(), has_authority(reader), principal, before)
    };
    match (holders.iter().any(was), last) {
        (false, _) => Ok(None),
        (true, LastAdministrator::MayGo) => Ok(Some("administrators: the last one -> nobody".to_owned())),
        (true, LastAdministrator::Stays) => Err(refused()),
    }
}

/// Reason why nobody administers a mesh with an authority: no binding is left that lets anybody; `None`: one is. Whose
/// certificate has ended is issued another: who was put out is not.
pub fn nobody_left(view: &View) -> Option<String> {
    view.get(&authority_id())?;
    let holders = administrators(view);
    let is_out = |principal: &String| {
        let held =
            view.get(&certificates_of(principal)).and_then(|record| record.value::<CertificateValue>());
        held.is_some_and(|held| held.barred)
    };
    let named = holders.join(", ");
    match holders.iter().all(is_out) {
        false => None,
        true if holders.is_empty() => Some("no binding gives mesh.admin to anybody".to_owned()),
        true => Some(format!("bindings give mesh.admin to nobody but those who were put out: {named}")),
    }
}

fn has_authority(reader: &DecisionReader<'_>) -> bool {
    reader.get(&authority_id()).is_some()
}

/// The record of the certificates of `operator:NAME` or `service:NAME`.
fn certificates_of(principal: &str) -> RecordId {
    RecordId::new(CERTIFICATE, principal.replacen(':', "/", 1))
}

/// Whether a principal can prove who it is, as far as the registry knows.
fn comes_in(held: Option<&ViewRecord>, has_authority: bool, principal: &str, revoked: &Revocations) -> bool {
    let by_certificate = principal.starts_with("operator:") || principal.starts_with("service:");
    if !by_certificate || !has_authority {
        return true;
    }
    let now = unix_now();
    let held = held.and_then(|record| record.value::<CertificateValue>()).unwrap_or_default();
    let mut certificates = held.issued.iter().filter_map(certificate_of);
    certificates.any(|one| one.not_after >= now && revoked.of(&one).is_none())
}

fn refused() -> Fault {
    let message = "nobody with `mesh.admin` would be left who can come in: no other binding gives it to somebody with a \
                   certificate that lives, or to a token or a role";
    Fault::new(reasons::LAST_ADMINISTRATOR, message)
        .hint("first give it to somebody else: omnirelay bindings set PRINCIPAL mesh.admin, and omnirelay cert issue --operator NAME")
        .hint("or say so: --last-administrator; then only the control socket of an issuer's host administers the mesh")
}
