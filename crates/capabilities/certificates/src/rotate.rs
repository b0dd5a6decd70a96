//! Rotating the authority: another issuer, another root, and the end of the root before.
//!
//! The root before stays trusted until it is retired, and has certified the new one: whoever knows one of the two believes
//! what is issued meanwhile, and nobody has to be told of the new one before it is used.

use omnirelay_certificate_records::{
    CERTIFICATE, ONLY, REVOCATION, authority_id, current_authority, revocation_id,
};
use omnirelay_identity::caller::{Caller, Scope};
use omnirelay_identity::trust::unix_now;
use omnirelay_nouns::SCHEMA_VERSION;
use omnirelay_nouns::request::MutationRequest;
use omnirelay_pki::authority::ValidityPeriod;
use omnirelay_pki::certificate::{key_of, to_pem as certificate_pem, validity_of};
use omnirelay_pki::key::Fingerprint;
use omnirelay_pki::request::{CertificateRequest, to_pem};
use omnirelay_pki::revocation::{Revocations, RevokedSubject};
use omnirelay_registry::act::{DecisionReader, put};
use omnirelay_registry::mutate::{MutationDecision, request_hash};
use omnirelay_store::{RecordKind, Write};
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::store::v1::{
    AuthorityValue, CertificateValue, IssuedValue, RecordSigning, SigningValue,
};
use omnirelay_wire::reasons;
use omnirelay_wire::rpc::certificate_service::{PREPARE_ISSUER, RETIRE_ROOT, ROTATE_AUTHORITY};
use rustls::pki_types::CertificateDer;
use tokio::time::timeout;
use tracing::{info, warn};

use super::authority::{bundle_of, bundle_pem, lives, shown};
use super::pending::only_administrators;
use super::record_keeper::{SIGNED_WITHIN, is_being_signed, signing_by};
use super::revoke::GRACE;
use super::seal_keys::TrustedSealSigners;
use super::signer::{NextIssuerSealSecret, Signer, UncertifiedIssuer};
use super::supplied_issuer::SuppliedIssuer;
use super::{
    Certificates, authority_in, pb, pending_id, seal_keys, sibling, token_keys, trust_domain, unreadable,
};
use crate::identity_keeper::KeepError;

/// How many roots may be trusted at a time.
const ROOTS_MAX: usize = 2;
/// How many issuers are remembered.
const ISSUERS_MAX: usize = 8;
/// How many holders are named that keep a root from being retired.
const NAMED_MAX: usize = 5;

/// Next issuer of the authority.
pub(crate) enum NextIssuer {
    /// Made here, under the newest root.
    Issuer(ValidityPeriod),
    /// Made here, under a new root.
    Root([ValidityPeriod; 2]),
    /// Of a root whose key is elsewhere.
    Given(SuppliedIssuer),
}

/// Rotation of the authority: what comes of it.
pub(crate) struct AuthorityRotation {
    pub authority: AuthorityValue,
    pub writes: Vec<Write>,
    pub changes: Vec<String>,
}

impl Certificates {
    /// Makes the key of the next issuer and keeps it, sealed.
    pub(super) async fn prepare(
        &self,
        caller: &Caller,
        asked: pb::PrepareIssuerRequest,
    ) -> Result<pb::PreparedIssuer, Fault> {
        let hash = request_hash(&asked);
        let pb::PrepareIssuerRequest { reason, dry_run, new_secret } = asked;
        let secret = if new_secret { NextIssuerSealSecret::New } else { NextIssuerSealSecret::Same };
        let (rpc, id) = (PREPARE_ISSUER, ONLY.to_owned());
        let asked = MutationRequest { caller, rpc, id, reason, expected_version: None, dry_run, hash };
        let prepared = asked
            .of_records(&self.registry, pending_id(), &[], |reader| {
                let authority = reader.get(&authority_id()).and_then(|found| found.value());
                self.check_own_pending(caller, reader)?;
                let UncertifiedIssuer { value: mut pending, proven } =
                    self.signer.prepare(authority.as_deref(), secret)?;
                self.registry.node_id().clone_into(&mut pending.node_id);
                let (signature, signer) = proven.unwrap_or_default();
                let key = CertificateRequest::read(&pending.csr).map_err(|_| unreadable())?.key.to_string();
                let answer = pb::PreparedIssuer {
                    schema_version: SCHEMA_VERSION.to_owned(),
                    cluster: self.cluster.clone(),
                    // With a dry run nobody keeps its key.
                    csr_pem: if dry_run { String::new() } else { to_pem(&pending.csr) },
                    key_fingerprint: key.clone(),
                    signer_pem: if signer.is_empty() { String::new() } else { certificate_pem(&signer) },
                    signature,
                    ..Default::default()
                };
                let writes = vec![put(pending_id(), &pending)];
                Ok(MutationDecision { writes, changes: vec![format!("key: none -> {key}")], answer })
            })
            .await?;
        if !dry_run {
            // Whoever keeps the root compares it, on this host.
            info!(key = prepared.key_fingerprint, "next issuer prepared");
        }
        Ok(prepared)
    }

    /// Has another issuer issue from now on.
    pub(super) async fn rotate(
        &self,
        caller: &Caller,
        asked: pb::RotateAuthorityRequest,
    ) -> Result<pb::AuthorityChange, Fault> {
        let (hash, now) = (request_hash(&asked), unix_now());
        if asked.revoke_before && !caller.scopes.contains(Scope::MeshAdmin) {
            return Err(only_administrators("revoke what the issuers before have issued"));
        }
        let given = SuppliedIssuer::of(&asked.root_pem, &asked.issuer_pem, &asked.across_pem)?;
        let validities = lives(asked.root_days, asked.issuer_days, now)?;
        let next = match (given, asked.root) {
            (Some(given), is_root) if is_root == given.root.is_some() => NextIssuer::Given(given),
            (Some(_), _) => return Err(Fault::invalid("fields `root` and `rootPem` contradict each other")),
            (None, true) => NextIssuer::Root(validities),
            (None, false) => NextIssuer::Issuer(validities[1]),
        };
        let before = OldIssuers::revoked(asked.revoke_before);
        let pb::RotateAuthorityRequest { reason, dry_run, .. } = asked;
        if before == OldIssuers::Kept && !dry_run {
            seal_keys::vouch_before_another(&self.registry, &self.signer).await;
        }
        let (rpc, id) = (ROTATE_AUTHORITY, ONLY.to_owned());
        let asked = MutationRequest { caller, rpc, id, reason, expected_version: None, dry_run, hash };
        const ALSO: &[RecordKind] = &[REVOCATION];
        asked
            .of_records(&self.registry, authority_id(), ALSO, |reader| {
                let AuthorityRotation { authority, writes, changes } =
                    rotated(&self.signer, reader, &next, before, now)?;
                Ok(MutationDecision { writes, changes, answer: answer(&authority) })
            })
            .await
    }

    /// Has a root trusted no more.
    pub(super) async fn retire(
        &self,
        caller: &Caller,
        asked: pb::RetireRootRequest,
    ) -> Result<pb::AuthorityChange, Fault> {
        let (hash, now) = (request_hash(&asked), unix_now());
        let pb::RetireRootRequest { fingerprint, force, reason, dry_run } = asked;
        if !dry_run {
            self.keep_seal_keys(force).await?;
            self.await_signatures().await;
        }
        let (rpc, id) = (RETIRE_ROOT, ONLY.to_owned());
        let asked = MutationRequest { caller, rpc, id, reason, expected_version: None, dry_run, hash };
        const ALSO: &[RecordKind] = &[REVOCATION];
        asked
            .of_records(&self.registry, authority_id(), ALSO, |reader| {
                let authority = authority_in(reader)?;
                let is_it =
                    |root: &SigningValue| Fingerprint::of(&root.certificate).to_string() == fingerprint;
                let at = authority.roots.iter().position(is_it).ok_or_else(|| no_root(&fingerprint))?;
                if at == 0 {
                    return Err(in_use("it is the newest root, under which certificates are issued"));
                }
                let mut value = (*authority).clone();
                value.roots.remove(at);
                if !force {
                    let revoked = self.signer.revoked(|id| reader.get(id));
                    sibling::check_nobody_needs_more(self.registry.view(), &value, &revoked, now)?;
                    self.check_all_signed(&value)?;
                    self.check_nobody_needs_more(&value, now)?;
                }
                let mut writes = vec![put(authority_id(), &value)];
                // Signed anew, so that it does not lead to what is trusted no more.
                writes.extend(signed_anew(&self.signer, &value, reader, |_| {}, now)?);
                let changes = vec![format!("root: {fingerprint} -> none")];
                Ok(MutationDecision { writes, changes, answer: answer(&value) })
            })
            .await
    }

    /// Has the issuer of now vouch for the keys that seal audit records, before a root is trusted no more. By force the root goes
    /// even where that fails, and counts for nothing before: its key may have been stolen.
    async fn keep_seal_keys(&self, force: bool) -> Result<(), Fault> {
        let signers = if force { TrustedSealSigners::Known } else { TrustedSealSigners::Rooted };
        match seal_keys::vouch_anew(&self.registry, &self.signer, signers).await {
            Ok(()) => Ok(()),
            Err(error) if force => {
                let error = &error as &dyn std::error::Error;
                warn!(
                    error,
                    "keys that seal audit records not vouched for anew; their nodes have to join again"
                );
                Ok(())
            }
            Err(KeepError::Refused(refused)) => Err(refused),
            Err(error) => {
                let why = omnirelay_core::text::chain(&error);
                let message = format!("keys that seal audit records are not vouched for anew: {why}");
                Err(Fault::new(reasons::STORE_UNAVAILABLE, message)
                    .hint("repeat the command: no root was retired"))
            }
        }
    }

    /// Waits a moment for the newest issuer to sign what those before have signed.
    async fn await_signatures(&self) {
        let signed = self.registry.look_until_found(|view| {
            current_authority(view).is_none_or(|authority| !has_to_sign(&authority)).then_some(())
        });
        if self.registry.view().demands_signatures() {
            let _ = timeout(SIGNED_WITHIN, signed).await;
        }
    }

    /// That no record waits for the signature of the newest issuer: by that of one under another root it would count no more.
    fn check_all_signed(&self, authority: &AuthorityValue) -> Result<(), Fault> {
        match self.registry.view().demands_signatures() && has_to_sign(authority) {
            true => Err(in_use("records are being signed by the newest issuer still; try again in a moment")),
            false => Ok(()),
        }
    }

    /// That everybody's newest certificate leads to one of the roots of `authority`.
    fn check_nobody_needs_more(&self, authority: &AuthorityValue, now: i64) -> Result<(), Fault> {
        let der = |one: &SigningValue| CertificateDer::from(one.certificate.clone());
        let bundle = bundle_of(&authority.roots)?;
        let leads = |one: &&SigningValue| bundle.verify_authority(&[der(one)], now).is_ok();
        let leading = authority.issuers.iter().filter(leads);
        let leading: Vec<Fingerprint> = leading.map(|one| Fingerprint::of(&one.certificate)).collect();
        let records = self.registry.view().list(&CERTIFICATE).records;
        let values = records.iter().filter_map(|record| record.value::<CertificateValue>());
        let of_before = |value: &std::sync::Arc<CertificateValue>| -> Option<IssuedValue> {
            let newest = value.issued.first().filter(|one| !value.barred && one.not_after >= now)?;
            let leads = leading.iter().any(|issuer| newest.issuer == issuer.as_bytes());
            (!leads).then(|| newest.clone())
        };
        let left: Vec<IssuedValue> = values.filter_map(|value| of_before(&value)).collect();
        let Some(last) = left.iter().map(|issued| issued.not_after).max() else { return Ok(()) };
        let named: Vec<&str> = left.iter().take(NAMED_MAX).map(|issued| issued.id.as_str()).collect();
        let until = omnirelay_core::time::rfc3339(omnirelay_core::time::Millis::of_unix(last));
        Err(in_use(&format!(
            "{} holders have certificates that lead to it alone, until {until} at the latest: {}{}",
            left.len(),
            named.join(", "),
            if left.len() > NAMED_MAX { " and others" } else { "" }
        )))
    }
}

/// Whether the newest issuer of an authority has records yet to sign.
fn has_to_sign(authority: &AuthorityValue) -> bool {
    authority.record_signing.as_ref().is_some_and(is_being_signed)
}

/// Fate of the issuers before the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OldIssuers {
    /// What they have issued is believed until it ends.
    Kept,
    /// It is not: their key was stolen.
    Revoked,
}

impl OldIssuers {
    fn revoked(revoked: bool) -> Self {
        if revoked { Self::Revoked } else { Self::Kept }
    }
}

/// The authority once the next issuer issues, and how it gets there.
///
/// # Errors
/// `ROOT_KEY_ELSEWHERE`, `AUTHORITY_ROTATING`, `NOT_AN_ISSUER`; of what is given, what is wrong with it.
pub(crate) fn rotated(
    signer: &Signer,
    reader: &DecisionReader<'_>,
    next: &NextIssuer,
    before: OldIssuers,
    now: i64,
) -> Result<AuthorityRotation, Fault> {
    let authority = authority_in(reader)?;
    check_revocation(&authority, next, before)?;
    let mut writes = Vec::new();
    let (root, issuer) = match next {
        NextIssuer::Issuer(validity) => (None, signer.next_issuer(&authority, *validity, now)?),
        NextIssuer::Root(validities) => {
            check_room(&authority, now)?;
            let [root, issuer] = signer.next_root(&authority, *validities, now)?;
            (Some(root), issuer)
        }
        NextIssuer::Given(given) => {
            if given.root.is_some() {
                check_room(&authority, now)?;
            }
            let roots = authority.roots.iter().map(|root| CertificateDer::from(root.certificate.clone()));
            let of = (&trust_domain(&authority)?, signer.cluster());
            let (mut root, issuer) = given.checked(of, roots.collect(), reader, now)?;
            if let Some(root) = root.as_mut().filter(|root| root.across.is_empty()) {
                // Where the key of the root before is elsewhere, or lost, nobody here can.
                root.across = signer.across(&authority, &root.certificate).unwrap_or_default();
            }
            writes.push(Write::Delete { id: pending_id() });
            (root, issuer)
        }
    };
    let mut changes = Vec::new();
    if let Some(root) = &root {
        changes.push(format!("root: {} -> {}", fingerprint(&authority.roots), of(root)));
    }
    changes.push(format!("issuer: {} -> {}", fingerprint(&authority.issuers), of(&issuer)));
    let mut value = AuthorityValue {
        roots: followed(root, &authority.roots, now, ROOTS_MAX),
        issuers: followed(Some(issuer), &authority.issuers, now, ISSUERS_MAX),
        ..(*authority).clone()
    };
    if let Some(signing) = &authority.record_signing {
        value.record_signing = Some(match before {
            OldIssuers::Kept => signing_by(&value, Some(signing), signing.unsigned_counts),
            OldIssuers::Revoked => {
                let nobody = RecordSigning { keys: Vec::new(), ..signing.clone() };
                signing_by(&value, Some(&nobody), signing.unsigned_counts)
            }
        });
    }
    match before {
        // The root that they lead to may be retired.
        OldIssuers::Kept => {
            let revoked = signer.revoked(|id| reader.get(id));
            let bundle = bundle_of(&authority.roots)?;
            let issuers = bundle.issuers_of(signer.cluster());
            token_keys::vouch_anew(&*signer.issuer(&value)?, issuers, &revoked, &mut value.token_keys)?;
            // What the keys before have signed holds until it ends; nobody signs by them any more.
            let next = signer.make_token_key(&value)?;
            token_keys::follow(&mut value.token_keys, next);
        }
        // Whoever has the issuer's key has theirs.
        OldIssuers::Revoked => value.token_keys.clear(),
    }
    let revoke = |list: &mut Revocations| {
        let issuers = authority.issuers.iter().filter(|_| before == OldIssuers::Revoked);
        // What it has signed besides certificates is believed after its end too, as long as it leads to a root.
        let ends = value.roots.iter().filter_map(|root| Some(validity_of(&root.certificate).ok()?.1));
        let end = ends.max().unwrap_or(now);
        for key in issuers.filter_map(|one| key_of(&one.certificate).ok()) {
            list.revoke(RevokedSubject::Key(key), now, end + GRACE, "the issuer was replaced");
        }
    };
    writes.insert(0, put(authority_id(), &value));
    writes.extend(signed_anew(signer, &value, reader, revoke, now)?);
    if before == OldIssuers::Revoked {
        changes.push("issuers before: valid -> revoked".to_owned());
    }
    Ok(AuthorityRotation { authority: value, writes, changes })
}

/// Whoever has the issuer's key has that of a root that is sealed with the same secret, and makes issuers that nobody knows of.
fn check_revocation(authority: &AuthorityValue, next: &NextIssuer, before: OldIssuers) -> Result<(), Fault> {
    let is_new_root = match next {
        NextIssuer::Root(_) => true,
        NextIssuer::Issuer(_) => false,
        NextIssuer::Given(given) => given.root.is_some(),
    };
    let is_sealed = authority.roots.first().is_some_and(|root| !root.sealed_key.is_empty());
    if before == OldIssuers::Revoked && is_sealed && !is_new_root {
        return Err(Fault::invalid(
            "field `revokeBefore`: the key of the root is sealed with the same secret, and has to be followed by another: set `root` too",
        ));
    }
    Ok(())
}

/// The newest in front of those before that have not ended. Nothing signs by their keys any more, which are thrown away.
fn followed(
    newest: Option<SigningValue>,
    before: &[SigningValue],
    now: i64,
    max: usize,
) -> Vec<SigningValue> {
    let has_next = newest.is_some();
    let kept = before.iter().filter(|one| lives_at(one, now)).cloned().map(|mut one| {
        if has_next {
            one.sealed_key.clear();
        }
        one
    });
    newest.into_iter().chain(kept).take(max).collect()
}

/// Whether a root or an issuer has not ended.
fn lives_at(one: &SigningValue, now: i64) -> bool {
    validity_of(&one.certificate).is_ok_and(|(_, end)| end >= now)
}

/// That a root may be added.
fn check_room(authority: &AuthorityValue, now: i64) -> Result<(), Fault> {
    let living = authority.roots.iter().filter(|root| lives_at(root, now)).count();
    if living < ROOTS_MAX {
        return Ok(());
    }
    let older = authority.roots.last().map(of).unwrap_or_default();
    let message = format!("{living} roots are trusted already");
    Err(Fault::new(reasons::AUTHORITY_ROTATING, message).hint(format!("omnirelay cert ca retire {older}")))
}

/// The write by which the list of revocations is signed by the newest issuer; none when there is no list and nothing to add.
fn signed_anew(
    signer: &Signer,
    authority: &AuthorityValue,
    reader: &DecisionReader<'_>,
    change: impl Fn(&mut Revocations),
    now: i64,
) -> Result<Option<Write>, Fault> {
    let mut list = signer.revoked(|id| reader.get(id));
    change(&mut list);
    list.prune(now);
    if reader.get(&revocation_id()).is_none() && list.number() == 0 {
        return Ok(None);
    }
    Ok(Some(put(revocation_id(), &signer.signed(authority, &list, now)?)))
}

fn answer(value: &AuthorityValue) -> pb::AuthorityChange {
    pb::AuthorityChange {
        schema_version: SCHEMA_VERSION.to_owned(),
        authority: Some(shown(value)),
        bundle_pem: bundle_pem(value),
        ..Default::default()
    }
}

fn of(one: &SigningValue) -> String {
    Fingerprint::of(&one.certificate).to_string()
}

fn fingerprint(all: &[SigningValue]) -> String {
    all.first().map_or_else(|| "none".to_owned(), of)
}

fn no_root(fingerprint: &str) -> Fault {
    Fault::new(reasons::ROOT_NOT_FOUND, format!("no root with the fingerprint `{fingerprint}` is trusted"))
        .hint("omnirelay cert ca show")
}

fn in_use(why: &str) -> Fault {
    Fault::new(reasons::ROOT_IN_USE, format!("the root cannot be retired: {why}"))
        .hint("have them renewed (nodes do so by themselves), or say --force")
}
