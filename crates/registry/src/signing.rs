//! Signing: what is written of signed records carries the signature of an issuer, and an audit record says what it was.

use std::sync::Arc;

use bytes::Bytes;
use omnirelay_decisions::signed_record::{RecordName, RecordSigners, SignedParts, join, split};
use omnirelay_host::wall_clock;
use omnirelay_store::{Precondition, RecordId, Version, Write};
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::store::v1::{RecordSignature, WrittenRecord};
use ring::digest::{SHA256, digest};

use super::Registry;
use super::act::CommitPlan;
use super::view::{AuthoritySuccession, RecordSigning, ToSign};

/// What an audit record says of a signed record that is written.
fn written_record(id: &RecordId, value: &Bytes) -> WrittenRecord {
    WrittenRecord {
        record: id.to_string(),
        sha256: digest(&SHA256, value).as_ref().to_vec(),
        unknown_fields: Default::default(),
    }
}

/// Whether a record comes from another registry.
fn is_import(write: &Write) -> bool {
    matches!(write, Write::Import { .. })
}

/// Signing of writes: the signers, and the authority by which they sign.
struct WriteSigning {
    by: RecordSigning,
    signers: Arc<RecordSigners>,
    /// The value of the authority's record whose issuer signs.
    authority: Bytes,
}

impl WriteSigning {
    /// What is written of a record: with the signature that it has, if that counts still, and else with a new one.
    fn value(&self, id: &RecordId, parts: SignedParts, number: u64) -> Result<Bytes, Fault> {
        if let Some(signature) = parts.signature.as_ref().filter(|of| self.signers.has(&of.key)) {
            return Ok(join(&parts.payload, signature));
        }
        let deleted = parts.signature.is_some_and(|before| before.deleted);
        let (name, signature) = (
            RecordName { kind: &id.kind.0, key: &id.key },
            RecordSignature { number, deleted, ..Default::default() },
        );
        let signature = self.by.issuers.sign(&self.authority, name, &parts.payload, signature)?;
        Ok(join(&parts.payload, &signature))
    }
}

impl Registry {
    /// Whether this node may write what it is about to: signed records need an issuer.
    ///
    /// # Errors
    /// `NOT_AN_ISSUER`.
    pub(super) fn check_may_sign(&self, writes: &[Write]) -> Result<(), Fault> {
        match self.signing_of(writes, &mut Vec::new())? {
            Some(WriteSigning { by, authority, .. }) => by.issuers.check_may_sign(&authority),
            None => Ok(()),
        }
    }

    /// The record of the authority with its signature; empty where records are not signed.
    pub fn signed_authority(&self, id: &RecordId) -> Vec<u8> {
        let signed = self.view().as_it_counts(id).filter(|value| split(value).signature.is_some());
        signed.map(|value| value.to_vec()).unwrap_or_default()
    }

    /// Whether this node may write records of this kind: where they have to be signed, an issuer may.
    pub fn may_write(&self, id: &RecordId) -> bool {
        self.check_may_sign(&[Write::Delete { id: id.clone() }]).is_ok()
    }

    /// A plan whose writes are signed where they have to be. What was not read for it is expected as the view has it, and so is
    /// the authority: who is to sign may have changed.
    ///
    /// # Errors
    /// `NOT_AN_ISSUER` where this node cannot sign.
    pub(super) fn signed(&self, mut plan: CommitPlan) -> Result<CommitPlan, Fault> {
        let view = self.view();
        let is_signed = |write: &&mut Write| view.is_signed(write.id());
        // What is imported has the signature that it had.
        let imported =
            plan.writes.iter().filter(|write| view.is_signed(write.id())).filter_map(|write| match write {
                Write::Import { id, value, .. } => Some(written_record(id, value)),
                Write::Put { .. } | Write::Delete { .. } => None,
            });
        let mut written: Vec<WrittenRecord> = imported.collect();
        if let Some(signing) = self.signing_of(&plan.writes, &mut plan.preconditions)? {
            for write in plan.writes.iter_mut().filter(is_signed).filter(|write| !is_import(write)) {
                let id = write.id().clone();
                let version = view.version_of(view.get(&id).as_deref(), &id);
                expect(&mut plan.preconditions, &id, version);
                let parts = match write {
                    Write::Put { value, .. } => split(value),
                    Write::Delete { .. } if view.may_go(&id) => continue,
                    Write::Delete { .. } | Write::Import { .. } => note(),
                };
                let value = signing.value(&id, parts, view.next_number(&id).max(least_number()))?;
                written.push(written_record(&id, &value));
                *write = Write::Put { id, value, group: None };
            }
        }
        if let (Some((_, body)), false) = (plan.audits.first_mut(), written.is_empty()) {
            body.written = written;
        }
        Ok(plan)
    }

    /// By whom these writes are signed, and that the authority is as it was then; `None`: none of them is.
    fn signing_of(
        &self,
        writes: &[Write],
        expected: &mut Vec<Precondition>,
    ) -> Result<Option<WriteSigning>, Fault> {
        let own = writes.iter().filter(|write| !is_import(write));
        let Some(first) = own.clone().find_map(|write| self.view().to_sign(write.id())) else {
            return Ok(None);
        };
        let ToSign { by, signers, authority, authority_version } = first;
        if authority.is_some() {
            expect(expected, &by.authority, authority_version);
        }
        let next = own.clone().find_map(|write| match write {
            Write::Put { id, value, .. } if *id == by.authority => Some(split(value).payload),
            Write::Put { .. } | Write::Delete { .. } | Write::Import { .. } => None,
        });
        let (signers, authority) = match next {
            // What cannot follow would be refused by all who read it.
            Some(next) => match by.issuers.follow(authority.as_ref(), &next) {
                Ok(following) => {
                    check_signer(signers.as_deref(), &following)?;
                    (following.signers, Some(next))
                }
                Err(why) => {
                    return Err(Fault::invalid(format!("the authority: {why}")).hint(
                        "have the root before certify it: omnirelay cert ca rotate --root --offline-root DIR --root-before DIR",
                    ));
                }
            },
            None => (signers, authority),
        };
        Ok(signers.zip(authority).map(|(signers, authority)| WriteSigning { by, signers, authority }))
    }
}

/// That an authority is signed by an issuer whose signature others take: by one that counted before, or a new one.
fn check_signer(before: Option<&RecordSigners>, following: &AuthoritySuccession) -> Result<(), Fault> {
    let newest = following.signers.as_ref().and_then(|next| next.keys.first());
    let is_known = |before: &RecordSigners| newest.is_some_and(|key| before.keys.contains(key));
    match before {
        Some(before) if !is_known(before) && !following.is_by_new_issuer => Err(Fault::invalid(
            "the authority: its issuer begins before the one that it follows, or has been one before; look at the clock of whoever made it",
        )),
        Some(_) | None => Ok(()),
    }
}

/// Has a commit expect a version of a record, unless it expects one already.
fn expect(expected: &mut Vec<Precondition>, id: &RecordId, version: Version) {
    let is_it =
        |of: &Precondition| matches!(of, Precondition::Version { id: expected, .. } if expected == id);
    if !expected.iter().any(is_it) {
        expected.push(Precondition::Version { id: id.clone(), version });
    }
}

/// What a deletion is before it is signed.
fn note() -> SignedParts {
    SignedParts {
        payload: Bytes::new(),
        signature: Some(RecordSignature { deleted: true, ..Default::default() }),
    }
}

/// The least number of a signature: what an issuer changes that was away has a greater one than what others have signed
/// meanwhile, as far as its clock is right.
fn least_number() -> u64 {
    u64::try_from(wall_clock::unix().as_millis()).unwrap_or(0)
}
