//! Trust between clusters of one trust domain: how each vouches, as its issuer has signed it, and what others take of that.

use std::collections::BTreeMap;
use std::sync::Arc;

use omnirelay_certificate_records::revoked::sound_list;
use omnirelay_certificate_records::{current_authority, revocation_id};
use omnirelay_identity::trust::{HeardTrust, SiblingTrust, unix_now};
use omnirelay_nouns::envelope;
use omnirelay_nouns::serve;
use omnirelay_pki::certificate::key_of;
use omnirelay_pki::revocation::{Revocations, RevokedSubject};
use omnirelay_pki::trust::{ClusterIssuers, TrustBundle};
use omnirelay_wire::envelope::EnvelopedAnswer as _;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::store::v1::{ClusterTrustValue, RevocationValue, TokenKeyValue};
use prost::Message as _;
use ring::digest::{Context, SHA256, SHA256_OUTPUT_LEN};
use tonic::Response;

use super::{Certificates, no_authority, pb, token_keys};
use pb::cluster_trust_service_server::ClusterTrustService;

/// The largest list of revocations that is taken of another cluster, in bytes: some thousands of them.
pub(crate) const LIST_BYTES_MAX: usize = 512 * 1024;

/// The largest key of tokens that is taken, its signature and its signer included, in bytes.
const KEY_BYTES_MAX: usize = 8 * 1024;

/// Serves `ClusterTrustService`.
pub(crate) struct ClusterTrustCalls(pub Arc<Certificates>);

serve! {
    ClusterTrustService for ClusterTrustCalls {
        get_trust(GetClusterTrustRequest) -> GetClusterTrustResponse: |of, _, asked| of.0.tell_trust(asked);
    }
}

impl Certificates {
    /// Tells how this cluster vouches.
    async fn tell_trust(
        &self,
        asked: pb::GetClusterTrustRequest,
    ) -> Result<Response<pb::GetClusterTrustResponse>, Fault> {
        if ![0, SHA256_OUTPUT_LEN].contains(&asked.known.len()) {
            return Err(Fault::invalid(format!("field `known` has {SHA256_OUTPUT_LEN} bytes, or none")));
        }
        self.registry.ready_for("").await?;
        let told = self.own_trust()?;
        let digest = digest_of(&told);
        let unchanged = asked.known == digest;
        let answer = pb::GetClusterTrustResponse {
            cluster_id: self.cluster.clone(),
            digest: digest.to_vec(),
            unchanged,
            ..Default::default()
        };
        let answer = match unchanged {
            true => answer,
            false => pb::GetClusterTrustResponse {
                revocations: told.revocations.unwrap_or_default().encode_to_vec(),
                token_keys: told.token_keys.into_iter().map(vouched).collect(),
                ..answer
            },
        };
        Ok(Response::new(answer.within(envelope(&self.registry))))
    }

    fn own_trust(&self) -> Result<ClusterTrustValue, Fault> {
        let view = self.registry.view();
        let authority = current_authority(view).ok_or_else(no_authority)?;
        let list = view.get(&revocation_id()).and_then(|found| found.value::<RevocationValue>());
        let revocations = match list {
            Some(list) => (*list).clone(),
            // That nothing is revoked is signed as well: nobody but an issuer says so.
            None => self.signer.signed(&authority, &Revocations::default(), unix_now())?,
        };
        let token_keys = authority.token_keys.iter().take(token_keys::KEYS_MAX).map(unsealed).collect();
        Ok(ClusterTrustValue { revocations: Some(revocations), token_keys, ..Default::default() })
    }
}

fn unsealed(key: &TokenKeyValue) -> TokenKeyValue {
    TokenKeyValue { sealed_key: Vec::new(), ..key.clone() }
}

fn vouched(key: TokenKeyValue) -> pb::VouchedTokenKey {
    pb::VouchedTokenKey { public_key: key.public_key, signature: key.signature, signer: key.signer }
}

/// Trust that a cluster has answered, as it is kept.
///
/// # Errors
/// Why it is nothing that a cluster tells, in words.
pub(crate) fn of_answer(answer: pb::GetClusterTrustResponse) -> Result<ClusterTrustValue, String> {
    if answer.revocations.len() > LIST_BYTES_MAX {
        let bytes = answer.revocations.len();
        return Err(format!(
            "its list of revocations has {bytes} bytes, and {LIST_BYTES_MAX} are the most that are taken"
        ));
    }
    let revocations = RevocationValue::decode(&*answer.revocations)
        .map_err(|_| "its list of revocations cannot be read".to_owned())?;
    let is_large = |key: &pb::VouchedTokenKey| {
        key.public_key.len() + key.signature.len() + key.signer.len() > KEY_BYTES_MAX
    };
    if answer.token_keys.iter().any(is_large) {
        return Err(format!("a key of its tokens has more than {KEY_BYTES_MAX} bytes"));
    }
    let keys = answer.token_keys.into_iter().take(token_keys::KEYS_MAX).map(|key| TokenKeyValue {
        public_key: key.public_key,
        signature: key.signature,
        signer: key.signer,
        ..Default::default()
    });
    let token_keys = keys.collect();
    Ok(ClusterTrustValue { revocations: Some(revocations), token_keys, ..Default::default() })
}

/// Digest of what a cluster tells: the same for as long as that says the same, whoever has signed it when.
pub(crate) fn digest_of(told: &ClusterTrustValue) -> [u8; SHA256_OUTPUT_LEN] {
    let mut digest = Context::new(&SHA256);
    let mut part = |bytes: &[u8]| {
        digest.update(&(bytes.len() as u64).to_be_bytes());
        digest.update(bytes);
    };
    let list = told.revocations.clone().unwrap_or_default();
    part(&list.body);
    part(&list.signer);
    for key in &told.token_keys {
        part(&key.public_key);
        part(&key.signer);
    }
    let mut bytes = [0; SHA256_OUTPUT_LEN];
    bytes.copy_from_slice(digest.finish().as_ref());
    bytes
}

/// Trust in a cluster by what it tells, if one of its issuers has signed that which is not revoked here. A key of tokens that
/// none vouches for is left out, and one whose signer is revoked here.
pub(crate) fn judged(
    issuers: ClusterIssuers<'_>,
    enforced: &Revocations,
    told: &ClusterTrustValue,
) -> Option<HeardTrust> {
    let revocations = sound_list(issuers, Some(told.revocations.as_ref()?), enforced)?;
    let is_out = |key: &&TokenKeyValue| {
        key_of(&key.signer).map_or(true, |of| enforced.about(&RevokedSubject::Key(of)).is_some())
    };
    let keys: Vec<TokenKeyValue> = told.token_keys.iter().filter(|key| !is_out(key)).cloned().collect();
    let token_keys = token_keys::believed(issuers, &revocations, &keys);
    Some(HeardTrust { revocations, token_keys })
}

/// Trust in the clusters that are known, by the records of a registry, each by its own issuers; a list that is older than the one
/// which this node has enforced does not count.
pub(crate) fn all_judged(
    bundle: &TrustBundle,
    enforced: &Revocations,
    told: &[(String, Option<Arc<ClusterTrustValue>>)],
    before: &BTreeMap<String, SiblingTrust>,
) -> BTreeMap<String, SiblingTrust> {
    let each = told.iter().map(|(cluster, told)| {
        let mut heard = told.as_ref().and_then(|told| judged(bundle.issuers_of(cluster), enforced, told));
        let before = before.get(cluster).and_then(|known| known.heard.as_ref());
        if let (Some(heard), Some(before)) = (&mut heard, before)
            && heard.revocations.number() < before.revocations.number()
        {
            heard.revocations.clone_from(&before.revocations);
        }
        (cluster.clone(), SiblingTrust { heard })
    });
    each.collect()
}
