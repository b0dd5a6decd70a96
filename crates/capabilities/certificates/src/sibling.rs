//! Issuers of other clusters of the trust domain: a root of this mesh certifies them.

use std::collections::BTreeSet;

use omnirelay_certificate_records::cluster_trust::{CLUSTER_TRUST, trust_id};
use omnirelay_certificate_records::{ONLY, authority_id};
use omnirelay_core::names::check_node_name;
use omnirelay_core::text::{chain, shown};
use omnirelay_identity::caller::Caller;
use omnirelay_identity::trust::unix_now;
use omnirelay_nouns::SCHEMA_VERSION;
use omnirelay_nouns::request::MutationRequest;
use omnirelay_pki::certificate::{key_of, to_pem, validity_of};
use omnirelay_pki::issuer_cluster::{IssuerCluster, named_cluster};
use omnirelay_pki::key::Fingerprint;
use omnirelay_pki::request::CertificateRequest;
use omnirelay_pki::revocation::{Revocations, RevokedSubject};
use omnirelay_registry::act::{DecisionReader, put};
use omnirelay_registry::mutate::{MutationDecision, request_hash};
use omnirelay_registry::view::View;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::store::v1::{AuthorityValue, ClusterTrustValue, SigningValue};
use omnirelay_wire::reasons;
use omnirelay_wire::rpc::certificate_service::CERTIFY_SIBLING;
use rustls::pki_types::CertificateDer;

use super::authority::{bundle_of, lives};
use super::{Certificates, authority_in, pb};

/// How much of a wrong name an error shows, in characters.
const NAME_CHARS_SHOWN: usize = 64;
/// How many issuers of other clusters are remembered: each has some 600 bytes of the authority's record.
pub(super) const SIBLING_ISSUERS_MAX: usize = 32;

impl Certificates {
    /// Has the newest root certify the issuer of another cluster.
    pub(super) async fn certify_one(
        &self,
        caller: &Caller,
        asked: pb::CertifySiblingRequest,
    ) -> Result<pb::SiblingIssuer, Fault> {
        let (hash, now) = (request_hash(&asked), unix_now());
        let pb::CertifySiblingRequest { cluster, csr_pem, issuer_days, reason, dry_run } = asked;
        check_node_name(&cluster).map_err(|error| Fault::invalid(format!("field `cluster`: {error}")))?;
        if cluster == self.cluster {
            return Err(Fault::invalid(format!(
                "field `cluster`: `{cluster}` is the cluster of this daemon, and another cluster needs a name of its own"
            ))
            .hint("set node.cluster of the other cluster's daemons to another name before it has an authority"));
        }
        let request = CertificateRequest::from_pem(&csr_pem)
            .map_err(|error| Fault::invalid(format!("field `csrPem`: {}", chain(&error))))?;
        if !request.is_for_signatures() {
            return Err(Fault::invalid("field `csrPem`: the key of an issuer is one of the curve P-256")
                .hint("send what omnirelay cert ca prepare --out FILE has written"));
        }
        let [_, validity] = lives(0, issuer_days, now)?;
        let (rpc, id) = (CERTIFY_SIBLING, ONLY.to_owned());
        let asked = MutationRequest { caller, rpc, id, reason, expected_version: None, dry_run, hash };
        asked
            .of_records(&self.registry, authority_id(), &[], |reader| {
                let authority = authority_in(reader)?;
                let certificate = self.signer.certify_sibling(&authority, &request, (&cluster, validity))?;
                let before = newest_of(&authority, &cluster);
                let before = before.map_or_else(|| "none".to_owned(), |one| Fingerprint::of(one).to_string());
                let mut value = (*authority).clone();
                remember(&mut value.sibling_issuers, &certificate, now);
                let changes =
                    vec![format!("issuer of {cluster}: {before} -> {}", Fingerprint::of(&certificate))];
                let root = authority.roots.first().cloned().unwrap_or_default();
                let across = Some(&root.across).filter(|across| !across.is_empty());
                let answer = pb::SiblingIssuer {
                    schema_version: SCHEMA_VERSION.to_owned(),
                    issuer_pem: if dry_run { String::new() } else { to_pem(&certificate) },
                    root_pem: to_pem(&root.certificate),
                    across_pem: across.map(|across| to_pem(across)).unwrap_or_default(),
                    ..Default::default()
                };
                Ok(MutationDecision { writes: vec![put(authority_id(), &value)], changes, answer })
            })
            .await
    }
}

/// The issuer that was certified last for a cluster, and lives perhaps.
fn newest_of<'a>(authority: &'a AuthorityValue, cluster: &str) -> Option<&'a [u8]> {
    let mut all = authority.sibling_issuers.iter().map(|one| one.certificate.as_slice());
    all.find(|der| named_cluster(&CertificateDer::from(*der)).name() == Some(cluster))
}

/// The keys of the issuers of another cluster: those that a root was had to certify here, and those that have signed what was
/// heard of it.
///
/// # Errors
/// `CLUSTER_NOT_FOUND`, when none is known.
pub(super) fn issuers_of(reader: &DecisionReader<'_>, cluster: &str) -> Result<BTreeSet<Fingerprint>, Fault> {
    let authority = authority_in(reader)?;
    let heard = reader.get(&trust_id(cluster)).and_then(|found| found.value::<ClusterTrustValue>());
    let heard = heard.as_deref().cloned().unwrap_or_default();
    let signers = heard.token_keys.into_iter().map(|key| key.signer);
    let signers = signers.chain(heard.revocations.map(|list| list.signer));
    let certified = authority.sibling_issuers.iter().map(|one| one.certificate.clone());
    let is_named = |der: &CertificateDer<'_>| named_cluster(der).name() == Some(cluster);
    let all = certified.chain(signers).map(CertificateDer::from).filter(is_named);
    let keys: BTreeSet<Fingerprint> = all.filter_map(|der| key_of(&der).ok()).collect();
    if keys.is_empty() {
        let cluster = shown(cluster, NAME_CHARS_SHOWN);
        return Err(Fault::new(
            reasons::CLUSTER_NOT_FOUND,
            format!("no issuer of a cluster `{cluster}` is known here"),
        )
        .hint("omnirelay cert ca show; omnirelay mesh clusters list"));
    }
    Ok(keys)
}

/// Puts an issuer in front of those that live.
fn remember(known: &mut Vec<SigningValue>, certificate: &[u8], now: i64) {
    known.retain(|one| validity_of(&one.certificate).is_ok_and(|(_, end)| end >= now));
    known.insert(0, SigningValue { certificate: certificate.to_vec(), since: now, ..Default::default() });
    known.truncate(SIBLING_ISSUERS_MAX);
}

/// Checks that the newest issuer that was certified for each other cluster leads to one of the roots of `authority`, and the one
/// that has signed what was heard of it last.
///
/// # Errors
/// `ROOT_IN_USE`, with those that do not.
pub(super) fn check_nobody_needs_more(
    view: &View,
    authority: &AuthorityValue,
    revoked: &Revocations,
    now: i64,
) -> Result<(), Fault> {
    let bundle = bundle_of(&authority.roots)?;
    let (mut newest, mut left) = (BTreeSet::new(), BTreeSet::new());
    let mut look = |der: &[u8], is_newest: bool| {
        let certificate = [CertificateDer::from(der)];
        let IssuerCluster::Named(cluster) = named_cluster(&certificate[0]) else { return };
        let is_out =
            key_of(&certificate[0]).is_ok_and(|key| revoked.about(&RevokedSubject::Key(key)).is_some());
        let lives = !is_out && validity_of(&certificate[0]).is_ok_and(|(_, end)| end >= now);
        let counts = !is_newest || newest.insert(cluster.clone());
        if counts && lives && bundle.issuers_of(&cluster).verify(&certificate, now).is_err() {
            left.insert(cluster);
        }
    };
    authority.sibling_issuers.iter().for_each(|one| look(&one.certificate, true));
    for record in view.list(&CLUSTER_TRUST).records.iter() {
        let heard = record.value::<ClusterTrustValue>().unwrap_or_default();
        heard.revocations.iter().for_each(|list| look(&list.signer, false));
    }
    if left.is_empty() {
        return Ok(());
    }
    let message = format!(
        "the root cannot be retired: the issuers of other clusters lead to it alone, those of {}",
        left.into_iter().collect::<Vec<_>>().join(", ")
    );
    Err(Fault::new(reasons::ROOT_IN_USE, message)
        .hint("have each certified by the newest root: omnirelay cert ca rotate --sibling-of CONTEXT, or say --force"))
}
