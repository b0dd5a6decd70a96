//! Joining again: a node whose certificate has ended proves by its key who it was, for a while.

use omnirelay_certificate_records::GRACE;
use omnirelay_certificate_records::REVOCATION;
use omnirelay_certificate_records::{certificate_of, record_of};
use omnirelay_core::spiffe::CertificateHolder;
use omnirelay_identity::caller::Caller;
use omnirelay_identity::trust::unix_now;
use omnirelay_pki::certificate::Certificate;
use omnirelay_pki::public_key::PublicKey;
use omnirelay_pki::request::CertificateRequest;
use omnirelay_pki::revocation::Revocations;
use omnirelay_pki::trust::ChainUsage;
use omnirelay_registry::mutate::ChangeForm;
use omnirelay_registry::mutate::{Mutation, request_hash};
use omnirelay_store::RecordKind;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::store::v1::CertificateValue;
use omnirelay_wire::reasons;
use omnirelay_wire::rpc::enrollment_service::REJOIN;
use prost::Message as _;
use rustls::pki_types::CertificateDer;

use super::gate::RateKey;
use super::issue::{LeafOrder, OtherKeysAction, issue, renewed_lifetime};
use super::{Certificates, held_in, pb};

/// How far from now a request may have been signed, in seconds: clocks differ.
const SIGNED_WITHIN: u64 = 600;
/// As what a request is signed by the key of before.
pub(crate) const SIGNED: &str = "rejoin 1";
/// The longest chain that is looked at.
const CHAIN_MAX: usize = 4;

/// Request of a node that rejoins, with the certificate by which it is proven.
struct ParsedRejoinRequest {
    before: Certificate,
    request: CertificateRequest,
}

impl Certificates {
    /// Issues a node another certificate, on the strength of one that has ended.
    pub(super) async fn rejoin_one(
        &self,
        caller: &Caller,
        asked: pb::RejoinRequest,
    ) -> Result<pb::IssuedCertificate, Fault> {
        self.gate.pass(caller.remote.ip())?;
        self.registry.ready_for("").await?;
        let (now, request_hash) = (unix_now(), request_hash(&asked));
        let of = self.proven(&asked, now)?;
        let ParsedRejoinRequest { before, request } = &of;
        let holder = before.id.holder().clone();
        let caller = caller.proven_by_request(format!("node:{}", holder.name()));
        const ALSO: &[RecordKind] = &[REVOCATION];
        let record = record_of(&holder);
        let mutation = Mutation {
            caller: &caller,
            action: REJOIN.audit_action,
            object: record.clone(),
            also: ALSO,
            reason: "",
            expected: None,
            dry_run: false,
            request_hash,
        };
        let issued = self.registry.mutate::<ChangeForm<_>>(mutation, |reader| {
            let revoked = self.signer.revoked(|id| reader.get(id));
            check_newest(held_in(reader, &record).as_deref(), &revoked, &of)?;
            let order = LeafOrder {
                holder: holder.clone(),
                request,
                names: before.names.clone(),
                lifetime: renewed_lifetime(before),
                others: OtherKeysAction::Keep,
                by: &caller.principal,
                now: unix_now(),
                from: Some(before),
            };
            issue(&self.signer, reader, &order)
        });
        self.issuing.pass(&record.key, RateKey::of_renewed(before, now), issued).await
    }

    /// Who asks, if the request is signed by the key of a certificate that the authority has issued, and has not ended too
    /// long ago. Nobody else learns why not.
    fn proven(&self, asked: &pb::RejoinRequest, now: i64) -> Result<ParsedRejoinRequest, Fault> {
        let body = pb::RejoinBody::decode(&*asked.body).map_err(|_| refused())?;
        if body.chain.len() > CHAIN_MAX {
            return Err(refused());
        }
        let chain: Vec<CertificateDer<'_>> =
            body.chain.iter().map(|der| CertificateDer::from(der.as_slice())).collect();
        let leaf = chain.first().ok_or_else(refused)?;
        let before = Certificate::read(leaf).map_err(|_| refused())?;
        let signed = omnirelay_pki::public_key::signed_as(SIGNED, &asked.body);
        let key = PublicKey::of_certificate(leaf).map_err(|_| refused())?;
        if !key.has_signed(&signed, &asked.signature) {
            return Err(refused());
        }
        // It is judged as it was when it ended.
        let at = before.not_after.min(now);
        let judged = self.trust.current().judge(&chain, at, ChainUsage::Client).map_err(|_| refused())?;
        if !matches!(judged.id.holder(), CertificateHolder::Node { .. })
            || body.at.abs_diff(now) > SIGNED_WITHIN
        {
            return Err(refused());
        }
        if before.not_after.saturating_add(GRACE) < now {
            return Err(Fault::new(reasons::JOIN_DENIED, "the certificate of the node ended too long ago")
                .hint(
                    "have an administrator make a token for it: omnirelay token create --node ID --replace",
                ));
        }
        let request = CertificateRequest::read(&body.csr)
            .map_err(|error| Fault::invalid(format!("field `csr` of the body: {error}")))?;
        Ok(ParsedRejoinRequest { before, request })
    }
}

/// That the certificate is the last that its holder got, and not out; or the answer to this request was lost.
fn check_newest(
    held: Option<&CertificateValue>,
    revoked: &Revocations,
    ParsedRejoinRequest { before, request }: &ParsedRejoinRequest,
) -> Result<(), Fault> {
    let newest = held.and_then(|held| held.issued.first()).and_then(certificate_of);
    let is_it = |known: &Certificate| known.serial == before.serial && known.key == before.key;
    let is_known = newest.is_some_and(|newest| is_it(&newest) || newest.key == request.key);
    if !is_known || revoked.of(before).is_some() {
        return Err(refused());
    }
    Ok(())
}

fn refused() -> Fault {
    Fault::new(reasons::JOIN_REFUSED, "what was sent does not prove a node of this mesh")
        .hint("have an administrator make a token for it: omnirelay token create --node ID --replace")
}
