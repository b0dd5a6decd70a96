//! Issuing: a certificate for the key of a request, on the strength of an administrator's word or of the one before.

use omnirelay_certificate_records::{REVOCATION, revocation_id};
use omnirelay_certificate_records::{certificate_of, record_of};
use omnirelay_core::spiffe::{CertificateHolder, SpiffeId};
use omnirelay_identity::caller::Caller;
use omnirelay_identity::trust::unix_now;
use omnirelay_nouns::SCHEMA_VERSION;
use omnirelay_nouns::request::MutationRequest;
use omnirelay_pki::authority::ValidityPeriod;
use omnirelay_pki::certificate::{Certificate, TlsNames};
use omnirelay_pki::request::CertificateRequest;
use omnirelay_pki::revocation::{BACKDATED, Revocations, RevokedSubject};
use omnirelay_registry::act::{DecisionReader, put};
use omnirelay_registry::mutate::{MutationDecision, request_hash};
use omnirelay_store::{RecordKind, Write};
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::store::v1::{AuthorityValue, CertificateValue};
use omnirelay_wire::reasons;
use omnirelay_wire::rpc::certificate_service::{ISSUE, RENEW};

use super::authority::{bundle_pem, chain_pem};
use super::gate::RateKey;
use super::holder::{HolderSelector, id_of, remembered, show};
use super::lineage::{RenewalLineage, remember_issued};
use super::revoke::GRACE;
use super::signer::{Signer, not_made};
use super::{Certificates, authority_in, held_in, pb};
use pb::certificate::Status;

pub(crate) const HOUR: u32 = 3600;
/// How long a certificate lives whose request says nothing of it, in seconds.
pub(crate) const LIFETIME: u32 = 24 * HOUR;
pub(crate) const LIFETIME_MAX: u32 = 7 * 24 * HOUR;

/// Order for a leaf certificate that is to be issued, once it is certain that it may be.
pub(crate) struct LeafOrder<'a> {
    pub holder: CertificateHolder,
    pub request: &'a CertificateRequest,
    /// What it may be called.
    pub names: TlsNames,
    /// In seconds.
    pub lifetime: u32,
    /// What becomes of valid certificates of other keys.
    pub others: OtherKeysAction,
    /// Who asks for it.
    pub by: &'a str,
    pub now: i64,
    /// The certificate that it is renewed from; `None`: it is issued anew.
    pub from: Option<&'a Certificate>,
}

/// Action on the certificates of other keys that a holder has and that are valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OtherKeysAction {
    /// Nothing is issued beside them: two hosts may believe to be the same.
    Refuse,
    /// They and their keys are revoked, in the same commit: the host was replaced.
    Revoke,
    /// They stay: the holder itself asks, and goes over to the new one.
    Keep,
}

impl OtherKeysAction {
    /// As an administrator says.
    pub(crate) fn replaced(replace: bool) -> Self {
        if replace { Self::Revoke } else { Self::Refuse }
    }
}

impl Certificates {
    /// Issues on the word of an administrator, which is what the scope is for.
    pub(super) async fn issue_one(
        &self,
        caller: &Caller,
        asked: pb::IssueCertificateRequest,
    ) -> Result<pb::IssuedCertificate, Fault> {
        let hash = request_hash(&asked);
        let pb::IssueCertificateRequest { node, operator, service, role, cluster, csr, .. } = &asked;
        let holder = HolderSelector { node, operator, service, cluster, role }.holder(&self.cluster)?;
        let holder = holder.ok_or_else(|| {
            Fault::invalid("none of the fields `node`, `operator` and `service` says who it is for")
        })?;
        let (lifetime, request) = (lifetime(asked.lifetime_seconds)?, requested(csr)?);
        let (others, record) = (OtherKeysAction::replaced(asked.replace), record_of(&holder));
        let (id, reason, dry_run) = (record.key.clone(), asked.reason, asked.dry_run);
        let asked = MutationRequest { caller, rpc: ISSUE, id, reason, expected_version: None, dry_run, hash };
        const ALSO: &[RecordKind] = &[REVOCATION];
        asked
            .of_records(&self.registry, record, ALSO, |reader| {
                let order = LeafOrder {
                    names: with_own(&holder, request.names.clone()),
                    holder: holder.clone(),
                    request: &request,
                    lifetime,
                    others,
                    by: &caller.principal,
                    now: unix_now(),
                    from: None,
                };
                let mut issued = issue(&self.signer, reader, &order)?;
                if dry_run {
                    // It was signed to find out whether it can be; nobody has it.
                    issued.answer.chain_pem.clear();
                }
                Ok(issued)
            })
            .await
    }

    /// Issues to whoever holds the certificate before, what that one says.
    pub(super) async fn renew_one(
        &self,
        caller: &Caller,
        asked: pb::RenewCertificateRequest,
    ) -> Result<pb::IssuedCertificate, Fault> {
        let hash = request_hash(&asked);
        if let Some(cluster) = caller.proof.sibling() {
            let message = format!("what cluster {cluster} has issued is renewed there, and not here");
            return Err(Fault::new(reasons::CERTIFICATE_NEEDED, message)
                .hint("call a daemon of that cluster: omnirelay --context NAME cert renew DIR"));
        }
        let before = caller.certificate.clone().ok_or_else(|| {
            Fault::new(reasons::CERTIFICATE_NEEDED, "only a certificate can be renewed, and none was shown")
                .hint("call under TLS with the certificate that is to be renewed")
        })?;
        let request = requested(&asked.csr)?;
        let names = renewed_names(&before, &request.names)?;
        let (holder, record) = (before.id.holder().clone(), record_of(before.id.holder()));
        let (id, reason) = (record.key.clone(), String::new());
        let asked =
            MutationRequest { caller, rpc: RENEW, id, reason, expected_version: None, dry_run: false, hash };
        let rate_key = RateKey::of_renewed(&before, unix_now());
        let renewed = asked.of_records(&self.registry, record, &[], |reader| {
            let now = unix_now();
            check_shown(&before, &self.signer.revoked(|id| reader.get(id)), now)?;
            check_remembered(held_in(reader, &record_of(&holder)).as_deref(), &before)?;
            let order = LeafOrder {
                holder: holder.clone(),
                request: &request,
                names: names.clone(),
                lifetime: renewed_lifetime(&before),
                others: OtherKeysAction::Keep,
                by: &caller.principal,
                now,
                from: Some(&before),
            };
            issue(&self.signer, reader, &order)
        });
        self.issuing.pass(&asked.id, rate_key, renewed).await
    }
}

/// That the certificate before is one of those that the mesh remembers of its holder, so that what replaces or revokes the holder reaches it.
/// Of a holder that it has issued nothing to, the first certificate may be from files.
fn check_remembered(held: Option<&CertificateValue>, before: &Certificate) -> Result<(), Fault> {
    let issued: Vec<Certificate> =
        held.into_iter().flat_map(|held| &held.issued).filter_map(certificate_of).collect();
    let is_of_mesh = issued.iter().any(|known| known.id.trust_domain() == before.id.trust_domain());
    if is_of_mesh && !issued.iter().any(|known| known.serial == before.serial) {
        return Err(Fault::new(
            reasons::CERTIFICATE_NEEDED,
            format!("the certificate {} is not one that the mesh remembers of its holder", before.serial),
        )
        .hint("renew the newest one (omnirelay cert list), or have an administrator issue another"));
    }
    Ok(())
}

/// Issues what is ordered, and remembers it.
///
/// # Errors
/// When there is no authority or this node is no issuer; when the holder or the key is barred, or the holder has a valid
/// certificate of another key, or as many as can be remembered.
pub(crate) fn issue(
    signer: &Signer,
    reader: &DecisionReader<'_>,
    order: &LeafOrder<'_>,
) -> Result<MutationDecision<pb::IssuedCertificate>, Fault> {
    issue_by(signer, &*authority_in(reader)?, reader, order)
}

/// As [`issue`], of an authority that is not in the registry yet.
///
/// # Errors
/// As of [`issue`].
pub(crate) fn issue_by(
    signer: &Signer,
    authority: &AuthorityValue,
    reader: &DecisionReader<'_>,
    order: &LeafOrder<'_>,
) -> Result<MutationDecision<pb::IssuedCertificate>, Fault> {
    let issuer = signer.issuer(authority)?;
    let (record, id) = (record_of(&order.holder), id_of(issuer.trust_domain(), order.holder.clone())?);
    if order.request.id.as_ref().is_some_and(|asked| *asked != id) {
        return Err(Fault::invalid(format!("field `csr` asks for another SPIFFE ID than `{id}`")));
    }
    let (held, revoked) = (held_in(reader, &record), signer.revoked(|id| reader.get(id)));
    check_key(order, &revoked)?;
    let others = check_holder(order, &id, held.as_deref(), &revoked)?;
    let LeafOrder { now, lifetime, .. } = *order;
    let validity = ValidityPeriod { not_before: now - BACKDATED, not_after: now + i64::from(lifetime) };
    let issued = issuer.issue(order.request, &id, &order.names, validity);
    let issued = issued.map_err(|error| not_made(&error))?;
    let certificate = Certificate {
        serial: issued.serial,
        id,
        names: order.names.clone(),
        not_before: issued.validity.not_before,
        not_after: issued.validity.not_after,
        key: order.request.key,
    };
    let lineage =
        order.from.map(|before| RenewalLineage::behind(held.as_deref(), before, now)).unwrap_or_default();
    lineage.check(certificate.id.holder(), now)?;
    let value = remembered(&certificate, order.by, issuer.certificate(), lineage);
    let is_out = |one: &Certificate| {
        revoked.of(one).is_some() || others.iter().any(|replaced| replaced.serial == one.serial)
    };
    let with_it = remember_issued(held.as_deref(), value.clone(), order.from, is_out, now)?;
    let answer = pb::IssuedCertificate {
        schema_version: SCHEMA_VERSION.to_owned(),
        certificate: Some(show(&value, Status::Valid)),
        chain_pem: chain_pem(&issued.der, authority),
        bundle_pem: bundle_pem(authority),
        ..Default::default()
    };
    let mut writes = vec![put(record, &with_it)];
    writes.extend(replaced(signer, authority, revoked, &others, now)?);
    Ok(MutationDecision { writes, changes: told(&certificate), answer })
}

fn check_key(order: &LeafOrder<'_>, revoked: &Revocations) -> Result<(), Fault> {
    match revoked.about(&RevokedSubject::Key(order.request.key)) {
        None => Ok(()),
        Some(_) => Err(Fault::new(reasons::KEY_REVOKED, "the key of the request was revoked")
            .hint("make a new key: what was revoked may be known to others")),
    }
}

/// That the holder is not barred, and lives with no other key, unless that may be; answers what is replaced.
fn check_holder(
    order: &LeafOrder<'_>,
    id: &SpiffeId,
    held: Option<&CertificateValue>,
    revoked: &Revocations,
) -> Result<Vec<Certificate>, Fault> {
    let ways = [Some(RevokedSubject::Holder(id.clone())), RevokedSubject::node(id.holder())];
    if ways.iter().flatten().any(|way| revoked.about(way).is_some()) || held.is_some_and(|held| held.barred) {
        return Err(barred(id));
    }
    let issued = held.into_iter().flat_map(|held| &held.issued).filter_map(certificate_of);
    let valid = issued.filter(|one| one.not_after >= order.now && revoked.of(one).is_none());
    let others: Vec<Certificate> = valid.filter(|one| one.key != order.request.key).collect();
    match (order.others, others.first()) {
        (OtherKeysAction::Refuse, Some(other)) => {
            let message = format!("`{id}` has a valid certificate of another key, {}", other.serial);
            Err(Fault::new(reasons::HOLDER_HAS_A_CERTIFICATE, message)
                .hint("if that key is lost or the host was replaced, an administrator says so: --replace"))
        }
        (OtherKeysAction::Revoke, _) => Ok(others),
        (OtherKeysAction::Refuse | OtherKeysAction::Keep, _) => Ok(Vec::new()),
    }
}

/// The write by which what is replaced is out; none when nothing is.
fn replaced(
    signer: &Signer,
    authority: &AuthorityValue,
    mut list: Revocations,
    others: &[Certificate],
    now: i64,
) -> Result<Option<Write>, Fault> {
    if others.is_empty() {
        return Ok(None);
    }
    for Certificate { serial, key, not_after, .. } in others {
        list.revoke(RevokedSubject::Key(*key), now, not_after + GRACE, "replaced");
        list.revoke(RevokedSubject::Serial(serial.clone()), now, not_after + GRACE, "replaced");
    }
    list.prune(now);
    Ok(Some(put(revocation_id(), &signer.signed(authority, &list, now)?)))
}

/// Checks that the shown certificate still counts: it may have been revoked, or have ended, since the handshake.
///
/// # Errors
/// `HOLDER_REVOKED`, and `CERTIFICATE_NEEDED` where nobody has revoked anything.
pub(crate) fn check_shown(shown: &Certificate, revoked: &Revocations, now: i64) -> Result<(), Fault> {
    if revoked.of(shown).is_some() {
        return Err(barred(&shown.id));
    }
    if shown.not_after < now {
        let end = omnirelay_core::time::rfc3339(omnirelay_core::time::Millis::of_unix(shown.not_after));
        let message = format!("the certificate of `{}` that was shown has ended at {end}", shown.id);
        return Err(Fault::new(reasons::CERTIFICATE_NEEDED, message)
            .hint("have an administrator issue another: omnirelay cert issue"));
    }
    Ok(())
}

pub(crate) fn barred(id: &SpiffeId) -> Fault {
    Fault::new(reasons::HOLDER_REVOKED, format!("`{id}` was revoked and gets no certificate"))
        .hint("an administrator can let it back in: omnirelay cert reinstate")
}

/// What the audit trail says of it, and the caller is told.
fn told(certificate: &Certificate) -> Vec<String> {
    let Certificate { serial, id, names, not_after, key, .. } = certificate;
    let names: Vec<String> =
        names.dns.iter().cloned().chain(names.addresses.iter().map(ToString::to_string)).collect();
    let until = omnirelay_core::time::Millis::of_unix(*not_after);
    let mut lines = vec![
        format!("serial: none -> {serial}"),
        format!("id: {id}"),
        format!("key: {key}"),
        format!("until: {}", omnirelay_core::time::rfc3339(until)),
    ];
    if !names.is_empty() {
        lines.push(format!("names: {}", names.join(", ")));
    }
    lines
}

/// A request that was checked, but not who may ask so.
///
/// # Errors
/// `INVALID_ARGUMENT`, with what is wrong with it.
pub(crate) fn requested(csr: &str) -> Result<CertificateRequest, Fault> {
    if csr.is_empty() {
        return Err(Fault::invalid("field `csr` is empty: it takes a certificate request in PEM"));
    }
    CertificateRequest::from_pem(csr).map_err(|error| Fault::invalid(format!("field `csr`: {error}")))
}

fn lifetime(seconds: u32) -> Result<u32, Fault> {
    match seconds {
        0 => Ok(LIFETIME),
        HOUR..=LIFETIME_MAX => Ok(seconds),
        _ => Err(Fault::invalid(format!(
            "field `lifetimeSeconds` is {seconds}: {HOUR} to {LIFETIME_MAX} are allowed"
        ))),
    }
}

/// A node is found by its id as well.
pub(crate) fn with_own(holder: &CertificateHolder, mut names: TlsNames) -> TlsNames {
    let CertificateHolder::Node { node, .. } = holder else { return names };
    // One with a dot in it may be another's name.
    if node.contains('.') {
        return names;
    }
    for name in [node.clone(), format!("{node}.mesh")] {
        if omnirelay_pki::request::is_dns_name(&name) && !names.dns.contains(&name) {
            names.dns.push(name);
        }
    }
    names
}

/// As long as the certificate before lives, in seconds.
pub(crate) fn renewed_lifetime(before: &Certificate) -> u32 {
    let lifetime = u32::try_from(before.not_after - before.not_before - BACKDATED);
    lifetime.unwrap_or(LIFETIME).clamp(HOUR, LIFETIME_MAX)
}

/// The names of the certificate before, or as many of them as the request asks for.
fn renewed_names(before: &Certificate, asked: &TlsNames) -> Result<TlsNames, Fault> {
    let (dns, addresses) = (&before.names.dns, &before.names.addresses);
    let foreign = asked.dns.iter().find(|name| !dns.contains(name)).cloned();
    let foreign = foreign.or_else(|| {
        asked.addresses.iter().find(|address| !addresses.contains(address)).map(ToString::to_string)
    });
    match foreign {
        Some(name) => {
            Err(Fault::invalid(format!("field `csr` asks for `{name}`, which the certificate has not")))
        }
        None => Ok(before.names.clone()),
    }
}
