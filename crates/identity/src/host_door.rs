//! The host's own door: its control socket, its token file, and whomever else its configuration lets in.
//!
//! Where records of who may do what are signed, a host that is no issuer lets in by its own door to read, and to what concerns it;
//! what its configuration names gives at most `mesh.operate`. So nobody administers a mesh for being on one of its hosts.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use omnirelay_wire::fault::Fault;
use omnirelay_wire::reasons;

use super::caller::{CallerProof, Principal, PrincipalRecheck, Scope, Scopes};

/// What everybody has who comes by the door.
const DOOR: &[Scope] = &[Scope::MeshRead];
/// The most that the configuration of a host that does not administer gives.
const CONFIGURED: &[Scope] = &[Scope::MeshConnect, Scope::MeshRead, Scope::MeshOperate];

/// Scopes of everybody who comes by the host's own door, wherever that is.
pub(super) fn of_door() -> Scopes {
    DOOR.iter().copied().collect()
}

fn of_configuration() -> Scopes {
    CONFIGURED.iter().copied().collect()
}

/// The most that a narrow door gives somebody; `None`: they have not come by the door.
fn narrowed(principal: &Principal) -> Option<Scopes> {
    match &principal.proof {
        CallerProof::Socket => Some(of_door()),
        CallerProof::TokenFile(_) | CallerProof::Nothing | CallerProof::CertificateOfHost => {
            Some(of_configuration())
        }
        // Their issuer is one that the configuration names.
        CallerProof::Bearer(bearer) if bearer.issued.is_none() => Some(of_configuration()),
        CallerProof::Bearer(_)
        | CallerProof::Certificate
        | CallerProof::Federated(_)
        | CallerProof::Sibling(_)
        | CallerProof::Refused(_) => None,
    }
}

/// Door of this host: what it gives by now to those who are on the host.
pub struct HostDoor {
    /// Whether who is on this host may do no more than what concerns it.
    is_narrow: AtomicBool,
    /// Says whether this host administers the mesh, as far as the registry was read.
    asked: Box<dyn Fn() -> bool + Send + Sync>,
}

#[cfg(any(test, feature = "testing"))]
impl Default for HostDoor {
    /// Of a host that administers.
    fn default() -> Self {
        Self::new(|| true)
    }
}

impl fmt::Debug for HostDoor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostDoor").field("is_narrow", &self.is_narrow).finish_non_exhaustive()
    }
}

impl HostDoor {
    /// Wide until [`Self::look`] is called. `administers`, which says whether this host administers the mesh, is asked before anything is
    /// committed too.
    pub fn new(administers: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self { is_narrow: AtomicBool::new(false), asked: Box::new(administers) }
    }

    /// Looks whether this host administers the mesh. Returns whether that is new.
    pub fn look(&self) -> bool {
        self.administers((self.asked)())
    }

    /// Says whether this host administers the mesh: it is an issuer, or records are not signed. Returns whether that is new.
    pub fn administers(&self, administers: bool) -> bool {
        self.is_narrow.swap(!administers, Ordering::Relaxed) == administers
    }

    /// Whether who is on this host may do no more than what concerns it.
    pub fn is_narrow(&self) -> bool {
        self.is_narrow.load(Ordering::Relaxed)
    }

    /// Scopes that the configuration of this host can give, of these.
    pub fn configured(&self, scopes: Scopes) -> Scopes {
        if self.is_narrow() { scopes.intersection(of_configuration()) } else { scopes }
    }

    /// Somebody with what they may do at this host.
    pub(super) fn limited(&self, principal: Principal) -> Principal {
        let scopes = match narrowed(&principal) {
            Some(narrow) if self.is_narrow() => principal.scopes.intersection(narrow),
            // Whoever needs no more than to be here.
            Some(_) => principal.scopes.union(principal.own_node),
            None => principal.scopes,
        };
        Principal { scopes, ..principal }
    }

    /// Recheck, before anything is committed, of somebody who may do more here than a narrow door gives: until the
    /// registry was read, nobody knows whether it is one. `None`: they may not.
    pub(super) fn provisional(self: &Arc<Self>, principal: &Principal) -> Option<PrincipalRecheck> {
        let narrow = narrowed(principal)?;
        let (door, name) = (Arc::clone(self), Arc::clone(&principal.name));
        let is_more = principal.scopes != principal.scopes.intersection(narrow);
        let holds = move || match (door.asked)() {
            true => Ok(()),
            false => Err(Fault::new(
                reasons::MISSING_SCOPE,
                format!("this host is no issuer, and so {name} does not administer the mesh"),
            )
            .hint("call an issuer on its own host, or show the certificate of an operator")),
        };
        is_more.then(|| PrincipalRecheck::new(holds))
    }
}
