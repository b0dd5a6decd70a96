//! Proof on the relay's port: who calls that has shown no certificate.

use http::HeaderMap;
use omnirelay_host::live::Live;
use omnirelay_identity::authenticate::{Authenticator, HostAuthenticator};
use omnirelay_identity::caller::{PeerInfo, Principal};
use omnirelay_identity::proof::RefusingAuthenticator;
use omnirelay_wire::fault::Fault;

/// Takes nobody where a certificate is demanded, and else callers of this host as far as they are trusted.
pub(crate) struct PortAuthenticator {
    admits: Live<UnprovenCallers>,
}

/// Callers without a certificate who are let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UnprovenCallers {
    Nobody,
    /// All, those of this host with what whoever is on it may do.
    HostAsItself,
    /// All, and being on this host proves nothing.
    All,
}

impl PortAuthenticator {
    pub(crate) fn new(admits: Live<UnprovenCallers>) -> Self {
        Self { admits }
    }
}

impl Authenticator for PortAuthenticator {
    fn authenticate(&self, peer: &PeerInfo, headers: &HeaderMap) -> Result<Principal, Fault> {
        let trusts_host = match self.admits.get() {
            UnprovenCallers::Nobody => return RefusingAuthenticator.authenticate(peer, headers),
            UnprovenCallers::HostAsItself => true,
            UnprovenCallers::All => false,
        };
        HostAuthenticator::new(move || trusts_host).authenticate(peer, headers)
    }
}
