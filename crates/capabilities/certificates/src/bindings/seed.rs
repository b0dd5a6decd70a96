//! Bindings that the configuration of a daemon names: entered into the registry once, and never again.
//!
//! With the binding, in the same commit, it is noted that this principal was seeded. That note outlives the binding: what
//! an operator has changed or deleted stays as it was left, whatever files say and however often daemons start. Only where
//! the registry has lost the note with the binding, as with an empty store, both are entered anew.

use std::sync::Arc;
use std::time::Duration;

use omnirelay_host::live::Live;
use omnirelay_identity::bound::GrantedRoles;
use omnirelay_identity::caller::Scopes;
use omnirelay_identity::host_door::HostDoor;
use omnirelay_identity::trust::{HasAuthority, MeshTrust};
use omnirelay_registry::Registry;
use omnirelay_registry::act::{OwnChange, put};
use omnirelay_restoration_records::is_over;
use omnirelay_store::{CommitError, RecordId, RecordKind};
use omnirelay_wire::pb::omnirelay::store::v1::{BindingSeedValue, BindingValue};
use tokio::time::Instant;
use tracing::{info, warn};

use super::{BINDING, BINDINGS_MAX, binding_id};

/// Records of who was seeded; the key is the principal.
pub const BINDING_SEED: RecordKind = RecordKind::of("binding-seed");

/// How long after a failure it is tried again.
const AGAIN: Duration = Duration::from_secs(15);

/// Enters what the configuration names, as soon as the mesh has an authority.
pub struct ConfiguredSeeds {
    pub registry: Arc<Registry>,
    pub trust: Arc<MeshTrust>,
    pub door: Arc<HostDoor>,
    pub seeds: Live<Vec<GrantedRoles>>,
}

impl ConfiguredSeeds {
    /// Scopes that the configuration of this daemon gives to a principal at this node alone: as long as it is certain
    /// that the mesh has no authority, and where this node may not enter it, at most `mesh.operate`. Else the registry
    /// says what holds.
    pub fn granted(&self, principal: &str) -> Scopes {
        let has_authority = self.trust.has_authority();
        let is_judge = match has_authority {
            HasAuthority::No => true,
            HasAuthority::Yes => self.door.is_narrow(),
            HasAuthority::Unknown => false,
        };
        if !is_judge {
            return Scopes::NONE;
        }
        match self.seeds.get().iter().find(|seed| seed.principal == principal) {
            Some(seed) if has_authority == HasAuthority::No => seed.scopes,
            Some(seed) if !self.is_entered(seed) => self.door.configured(seed.scopes),
            Some(_) | None => Scopes::NONE,
        }
    }

    /// Whether an issuer, which has the same in its configuration, has entered it.
    fn is_entered(&self, seed: &GrantedRoles) -> bool {
        self.registry.view().get(&RecordId::new(BINDING_SEED, &*seed.principal)).is_some()
    }

    /// Does so for ever: a store may begin anew, and the configuration name others.
    pub async fn run(self: Arc<Self>) {
        let (trust, mut seeds) = (self.trust.clone(), self.seeds.clone());
        let sense = |view: &omnirelay_registry::view::View| (view.head().epoch, trust.has_authority());
        loop {
            tokio::select! {
                () = self.registry.react(sense, || self.look()) => {}
                () = seeds.replaced() => {}
            }
        }
    }

    async fn look(&self) -> Option<Instant> {
        if self.trust.has_authority() != HasAuthority::Yes {
            return None;
        }
        // What the registry has lost is put back first, by whoever knows it.
        let view = self.registry.view();
        if !is_over(view, view.head().epoch) {
            return Some(Instant::now() + AGAIN);
        }
        let mut again = None;
        // Where records are signed, what this file names is for issuers to enter.
        let seeds = self.seeds.get();
        let mine = seeds.iter().filter(|seed| self.registry.may_write(&binding_id(&seed.principal)));
        for seed in mine {
            match self.enter(seed).await {
                Ok(true) => {
                    info!(principal = seed.principal, scopes = %seed.scopes, "binding of the configuration entered");
                }
                Ok(false) => {}
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    warn!(
                        principal = seed.principal,
                        error, "binding of the configuration not entered; it is tried again"
                    );
                    again = Some(Instant::now() + AGAIN);
                }
            }
        }
        again
    }

    /// Enters one, unless that was done before; whether its binding is new.
    async fn enter(&self, seed: &GrantedRoles) -> Result<bool, CommitError> {
        let (noted, binding) = (RecordId::new(BINDING_SEED, &*seed.principal), binding_id(&seed.principal));
        let kinds = [BINDING, BINDING_SEED];
        let done = self.registry.change_own("bindings.seed", kinds, |reader| {
            if reader.get(&noted).is_some() {
                return Ok(None);
            }
            let node_id = self.registry.node_id().to_owned();
            let note = BindingSeedValue { node_id, unknown_fields: Default::default() };
            let mut writes = vec![put(noted.clone(), &note)];
            let has_room = self.registry.view().list(&BINDING).records.len() < BINDINGS_MAX;
            let is_new = reader.get(&binding).is_none() && has_room;
            let mut changes = vec!["seeded: false -> true".to_owned()];
            if is_new {
                let scopes = seed.scopes.iter().map(|scope| scope.word().to_owned()).collect();
                let value = BindingValue { scopes, unknown_fields: Default::default() };
                writes.push(put(binding.clone(), &value));
                changes.push(format!("scopes: none -> {}", seed.scopes));
            }
            Ok(Some(OwnChange { object: binding.to_string(), writes, changes, answer: is_new }))
        });
        done.await.map(|is_new| is_new.unwrap_or(false))
    }
}

#[cfg(test)]
#[path = "seed_test.rs"]
mod tests;
