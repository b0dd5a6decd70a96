//! Bindings that the configuration of a daemon names: entered into the registry once, and never again.
//!
//! With the binding, in the same commit, it is noted that this principal was seeded. That note outlives the binding: what
//! an operator has changed or deleted stays as it was left, whatever files say and however often daemons start. Only where
//! the registry has lost the note with the binding, as with an empty store, both are entered anew.

use std::sync::Arc;

use omnirelay_host::live::Live;
use omnirelay_identity::bound::GrantedRoles;
use omnirelay_identity::caller::Scopes;
use omnirelay_identity::host_door::HostDoor;
use omnirelay_identity::trust::{HasAuthority, MeshTrust};
use omnirelay_nouns::seed::{RecordSeed, SeedDriver};
use omnirelay_registry::Registry;
use omnirelay_registry::act::{DecisionReader, OwnChange, put};
use omnirelay_restoration_records::is_restored;
use omnirelay_store::{RecordId, RecordKind};
use omnirelay_wire::pb::omnirelay::store::v1::{BindingSeedValue, BindingValue};

use super::{BINDING, BINDINGS_MAX, binding_id};

/// Records of who was seeded; the key is the principal.
pub const BINDING_SEED: RecordKind = RecordKind::of("binding-seed");

/// Bindings that the configuration of this daemon names.
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
        self.registry.view().get(&noted(&seed.principal)).is_some()
    }

    /// Driver that enters them.
    pub fn driver(&self) -> SeedDriver<BindingSeed> {
        SeedDriver {
            registry: self.registry.clone(),
            trust: self.trust.clone(),
            is_restored,
            action: "bindings.seed",
            named: self.seeds.map(|named| named.into_iter().map(BindingSeed).collect()),
        }
    }
}

/// Seed of a binding.
pub struct BindingSeed(GrantedRoles);

impl RecordSeed for BindingSeed {
    fn record(&self) -> RecordId {
        binding_id(&self.0.principal)
    }

    fn noted(&self) -> RecordId {
        noted(&self.0.principal)
    }

    fn entry(&self, registry: &Registry, reader: &DecisionReader<'_>) -> OwnChange<bool> {
        let binding = self.record();
        let node_id = registry.node_id().to_owned();
        let note = BindingSeedValue { node_id, unknown_fields: Default::default() };
        let mut writes = vec![put(self.noted(), &note)];
        let has_room = registry.view().list(&BINDING).records.len() < BINDINGS_MAX;
        let is_new = reader.get(&binding).is_none() && has_room;
        let mut changes = vec!["seeded: false -> true".to_owned()];
        if is_new {
            let scopes = self.0.scopes.iter().map(|scope| scope.word().to_owned()).collect();
            let value = BindingValue { scopes, unknown_fields: Default::default() };
            writes.push(put(binding.clone(), &value));
            changes.push(format!("scopes: none -> {}", self.0.scopes));
        }
        OwnChange { object: binding.to_string(), writes, changes, answer: is_new }
    }
}

/// The record that notes that a principal was seeded.
fn noted(principal: &str) -> RecordId {
    RecordId::new(BINDING_SEED, principal)
}

#[cfg(test)]
#[path = "seed_test.rs"]
mod tests;
