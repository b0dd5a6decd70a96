//! Callers without proof at the control port: whom the settings let in by then, and what ends for those whom they do not let in any
//! more.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use http::HeaderMap;
use omnirelay_host::live::Live;
use omnirelay_wire::fault::Fault;

use super::authenticate::{
    Authenticator, EndedPrincipal, InsecureAuthenticator, LOCAL, LoopbackAuthenticator,
};
use super::caller::{PeerInfo, Principal, PrincipalRecheck, Scope};
use super::proof::{RefusingAuthenticator, UntilAuthorityAuthenticator, proof_needed};
use super::trust::{HasAuthority, MeshTrust};

/// Callers that come in at the control port without proof, as it is configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WithoutProof {
    Anyone,
    /// Callers on this host.
    Host,
    /// They, as long as the mesh has no certificate authority.
    HostUntilAuthority,
    Nobody,
}

/// Takes whom the settings let in without proof by then. Whoever came in before by what is set otherwise is ended.
pub struct ChosenAuthenticator {
    chosen: Live<WithoutProof>,
    trust: Arc<MeshTrust>,
    anyone: InsecureAuthenticator,
    host: LoopbackAuthenticator,
    until: UntilAuthorityAuthenticator,
}

impl ChosenAuthenticator {
    pub fn new(chosen: impl Into<Live<WithoutProof>>, trust: Arc<MeshTrust>) -> Self {
        Self {
            chosen: chosen.into(),
            anyone: InsecureAuthenticator::default(),
            host: LoopbackAuthenticator::default(),
            until: UntilAuthorityAuthenticator::new(Arc::clone(&trust)),
            trust,
        }
    }

    fn current(&self) -> &dyn Authenticator {
        match self.chosen.get() {
            WithoutProof::Anyone => &self.anyone,
            WithoutProof::Host => &self.host,
            WithoutProof::HostUntilAuthority => &self.until,
            WithoutProof::Nobody => &RefusingAuthenticator,
        }
    }
}

impl Authenticator for ChosenAuthenticator {
    fn authenticate(&self, peer: &PeerInfo, headers: &HeaderMap) -> Result<Principal, Fault> {
        self.current().authenticate(peer, headers)
    }

    fn provisional(&self, principal: &Principal) -> Option<PrincipalRecheck> {
        self.current().provisional(principal)
    }

    fn ends(
        &self,
        principal: &Principal,
        _needed: Option<Scope>,
    ) -> Option<BoxFuture<'static, EndedPrincipal>> {
        let (mut chosen, trust) = (self.chosen.clone(), Arc::clone(&self.trust));
        let is_local = *principal.name == *LOCAL;
        // Let in because nobody could prove anything yet; whatever is set by then, it is over with another choice.
        let before_authority =
            chosen.get() == WithoutProof::HostUntilAuthority && trust.has_authority() != HasAuthority::Yes;
        Some(Box::pin(async move {
            loop {
                let is_out = match chosen.get() {
                    WithoutProof::Anyone => false,
                    WithoutProof::Host => !is_local,
                    // What began before the mesh had an authority goes on.
                    WithoutProof::HostUntilAuthority => {
                        let is_over = trust.has_authority() == HasAuthority::Yes;
                        !is_local || (is_over && !before_authority)
                    }
                    WithoutProof::Nobody => true,
                };
                if is_out {
                    return Err(proof_needed());
                }
                chosen.replaced().await;
            }
        }))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use omnirelay_host::live::LiveSource;

    use super::*;

    #[tokio::test]
    async fn who_would_not_come_in_any_more_is_ended_and_nobody_else() {
        use WithoutProof::{Anyone, Host, HostUntilAuthority, Nobody};
        let cases = [
            // began, set by then, has an authority, from where, is ended
            (Anyone, Anyone, true, "10.0.0.7:1", false),
            (Anyone, Host, false, "10.0.0.7:1", true),
            (Anyone, Nobody, false, "127.0.0.1:1", true),
            (Host, Anyone, true, "127.0.0.1:1", false),
            (Host, HostUntilAuthority, false, "127.0.0.1:1", false),
            (Host, HostUntilAuthority, true, "127.0.0.1:1", true),
            (Host, Nobody, false, "127.0.0.1:1", true),
            (HostUntilAuthority, HostUntilAuthority, false, "127.0.0.1:1", false),
            (HostUntilAuthority, Nobody, false, "127.0.0.1:1", true),
        ];
        for (began, by_then, has_authority, remote, expected) in cases {
            let asked = move || if has_authority { HasAuthority::Yes } else { HasAuthority::No };
            let trust = Arc::new(MeshTrust::default().asking(asked));
            let source = LiveSource::new(began);
            let chosen = ChosenAuthenticator::new(source.live(|chosen| *chosen), trust);
            let peer = PeerInfo::at(remote.parse().unwrap(), None);
            let principal = chosen.authenticate(&peer, &HeaderMap::new()).unwrap();
            let mut ends = chosen.ends(&principal, None).unwrap();
            assert!((&mut ends).now_or_never().is_none(), "{began:?}");
            source.replace(by_then);
            let ended = ends.now_or_never().map(|ended| ended.unwrap_err().reason.into_owned());
            let expected = expected.then(|| "PROOF_NEEDED".to_owned());
            assert_eq!(ended, expected, "{began:?} -> {by_then:?} of {remote}");
        }
    }
}
