//! Records of leadership, as every capability reads them: the scopes, and which node leads each.

pub mod scope_state;

use std::collections::BTreeMap;

use omnirelay_registry::view::View;
use omnirelay_store::{LeaseFence, RecordId, RecordKind};
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;

use scope_state::{ScopeState, ScopeStates};

/// Records of scopes; the key is the scope.
pub const LEADERSHIP: RecordKind = RecordKind::of("leadership");

/// How the scopes of shards begin.
const OF_SHARD: &str = "shard/";

/// The fences of the scopes that this node leads.
pub trait ScopeFences: Send + Sync {
    /// By what a commit holds only while this node leads `scope`; `None`: it does not.
    fn fence(&self, scope: &str) -> Option<LeaseFence>;
}

/// The record of a scope.
pub fn leadership_id(scope: &str) -> RecordId {
    RecordId::new(LEADERSHIP, scope)
}

/// Leaders of the scopes of shards, by `<namespace>/<shard>`.
pub fn of_shards(view: &View) -> BTreeMap<String, String> {
    let records = view.list(&LEADERSHIP).records;
    let scopes = records.iter().filter_map(|record| record.record.id.key.strip_prefix(OF_SHARD));
    scopes.filter_map(|shard| Some((shard.to_owned(), of_shard(view, shard)?))).collect()
}

/// Leader of the scope of one shard, `<namespace>/<shard>`; `None`: nobody leads it, or there is no such scope.
pub fn of_shard(view: &View, shard: &str) -> Option<String> {
    ScopeState::find(view, &format!("{OF_SHARD}{shard}"))?.leader().map(str::to_owned)
}

/// All scopes, in the order of their names.
pub fn all_scopes(view: &View) -> Vec<pb::Leadership> {
    ScopeStates::of(view).scopes.iter().map(|known| known.leadership()).collect()
}
