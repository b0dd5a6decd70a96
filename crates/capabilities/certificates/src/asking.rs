//! Asking other daemons for a certificate of this node, where it cannot issue itself.

use omnirelay_core::time::{Millis, rfc3339};
use omnirelay_identity::node_identity::NodeIdentity;
use omnirelay_identity::trust::unix_now;
use omnirelay_pki::certificate::TlsNames;
use omnirelay_pki::key::PrivateKey;
use omnirelay_pki::request::CertificateRequest;
use prost::Message as _;

use super::pb;
use super::rejoin::SIGNED;
use super::remote::{self, RemoteRequest};
use crate::identity_keeper::{IdentityKeeper, KeepError, identity_of};

/// How many daemons are asked for a renewal at a time.
const ASKED_MAX: usize = 8;

impl IdentityKeeper {
    /// Has another daemon issue a certificate to a node whose own has ended.
    pub(super) async fn rejoin(&self, own: &NodeIdentity) -> Result<(), KeepError> {
        let chain = own.chain.iter().map(|one| one.to_vec()).collect();
        self.ask_others(|csr| {
            let body = pb::RejoinBody { chain, csr, at: unix_now() }.encode_to_vec();
            Ok(RemoteRequest::Rejoin(pb::RejoinRequest { signature: own.sign(SIGNED, &body)?, body }))
        })
        .await
    }

    /// Has another daemon renew it.
    pub(super) async fn renew(&self) -> Result<(), KeepError> {
        self.ask_others(|csr| Ok(RemoteRequest::Renew(omnirelay_pki::request::to_pem(&csr)))).await
    }

    /// Has another daemon issue a certificate for the key that is kept for it: that of a try whose answer was lost, if there was
    /// one. For the same key the answer is given again, and it proves who this node is should the certificate end.
    async fn ask_others(
        &self,
        ask: impl FnOnce(Vec<u8>) -> Result<RemoteRequest, KeepError>,
    ) -> Result<(), KeepError> {
        let key = self.files.pending_key()?;
        let csr = CertificateRequest::make(&key, None, &TlsNames::default()).map_err(|_| KeepError::Pair)?;
        let check = |chain: &str| self.check_begun(&key, chain);
        let chain = remote::issued(
            self.transport.as_deref(),
            &self.trust,
            &ask(csr)?,
            (self.others)(ASKED_MAX),
            check,
        )
        .await?;
        self.take_asked(&key, &chain)
    }

    fn check_begun(&self, key: &PrivateKey, chain: &str) -> Result<(), String> {
        let Ok(issued) = identity_of(key, chain) else { return Ok(()) };
        kept(self.trust.current().own.as_deref(), &issued, unix_now()).map_or(Ok(()), Err)
    }

    /// Takes over what was issued for the key that is kept for it, which stays until the identity is kept with it.
    fn take_asked(&self, key: &PrivateKey, chain: &str) -> Result<(), KeepError> {
        self.take_own(key, chain)?;
        let kept = self.files.identity()?;
        match kept.is_some_and(|kept| kept.leaf.key == key.fingerprint()) {
            true => Ok(self.files.forget_pending_key()?),
            false => Ok(()),
        }
    }
}

/// Why an identity is kept at the second `now`, and not replaced by what was issued; `None`: it is replaced. By whose clock that
/// was dated is not known, and what works is not given up for what does not yet.
fn kept(own: Option<&NodeIdentity>, issued: &NodeIdentity, now: i64) -> Option<String> {
    let is_valid = |own: &NodeIdentity| (own.leaf.not_before..=own.leaf.not_after).contains(&now);
    if is_valid(issued) || !own.is_some_and(is_valid) {
        return None;
    }
    let second = |at: i64| rfc3339(Millis::of_unix(at));
    let (begin, end) = (second(issued.leaf.not_before), second(issued.leaf.not_after));
    Some(format!(
        "it dates certificates from {begin} to {end}, which is not now by the clock of this host: one of both clocks is wrong; \
         the certificate of before stays"
    ))
}

#[cfg(test)]
mod tests {
    use omnirelay_core::spiffe::{CertificateHolder, SpiffeId};
    use omnirelay_pki::authority::{CertificateAuthority, ValidityPeriod};

    use super::*;

    #[test]
    fn what_works_is_not_given_up_for_what_does_not_yet() {
        let now = unix_now();
        let life = |from: i64, to: i64| ValidityPeriod { not_before: now + from, not_after: now + to };
        let root = CertificateAuthority::root("m".parse().unwrap(), life(-9_000, 900_000)).unwrap();
        let holder =
            CertificateHolder::Node { cluster: "default".into(), role: "worker".into(), node: "a".into() };
        let id = SpiffeId::new("m".parse().unwrap(), holder).unwrap();
        let key = PrivateKey::make().unwrap();
        let request =
            CertificateRequest::read(&CertificateRequest::make(&key, None, &TlsNames::default()).unwrap())
                .unwrap();
        let issuer = root.intermediate("default", life(-9_000, 900_000)).unwrap();
        let identity = |from, to| {
            let issued = issuer.issue(&request, &id, &TlsNames::default(), life(from, to)).unwrap();
            NodeIdentity::of(&key, vec![issued.der]).unwrap()
        };
        let (works, has_ended) = (identity(-600, 600), identity(-600, -60));
        let cases = [
            ("a sound one", Some(&works), identity(-300, 86_400), false),
            ("one that begins in 30 h", Some(&works), identity(108_000, 200_000), true),
            ("one that has ended", Some(&works), identity(-300, -1), true),
            (
                "one that begins in 30 h, where the own one has ended",
                Some(&has_ended),
                identity(108_000, 200_000),
                false,
            ),
            ("one that begins in 30 h, where there is none", None, identity(108_000, 200_000), false),
        ];
        for (name, own, issued, is_kept) in cases {
            assert_eq!(kept(own, &issued, now).is_some(), is_kept, "{name}");
        }
        assert!(works.not_begun(now).is_none() && identity(108_000, 200_000).not_begun(now).is_some());
    }
}
