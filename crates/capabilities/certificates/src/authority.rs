//! The authority: how it is made and shown.

use omnirelay_certificate_records::{CERTIFICATE, JOIN_POLICY, ONLY, authority_id};
use omnirelay_core::spiffe::{CertificateHolder, TrustDomain};
use omnirelay_identity::caller::Caller;
use omnirelay_identity::trust::{FederatedClusterTrust, unix_now};
use omnirelay_nouns::request::MutationRequest;
use omnirelay_nouns::seed::RecordSeed as _;
use omnirelay_nouns::{SCHEMA_VERSION, at_cursor, envelope, head_cursor, timestamp};
use omnirelay_pki::authority::ValidityPeriod;
use omnirelay_pki::certificate::{to_pem, validity_of};
use omnirelay_pki::issuer_cluster::named_cluster;
use omnirelay_pki::key::Fingerprint;
use omnirelay_pki::request::CertificateRequest;
use omnirelay_pki::revocation::BACKDATED;
use omnirelay_pki::trust::TrustBundle;
use omnirelay_registry::Registry;
use omnirelay_registry::act::{DecisionReader, OwnChange, put};
use omnirelay_registry::mutate::{MutationDecision, request_hash};
use omnirelay_registry::view::ViewRecord;
use omnirelay_store::RecordKind;
use omnirelay_wire::envelope::EnvelopedAnswer as _;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::store::v1::{
    AuthorityValue, PendingIssuerValue, SecretHolderValue, SigningValue,
};
use omnirelay_wire::reasons;
use omnirelay_wire::rpc::certificate_service::INIT_AUTHORITY;
use rustls::pki_types::CertificateDer;
use tonic::Response;

use super::issue::{LIFETIME, LeafOrder, OtherKeysAction, issue_by, requested};
use super::issuers;
use super::policy::JoinPolicySeed;
use super::protect::protect_from_the_beginning;
use super::supplied_issuer::SuppliedIssuer;
use super::{Certificates, pb, pending_id, unreadable};

/// The trust domain of an authority whose maker names none.
pub(crate) const DOMAIN: &str = "mesh.local";
const DAY: i64 = 86_400;
const ROOT_DAYS: u32 = 3650;
const ROOT_DAYS_MAX: u32 = 36_500;
const ISSUER_DAYS: u32 = 365;

impl Certificates {
    pub(super) async fn show_authority(
        &self,
        asked: pb::GetAuthorityRequest,
    ) -> Result<Response<pb::GetAuthorityResponse>, Fault> {
        self.registry.ready_for(&asked.min_revision).await?;
        let record = self.registry.look(|view| view.get(&authority_id())).await;
        let value = record.as_ref().and_then(|record| record.value::<AuthorityValue>());
        let prepared = self.registry.view().get(&pending_id());
        let prepared = prepared.and_then(|record| record.value::<PendingIssuerValue>());
        let prepared = prepared.and_then(|pending| CertificateRequest::read(&pending.csr).ok());
        let cursor = head_cursor(self.registry.view());
        let shown = pb::GetAuthorityResponse {
            cursor: cursor.clone(),
            prepared_key_fingerprint: prepared.map(|csr| csr.key.to_string()).unwrap_or_default(),
            issues: value.as_ref().is_some_and(|value| self.signer.can_issue(value)),
            bundle_pem: value.as_ref().map(|value| bundle_pem(value)).unwrap_or_default(),
            authority: record.as_ref().zip(value.as_ref()).map(|(record, value)| show(record, value)),
            federated: self.trust.current().federated.iter().map(federated).collect(),
            issuing_nodes: issuers::live(&self.registry).into_iter().collect(),
            ..Default::default()
        };
        Ok(at_cursor(shown.within(envelope(&self.registry)), &cursor))
    }

    /// Makes the authority once: its keys here, or of a root whose key is elsewhere.
    pub(super) async fn init(
        &self,
        caller: &Caller,
        asked: pb::InitAuthorityRequest,
    ) -> Result<pb::AuthorityChange, Fault> {
        let (hash, now) = (request_hash(&asked), unix_now());
        let given = SuppliedIssuer::of(&asked.root_pem, &asked.issuer_pem, "")?;
        let (mut domain, root, issuer) = checked(&asked, now)?;
        if let Some(given) = given.as_ref().filter(|_| asked.trust_domain.is_empty()) {
            domain = given.trust_domain()?;
        }
        let first = first_operator(&asked)?;
        let pb::InitAuthorityRequest { reason, dry_run, .. } = asked;
        let (rpc, id) = (INIT_AUTHORITY, ONLY.to_owned());
        let asked = MutationRequest { caller, rpc, id, reason, expected_version: None, dry_run, hash };
        const ALSO: &[RecordKind] = &[CERTIFICATE, JOIN_POLICY];
        asked
            .of_records(&self.registry, authority_id(), ALSO, |reader| {
                if let Some(found) = reader.get(&authority_id()) {
                    return Err(exists(&found));
                }
                let (mut value, mut writes) = match &given {
                    Some(given) => given.installed(reader, (&domain, &self.cluster), now)?,
                    None => (self.signer.make(domain.clone(), root, issuer, now)?, Vec::new()),
                };
                let protected = protect_from_the_beginning(&self.registry, reader, &mut value);
                let fingerprint = Fingerprint::of(&value.roots[0].certificate);
                writes.insert(0, put(authority_id(), &value));
                let mut changes =
                    vec![format!("trustDomain: none -> {domain}"), format!("root: none -> {fingerprint}")];
                changes.extend(protected);
                if let Some(begun) = begun_with(self.policy.as_ref(), &self.registry, reader) {
                    writes.extend(begun.writes);
                    changes.extend(begun.changes);
                }
                let mut issued = pb::IssuedCertificate::default();
                if let Some((operator, request)) = &first {
                    let order = LeafOrder {
                        holder: CertificateHolder::Operator(operator.clone()),
                        request,
                        names: request.names.clone(),
                        lifetime: LIFETIME,
                        others: OtherKeysAction::Refuse,
                        by: &caller.principal,
                        now,
                        from: None,
                    };
                    let decided = issue_by(&self.signer, &value, reader, &order)?;
                    writes.extend(decided.writes);
                    changes.extend(decided.changes);
                    issued = decided.answer;
                }
                let answer = pb::AuthorityChange {
                    schema_version: SCHEMA_VERSION.to_owned(),
                    authority: Some(shown(&value)),
                    certificate: issued.certificate,
                    // With a dry run nobody has it.
                    chain_pem: if dry_run { String::new() } else { issued.chain_pem },
                    bundle_pem: bundle_pem(&value),
                    ..Default::default()
                };
                Ok(MutationDecision { writes, changes, answer })
            })
            .await
    }
}

/// The join policy with which an authority begins; `None`: nothing is configured, or the mesh has one.
pub(super) fn begun_with(
    policy: Option<&JoinPolicySeed>,
    registry: &Registry,
    reader: &DecisionReader<'_>,
) -> Option<OwnChange<bool>> {
    let mut begun = policy?.begin(registry, reader)?;
    begun.changes.iter_mut().for_each(|line| line.insert_str(0, "joinPolicy."));
    Some(begun)
}

fn exists(record: &ViewRecord) -> Fault {
    let known = record.value::<AuthorityValue>().unwrap_or_default();
    let message = format!("this mesh has a certificate authority, of `{}`", known.trust_domain);
    Fault::new(reasons::AUTHORITY_EXISTS, message).hint("omnirelay cert ca show")
}

/// Whom the first certificate is issued to, and the request for it; `None`: nobody.
fn first_operator(asked: &pb::InitAuthorityRequest) -> Result<Option<(String, CertificateRequest)>, Fault> {
    match (asked.operator.as_str(), asked.csr.as_str()) {
        ("", "") => Ok(None),
        ("", _) | (_, "") => {
            Err(Fault::invalid("fields `operator` and `csr` are given together or not at all"))
        }
        (name, csr) => {
            let holder = CertificateHolder::Operator(name.to_owned());
            holder.check().map_err(|error| Fault::invalid(format!("field `operator`: {error}")))?;
            Ok(Some((name.to_owned(), requested(csr)?)))
        }
    }
}

/// The second of the Unix time by the store's clock, which is not what certificates are dated by.
pub(crate) fn store_unix(registry: &omnirelay_registry::Registry) -> i64 {
    i64::try_from(registry.view().now().0 / 1000).unwrap_or(i64::MAX)
}

/// Whose it is to be, and how long its two certificates live.
fn checked(
    asked: &pb::InitAuthorityRequest,
    now: i64,
) -> Result<(TrustDomain, ValidityPeriod, ValidityPeriod), Fault> {
    let domain = if asked.trust_domain.is_empty() { DOMAIN } else { &asked.trust_domain };
    let domain = domain.parse().map_err(|error| Fault::invalid(format!("field `trustDomain`: {error}")))?;
    let [root, issuer] = lives(asked.root_days, asked.issuer_days, now)?;
    Ok((domain, root, issuer))
}

/// Validity periods of a root and its issuer, by their days; 0: as many as others.
pub(crate) fn lives(root_days: u32, issuer_days: u32, now: i64) -> Result<[ValidityPeriod; 2], Fault> {
    let or = |given: u32, default: u32| if given == 0 { default } else { given };
    let root = or(root_days, ROOT_DAYS);
    let issuer = or(issuer_days, ISSUER_DAYS.min(root));
    if root > ROOT_DAYS_MAX {
        return Err(Fault::invalid(format!(
            "field `rootDays` is {root}: at most {ROOT_DAYS_MAX} are allowed"
        )));
    }
    if issuer > root {
        let message = format!("field `issuerDays` is {issuer}: the root lives {root}, and no issuer longer");
        return Err(Fault::invalid(message));
    }
    let not_before = now - BACKDATED;
    let of = |days: u32| ValidityPeriod { not_before, not_after: now + i64::from(days) * DAY };
    Ok([of(root), of(issuer)])
}

/// A leaf and what leads from it to a root, in PEM: its issuer, and a root that the one before has certified.
pub(crate) fn chain_pem(leaf: &[u8], value: &AuthorityValue) -> String {
    let issuer = value.issuers.first().map(|issuer| &issuer.certificate);
    // Once the root before is trusted no more, nobody needs to be led from it.
    let followers = value.roots.get(..value.roots.len().saturating_sub(1)).unwrap_or_default();
    let across = followers.iter().map(|root| &root.across).filter(|across| !across.is_empty());
    to_pem(leaf) + &issuer.into_iter().chain(across).map(|der| to_pem(der)).collect::<String>()
}

/// The roots in PEM.
pub(crate) fn bundle_pem(value: &AuthorityValue) -> String {
    value.roots.iter().map(|root| to_pem(&root.certificate)).collect()
}

/// The roots, as what certificates are verified by.
///
/// # Errors
/// `AUTHORITY_UNREADABLE`.
pub(crate) fn bundle_of(roots: &[SigningValue]) -> Result<TrustBundle, Fault> {
    let roots = roots.iter().map(|root| CertificateDer::from(root.certificate.clone()));
    TrustBundle::of(roots.collect()).map_err(|_| unreadable())
}

pub(crate) fn shown(value: &AuthorityValue) -> pb::Authority {
    pb::Authority {
        trust_domain: value.trust_domain.clone(),
        roots: value.roots.iter().map(certificate).collect(),
        issuers: value.issuers.iter().map(certificate).collect(),
        records_protected: value.record_signing.as_ref().is_some_and(|signing| !signing.unsigned_counts),
        secret_given_to: value.secret_given_to.iter().map(holder).collect(),
        sibling_issuers: value.sibling_issuers.iter().map(certificate).collect(),
        ..Default::default()
    }
}

fn holder(of: &SecretHolderValue) -> pb::SecretHolder {
    pb::SecretHolder { node_id: of.node_id.clone(), since: Some(at(of.since)) }
}

fn show(record: &ViewRecord, value: &AuthorityValue) -> pb::Authority {
    pb::Authority {
        version: record.record.version.0,
        last_writer_id: record.record.writer.to_string(),
        created_at: Some(timestamp(record.record.created_at)),
        updated_at: Some(timestamp(record.record.updated_at)),
        ..shown(value)
    }
}

fn federated(of: &FederatedClusterTrust) -> pb::FederatedCluster {
    pb::FederatedCluster {
        cluster: of.cluster.clone(),
        trust_domain: of.bundle.trust_domain().to_string(),
        roots: of.bundle.roots().iter().map(|root| public(root)).collect(),
    }
}

fn certificate(of: &SigningValue) -> pb::AuthorityCertificate {
    pb::AuthorityCertificate { key_in_registry: !of.sealed_key.is_empty(), ..public(&of.certificate) }
}

/// An authority's certificate whose key is elsewhere.
fn public(der: &[u8]) -> pb::AuthorityCertificate {
    let (not_before, not_after) = validity_of(der).unwrap_or_default();
    pb::AuthorityCertificate {
        fingerprint: Fingerprint::of(der).to_string(),
        pem: to_pem(der),
        not_before: Some(at(not_before)),
        not_after: Some(at(not_after)),
        key_in_registry: false,
        cluster: named_cluster(&CertificateDer::from(der)).name().unwrap_or_default().to_owned(),
    }
}

/// A second of the Unix time.
pub(crate) fn at(seconds: i64) -> omnirelay_wire::timestamp::Timestamp {
    timestamp(omnirelay_core::time::Millis::of_unix(seconds))
}
