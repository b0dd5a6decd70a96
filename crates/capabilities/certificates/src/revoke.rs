//! Revoking: what is out before its time, as one signed list.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use omnirelay_certificate_records::revoked::known;
use omnirelay_certificate_records::{CERTIFICATE, ONLY, revocation_id};
use omnirelay_certificate_records::{certificate_of, record_of};
use omnirelay_core::spiffe::{CertificateHolder, SpiffeId};
use omnirelay_identity::caller::Caller;
use omnirelay_identity::trust::unix_now;
use omnirelay_nouns::request::MutationRequest;
use omnirelay_nouns::{SCHEMA_VERSION, at_cursor, envelope, head_cursor};
use omnirelay_peer_records as peers;
use omnirelay_pki::certificate::{Certificate, CertificateSerial};
use omnirelay_pki::revocation::{Revocation, Revocations, RevokedSubject};
use omnirelay_registry::act::{DecisionReader, put};
use omnirelay_registry::mutate::{MutationDecision, request_hash};
use omnirelay_registry::view::ViewRecord;
use omnirelay_store::{RecordId, RecordKind, Write};
use omnirelay_wire::envelope::EnvelopedAnswer as _;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::store::v1::{CertificateValue, RevocationValue};
use omnirelay_wire::reasons;
use omnirelay_wire::rpc::RpcMethod;
use omnirelay_wire::rpc::certificate_service::{REINSTATE, REVOKE};
use tonic::Response;

use super::administrators::{LastAdministrator, RemovedRights, check_left};
use super::authority::at;
use super::holder::{HolderSelector, id_of};
use super::lineage::{has_in_lineage, revoke_renewed};
use super::{Certificates, authority_in, held_in, pb, sibling, trust_domain};

/// How long a revocation is remembered after the end of what it is about, in seconds: longer than what has ended still proves
/// anything, and clocks differ.
pub(crate) const GRACE: i64 = omnirelay_certificate_records::GRACE + 24 * 3600;
/// How long a certificate is taken to live that the mesh does not remember, in seconds.
const FOREIGN_MAX: i64 = 10 * 366 * 24 * 3600;
/// The longest that a certificate lives, in seconds.
const LIFETIME_MAX: i64 = 7 * 24 * 3600;

/// Target of a revocation.
enum RevocationTarget {
    Serial(CertificateSerial),
    Holder(CertificateHolder, RecordId),
    /// The issuers of another cluster.
    IssuersOf(String),
}

impl Certificates {
    pub(super) async fn revoke_one(
        &self,
        caller: &Caller,
        asked: pb::RevokeCertificateRequest,
    ) -> Result<pb::RevocationChange, Fault> {
        let hash = request_hash(&asked);
        let pb::RevokeCertificateRequest { serial, node, operator, service, cluster, reason, .. } = &asked;
        let named = HolderSelector { node, operator, service, cluster, role: "" }.holder(&self.cluster)?;
        let target = match (serial.as_str(), named) {
            ("", None) if !asked.issuer_of.is_empty() => RevocationTarget::IssuersOf(asked.issuer_of.clone()),
            _ if !asked.issuer_of.is_empty() => {
                return Err(Fault::invalid(
                    "field `issuerOf` and one that names a certificate or its holder",
                ));
            }
            ("", Some(holder)) => {
                let record = record_of(&holder);
                RevocationTarget::Holder(holder, record)
            }
            ("", None) => {
                return Err(Fault::invalid(
                    "none of the fields `serial`, `node`, `operator`, `service` and `issuerOf` is given",
                ));
            }
            (serial, None) => {
                let serial =
                    serial.parse().map_err(|error| Fault::invalid(format!("field `serial`: {error}")))?;
                RevocationTarget::Serial(serial)
            }
            (_, Some(_)) => return Err(Fault::invalid("field `serial` and one that names a holder")),
        };
        let last = LastAdministrator::of(asked.last_administrator);
        let is_foreign = AtomicBool::new(false);
        let of_list = of_list(caller, REVOKE, reason, asked.dry_run, hash);
        let changed = self.change_unless(of_list, last, |reader, list, now| {
            match &target {
                RevocationTarget::Serial(serial) => {
                    let held = self.held_in_lineage(reader, serial);
                    let known = certificate_in(&held, serial);
                    is_foreign.store(known.is_none(), Ordering::Relaxed);
                    // One that the mesh has not issued, as from files, may live for as long as it likes.
                    let end = known.map_or(now + FOREIGN_MAX, |certificate| certificate.not_after.max(now));
                    let until = end + GRACE;
                    list.revoke(RevokedSubject::Serial(serial.clone()), now, until, reason);
                    revoke_renewed(held.iter().map(|held| &**held), serial, list, now, reason);
                    Ok(Vec::new())
                }
                RevocationTarget::IssuersOf(cluster) => {
                    let issuers = sibling::issuers_of(reader, cluster)?;
                    for key in issuers {
                        list.revoke(RevokedSubject::Key(key), now, now + FOREIGN_MAX, reason);
                    }
                    Ok(Vec::new())
                }
                RevocationTarget::Holder(holder, record) => {
                    let held = self.held_or_known(reader, holder, record)?;
                    bar(&held, holder, BarredCertificates::Holder, list, now, reason);
                    for id in self.ids_without_role(reader, holder)? {
                        // Of whom only tokens may be known, or what files have brought.
                        let until = now + LIFETIME_MAX + GRACE;
                        list.revoke(RevokedSubject::Holder(id), now, until, reason);
                    }
                    let barred = CertificateValue { barred: true, ..held.clone() };
                    Ok(if held.barred { Vec::new() } else { vec![put(record.clone(), &barred)] })
                }
            }
        });
        let mut changed = changed.await?;
        if changed.changed && is_foreign.load(Ordering::Relaxed) {
            changed.changes.push(format!(
                "serial {serial}: this mesh has issued no certificate with it that is remembered; if it was mistyped: omnirelay cert list --all"
            ));
        }
        Ok(changed)
    }

    /// Certificates that were issued to a holder; none, where it is known otherwise: as a peer, or perhaps from files.
    pub(super) fn held_or_known(
        &self,
        reader: &DecisionReader<'_>,
        holder: &CertificateHolder,
        record: &RecordId,
    ) -> Result<CertificateValue, Fault> {
        if let Some(held) = held_in(reader, record) {
            return Ok((*held).clone());
        }
        let is_peer = match holder {
            CertificateHolder::Node { cluster, node, .. } => {
                *cluster == self.cluster && peers::is_registered(&self.registry, node)
            }
            CertificateHolder::Operator(_) | CertificateHolder::Service(_) => false,
        };
        match is_peer || self.trust.current().provided.is_some() {
            true => Ok(CertificateValue::default()),
            false => Err(no_holder(record)),
        }
    }

    pub(super) async fn reinstate_one(
        &self,
        caller: &Caller,
        asked: pb::ReinstateHolderRequest,
    ) -> Result<pb::RevocationChange, Fault> {
        let hash = request_hash(&asked);
        let pb::ReinstateHolderRequest { node, operator, service, cluster, reason, .. } = &asked;
        let named = HolderSelector { node, operator, service, cluster, role: "" }.holder(&self.cluster)?;
        let holder = named
            .ok_or_else(|| Fault::invalid("none of the fields `node`, `operator` and `service` is given"))?;
        let record = record_of(&holder);
        self.change(of_list(caller, REINSTATE, reason, asked.dry_run, hash), |reader, list, now| {
            let held = held_in(reader, &record).ok_or_else(|| no_holder(&record))?;
            // Its certificates stay out by their numbers and their keys; only who it is, is let back in.
            for id in self.ids_without_role(reader, &holder)? {
                list.reinstate(&RevokedSubject::Holder(id), now);
            }
            if let Some(node) = RevokedSubject::node(&holder) {
                list.reinstate(&node, now);
            }
            for certificate in held.issued.iter().filter_map(certificate_of) {
                list.reinstate(&RevokedSubject::Holder(certificate.id), now);
            }
            let free = CertificateValue { barred: false, ..(*held).clone() };
            Ok(if held.barred { vec![put(record.clone(), &free)] } else { Vec::new() })
        })
        .await
    }

    /// The ids of a holder, in each trust domain that is believed here, whatever was issued to it; none of nodes, in whose ids
    /// their roles are.
    fn ids_without_role(
        &self,
        reader: &DecisionReader<'_>,
        holder: &CertificateHolder,
    ) -> Result<Vec<SpiffeId>, Fault> {
        if matches!(holder, CertificateHolder::Node { .. }) {
            return Ok(Vec::new());
        }
        let trusted = self.trust.current();
        let mut domains = vec![trust_domain(&*authority_in(reader)?)?];
        domains.extend(trusted.bundles().map(|bundle| bundle.trust_domain().clone()));
        domains.sort();
        domains.dedup();
        domains.iter().map(|domain| id_of(domain, holder.clone())).collect()
    }

    /// Commits what becomes of the list, signed, and what else `change` says.
    pub(super) async fn change(
        &self,
        asked: MutationRequest<'_>,
        change: impl Fn(&DecisionReader<'_>, &mut Revocations, i64) -> Result<Vec<Write>, Fault>,
    ) -> Result<pb::RevocationChange, Fault> {
        // Nodes administer nothing, and tokens are not counted.
        self.change_unless(asked, LastAdministrator::MayGo, change).await
    }

    /// The same, unless the last administrator would go.
    async fn change_unless(
        &self,
        asked: MutationRequest<'_>,
        last: LastAdministrator,
        change: impl Fn(&DecisionReader<'_>, &mut Revocations, i64) -> Result<Vec<Write>, Fault>,
    ) -> Result<pb::RevocationChange, Fault> {
        const ALSO: &[RecordKind] = &[CERTIFICATE];
        asked
            .of_records(&self.registry, revocation_id(), ALSO, |reader| {
                let (authority, now) = (authority_in(reader)?, unix_now());
                let before = self.signer.revoked(|id| reader.get(id));
                let mut list = before.clone();
                let mut writes = change(reader, &mut list, now)?;
                let mut changes = differences(&before, &list);
                // Who is let back in takes nobody away.
                if revokes(&before, &list) {
                    let taken = RemovedRights { principal: "", before: &before, after: &list };
                    changes.extend(check_left(self.registry.view(), reader, taken, last)?);
                }
                if list != before {
                    list.prune(now);
                    writes.push(put(revocation_id(), &self.signer.signed(&authority, &list, now)?));
                }
                let answer = pb::RevocationChange {
                    schema_version: SCHEMA_VERSION.to_owned(),
                    number: list.number(),
                    ..Default::default()
                };
                Ok(MutationDecision { writes, changes, answer })
            })
            .await
    }

    /// What is remembered of the holders that the certificate with this number, or what came of it, is of. Read as a decision reads
    /// it: a renewal that is under way conflicts.
    fn held_in_lineage(
        &self,
        reader: &DecisionReader<'_>,
        serial: &CertificateSerial,
    ) -> Vec<Arc<CertificateValue>> {
        let records = self.registry.view().list(&CERTIFICATE).records;
        let is_of = |record: &&Arc<ViewRecord>| {
            record.value::<CertificateValue>().is_some_and(|held| has_in_lineage(&held, serial))
        };
        let found = records.iter().filter(is_of);
        found.filter_map(|record| held_in(reader, &record.record.id)).collect()
    }

    pub(super) async fn show_revoked(
        &self,
        asked: pb::ListRevocationsRequest,
    ) -> Result<Response<pb::ListRevocationsResponse>, Fault> {
        self.registry.ready_for(&asked.min_revision).await?;
        let record = self.registry.look(|view| view.get(&revocation_id())).await;
        let value = record.and_then(|record| record.value::<RevocationValue>());
        let list = known(value.as_deref())?;
        let cursor = head_cursor(self.registry.view());
        let listed = pb::ListRevocationsResponse {
            cursor: cursor.clone(),
            number: list.number(),
            enforced_number: self.trust.current().revocations.number(),
            revocations: list.iter().filter(|(_, revocation)| revocation.holds()).map(show).collect(),
            ..Default::default()
        };
        Ok(at_cursor(listed.within(envelope(&self.registry)), &cursor))
    }
}

/// The certificate with this number, as far as it is remembered.
fn certificate_in(held: &[Arc<CertificateValue>], serial: &CertificateSerial) -> Option<Certificate> {
    let mut all = held.iter().flat_map(|held| &held.issued);
    all.find(|issued| CertificateSerial::of(&issued.serial) == *serial).and_then(certificate_of)
}

/// Request for a change of the list of revocations.
pub(crate) fn of_list<'a>(
    caller: &'a Caller,
    rpc: RpcMethod,
    reason: &str,
    dry_run: bool,
    hash: u64,
) -> MutationRequest<'a> {
    let (id, reason) = (ONLY.to_owned(), reason.to_owned());
    MutationRequest { caller, rpc, id, reason, expected_version: None, dry_run, hash }
}

/// Certificates of a holder that are put out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BarredCertificates {
    /// Under every name it was issued a certificate for, and with every key.
    Holder,
    /// What it has: it may have others.
    Keys,
}

/// Puts a holder out.
pub(crate) fn bar(
    held: &CertificateValue,
    holder: &CertificateHolder,
    how: BarredCertificates,
    list: &mut Revocations,
    now: i64,
    reason: &str,
) {
    let certificates: Vec<Certificate> = held.issued.iter().filter_map(certificate_of).collect();
    let until = certificates.iter().map(|one| one.not_after).max().unwrap_or(now) + GRACE;
    if let Some(node) = RevokedSubject::node(holder).filter(|_| how == BarredCertificates::Holder) {
        list.revoke(node, now, until, reason);
    }
    for certificate in certificates {
        if how == BarredCertificates::Holder {
            list.revoke(RevokedSubject::Holder(certificate.id), now, until, reason);
        }
        list.revoke(RevokedSubject::Key(certificate.key), now, until, reason);
        list.revoke(RevokedSubject::Serial(certificate.serial), now, until, reason);
    }
}

/// What holds in one and not in the other, a line each.
fn differences(before: &Revocations, after: &Revocations) -> Vec<String> {
    let newly = |from: &Revocations, to: &Revocations| -> Vec<String> {
        let held = to.iter().filter(|(what, revocation)| revocation.holds() && from.about(what).is_none());
        held.map(|(what, _)| word(what)).collect()
    };
    let (out, back) = (newly(before, after), newly(after, before));
    let out = out.into_iter().map(|what| format!("{what}: not revoked -> revoked"));
    out.chain(back.into_iter().map(|what| format!("{what}: revoked -> reinstated"))).collect()
}

/// Whether something holds in the list after that did not before.
fn revokes(before: &Revocations, after: &Revocations) -> bool {
    after.iter().any(|(what, revocation)| revocation.holds() && before.about(what).is_none())
}

fn word(what: &RevokedSubject) -> String {
    match what {
        RevokedSubject::Serial(serial) => format!("serial {serial}"),
        RevokedSubject::Key(key) => format!("key {key}"),
        RevokedSubject::Holder(id) => format!("holder {id}"),
        RevokedSubject::Node { cluster, node } => format!("node {cluster}/{node}"),
        RevokedSubject::Later(_) => "what a later version names".to_owned(),
    }
}

fn show((what, revocation): (&RevokedSubject, &Revocation)) -> pb::Revocation {
    let mut shown = pb::Revocation {
        since: Some(at(revocation.since)),
        until: Some(at(revocation.until)),
        reason: revocation.reason.clone(),
        ..Default::default()
    };
    match what {
        RevokedSubject::Serial(serial) => shown.serial = serial.to_string(),
        RevokedSubject::Key(key) => shown.key_fingerprint = key.to_string(),
        RevokedSubject::Holder(id) => shown.id = id.to_string(),
        RevokedSubject::Node { cluster, node } => shown.node = format!("{cluster}/{node}"),
        // Its reason and its times are shown.
        RevokedSubject::Later(_) => {}
    }
    shown
}

pub(crate) fn no_holder(record: &RecordId) -> Fault {
    Fault::new(reasons::CERTIFICATE_NOT_FOUND, format!("nothing was issued to `{}`", record.key))
        .hint("omnirelay cert list --all")
}
