//! The keys that sign tokens: made with the authority, vouched for by its issuer, and taken over by every node.

use std::collections::BTreeMap;

use omnirelay_pki::authority::CertificateAuthority;
use omnirelay_pki::certificate::{key_of, validity_of};
use omnirelay_pki::jwt::keys::VerifyingKey;
use omnirelay_pki::jwt::signing::{SigningKey, SigningKeyError, verifier};
use omnirelay_pki::revocation::{Revocations, RevokedSubject};
use omnirelay_pki::sealed::SealingKey;
use omnirelay_pki::trust::{ClusterIssuers, TrustBundle};
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::store::v1::{AuthorityValue, TokenKeyValue};
use omnirelay_wire::reasons;
use prost::Message as _;
use rustls::pki_types::CertificateDer;
use tracing::{error, info, warn};

use super::signer::{not_made, not_sealed};
use crate::identity_keeper::IdentityKeeper;

/// As what a key of tokens is sealed, and as what an issuer vouches for it.
pub(crate) const TOKEN_KEY: &str = "token key";
const VOUCHED: &str = "token key 1";
/// How many keys are taken over; more were never made.
pub(crate) const KEYS_MAX: usize = 8;

/// A new key, sealed and vouched for.
///
/// # Errors
/// When it cannot be made or sealed.
pub(crate) fn make(sealing: &SealingKey, issuer: &CertificateAuthority) -> Result<TokenKeyValue, Fault> {
    let (key, kept) = SigningKey::make().map_err(unmade)?;
    let sealed_key = sealing.seal(TOKEN_KEY, &kept).map_err(|error| not_sealed(&error))?;
    let signature = issuer.sign(VOUCHED, key.public()).map_err(|error| not_made(&error))?;
    let (public_key, signer) = (key.public().to_vec(), issuer.certificate().to_vec());
    Ok(TokenKeyValue { public_key, sealed_key, signature, signer, unknown_fields: Default::default() })
}

/// Puts another key in front of those before, by which nobody signs any more.
pub(crate) fn follow(keys: &mut Vec<TokenKeyValue>, next: TokenKeyValue) {
    keys.iter_mut().for_each(|key| key.sealed_key.clear());
    keys.insert(0, next);
    keys.truncate(KEYS_MAX);
}

/// Has another issuer vouch for the keys of before that are believed. Whoever has only written one into the registry has
/// nobody vouch for it.
///
/// # Errors
/// When the operating system has no randomness.
pub(crate) fn vouch_anew(
    issuer: &CertificateAuthority,
    issuers: ClusterIssuers<'_>,
    revoked: &Revocations,
    keys: &mut Vec<TokenKeyValue>,
) -> Result<(), Fault> {
    keys.truncate(KEYS_MAX);
    keys.retain(|key| is_believed(issuers, revoked, key));
    for key in keys {
        key.signature = issuer.sign(VOUCHED, &key.public_key).map_err(|error| not_made(&error))?;
        key.signer = issuer.certificate().to_vec();
    }
    Ok(())
}

fn unmade(error: SigningKeyError) -> Fault {
    error!(%error, "key of tokens not made");
    Fault::new(reasons::INTERNAL, "the key of tokens could not be made")
}

/// Those of the keys that an issuer vouches for who is believed; whoever has only written them into the registry is not.
pub(crate) fn believed(
    issuers: ClusterIssuers<'_>,
    revoked: &Revocations,
    keys: &[TokenKeyValue],
) -> BTreeMap<String, VerifyingKey> {
    let vouched = keys.iter().take(KEYS_MAX).filter(|key| is_believed(issuers, revoked, key));
    vouched.filter_map(|key| verifier(&key.public_key)).collect()
}

fn is_believed(issuers: ClusterIssuers<'_>, revoked: &Revocations, key: &TokenKeyValue) -> bool {
    let signer = [CertificateDer::from(key.signer.as_slice())];
    let is_out = key_of(&signer[0]).map_or(true, |of| revoked.about(&RevokedSubject::Key(of)).is_some());
    // Until when the issuer was valid does not matter: the key was made while it was.
    let begun = validity_of(&signer[0]).map_or(0, |(begin, _)| begin);
    !is_out && issuers.verify_signed(VOUCHED, &key.public_key, &key.signature, &signer, begun).is_ok()
}

impl IdentityKeeper {
    /// The keys that were kept, for a node that is cut off from the store.
    pub(super) fn kept_token_keys(
        &self,
        bundle: &TrustBundle,
        revoked: &Revocations,
    ) -> BTreeMap<String, VerifyingKey> {
        let kept = self.files.token_keys();
        let kept = kept.inspect_err(|error| warn!(%error, "keys of tokens not read")).unwrap_or_default();
        let value = AuthorityValue::decode(&*kept).unwrap_or_default();
        let cluster = &self.trust.current().cluster;
        believed(bundle.issuers_of(cluster), revoked, &value.token_keys)
    }

    /// Takes over the keys of the registry.
    pub(super) fn take_token_keys(&self, authority: &AuthorityValue) {
        let trusted = self.trust.current();
        let Some(bundle) = &trusted.bundle else { return };
        let issuers = bundle.issuers_of(&trusted.cluster);
        let keys = believed(issuers, &trusted.revocations, &authority.token_keys);
        if keys.len() < authority.token_keys.len() {
            warn!(
                "a key of tokens in the registry is not one that the authority vouches for; it is passed over"
            );
        }
        // Their secrets, sealed as they are, are for the registry.
        let unsealed = |key: &TokenKeyValue| TokenKeyValue { sealed_key: Vec::new(), ..key.clone() };
        let token_keys = authority.token_keys.iter().map(unsealed).collect();
        let kept = AuthorityValue { token_keys, ..AuthorityValue::default() }.encode_to_vec();
        // The same keys may be vouched for by another issuer, which alone leads to a root that is still trusted.
        let written = self.kept.token_keys.keep(kept, |kept| self.files.keep_token_keys(kept));
        if let Err(error) = written {
            let error = &error as &dyn std::error::Error;
            error!(error, "keys of tokens not kept; a restart without the store takes no token");
        }
        if keys == trusted.token_keys {
            return;
        }
        info!(keys = keys.len(), "keys of tokens taken over");
        self.trust.update(|trusted| trusted.token_keys = keys);
    }
}
