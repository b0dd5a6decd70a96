//! The host's own door: its control socket, its token file, and whomever else its configuration lets in.
//!
//! Where records of who may do what are signed, a host that is no issuer lets in by its own door to read, and to what concerns it;
//! what its configuration names gives at most `mesh.operate`. So nobody administers a mesh for being on one of its hosts.

use std::sync::atomic::{AtomicBool, Ordering};

use super::caller::{Principal, Proof, Scope, Scopes};

/// What everybody has who comes by the door.
const DOOR: &[Scope] = &[Scope::MeshConnect, Scope::MeshRead];
/// The most that the configuration of a host that does not administer gives.
const CONFIGURED: &[Scope] = &[Scope::MeshConnect, Scope::MeshRead, Scope::MeshOperate];

/// What everybody has who comes by the host's own door, wherever that is.
pub(super) fn of_door() -> Scopes {
    DOOR.iter().copied().collect()
}

/// What the door of this host gives by now.
#[derive(Debug, Default)]
pub struct HostDoor {
    /// Whether who is on this host may do no more than what concerns it.
    is_narrow: AtomicBool,
}

impl HostDoor {
    /// Says whether this host administers the mesh: it is an issuer, or records are not signed. Returns whether that is new.
    pub fn administers(&self, administers: bool) -> bool {
        self.is_narrow.swap(!administers, Ordering::Relaxed) == administers
    }

    /// Whether who is on this host may do no more than what concerns it.
    pub fn is_narrow(&self) -> bool {
        self.is_narrow.load(Ordering::Relaxed)
    }

    /// What the configuration of this host can give of these scopes.
    pub fn configured(&self, scopes: Scopes) -> Scopes {
        if self.is_narrow() { scopes.intersection(CONFIGURED.iter().copied().collect()) } else { scopes }
    }

    /// Somebody with what they may do at this host.
    pub(super) fn limited(&self, principal: Principal) -> Principal {
        let scopes = match &principal.proof {
            Proof::Socket | Proof::TokenFile(_) | Proof::Nothing if self.is_narrow() => {
                self.configured(principal.scopes)
            }
            // Whoever needs no more than to be here.
            Proof::Socket | Proof::TokenFile(_) | Proof::Nothing => {
                principal.scopes.union(principal.own_node)
            }
            // Their issuer is one that the configuration names.
            Proof::Bearer(bearer) if bearer.issued.is_none() => self.configured(principal.scopes),
            Proof::Bearer(_) | Proof::Certificate | Proof::Federated(_) | Proof::Refused(_) => {
                principal.scopes
            }
        };
        Principal { scopes, ..principal }
    }
}
