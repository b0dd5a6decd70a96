//! Makes the shards of a new namespace, and removes those of one that goes.

use std::collections::BTreeMap;
use std::ops::ControlFlow::Continue;

use omnirelay_decisions::shards::map::{EDIT_MAX, MapEdit, numbered, owned_by};
use omnirelay_decisions::shards::planning::plan;
use omnirelay_nouns::timestamp;
use omnirelay_registry::audit_record::own_body;
use omnirelay_store::{CommitError, Precondition, Record, Version, Write};
use omnirelay_wire::pb::omnirelay::store::v1::namespace_value::Phase;
use omnirelay_wire::pb::omnirelay::store::v1::{NamespaceValue, ShardValue};
use prost::Message as _;
use tracing::info;

use super::{NamespaceMap, ShardNodes};
use crate::controller::executor::NamespaceExecutor;
use crate::shard_map_view::{
    PLAN, SHARD_CHANGE, ShardValues, namespace_id, parts, plan_id, plans_of, removable, shard_id, writes,
};
use crate::{namespaces, pb};
use pb::namespace::State;

impl NamespaceExecutor<'_> {
    /// Makes the shards that are not there yet, as many in a commit as it takes. The last one has the namespace be seen.
    pub(super) async fn make(
        &mut self,
        map: &NamespaceMap<'_>,
        nodes: &ShardNodes,
    ) -> Result<(), CommitError> {
        let wanted = wanted(&map.value);
        let spec = map.spec();
        let all: Vec<(&str, &ShardValue)> = wanted.iter().map(|(id, value)| (id.as_str(), value)).collect();
        let members = nodes.members(self.name, &spec, &ShardValues(Vec::new()));
        let planned = plan(self.name, &all, &members, &spec.rules(), &BTreeMap::new());
        let there: std::collections::BTreeSet<&str> =
            map.shards.iter().filter_map(|record| parts(&record.record.id).map(|(_, shard)| shard)).collect();
        let missing: Vec<(&str, &ShardValue, &str)> = all
            .iter()
            .zip(&planned.owners)
            .filter(|((id, _), _)| !there.contains(id))
            .map(|((id, value), owner)| (*id, *value, owner.as_str()))
            .collect();
        let mut next = 0;
        let why = self.value.ordered.clone().unwrap_or_default();
        let mut made = u32::try_from(there.len()).unwrap_or(u32::MAX);
        loop {
            let mut edit = MapEdit::of(self.name, &self.value, why.clone());
            let mut conditions = Vec::new();
            while edit.has_room(EDIT_MAX)
                && let Some((id, value, owner)) = missing.get(next)
            {
                next += 1;
                conditions.push(Precondition::Version { id: shard_id(self.name, id), version: Version(0) });
                let new =
                    ShardValue { strategy_id: spec.strategy.word().to_owned(), ..ShardValue::clone(value) };
                let new = if owner.is_empty() { new } else { owned_by(&new, owner, self.moment(nodes)) };
                edit.put(id, None, Some(new));
                made += 1;
            }
            let is_last = next == missing.len();
            let after = &mut edit.value;
            after.made = made;
            if is_last {
                after.set_phase(Phase::Ready);
                after.set_state(State::Steady);
                after.state_reason.clear();
                after.state_since = Some(timestamp(nodes.now()));
                after.named.clear();
            }
            let (written, after) = (writes(self.name, &edit, nodes.now()), edit.value.clone());
            let me = self.controller.registry.node_id();
            let object = namespace_id(self.name).to_string();
            let body =
                is_last.then(|| own_body(me, "namespaces.ready", object, vec![format!("{made} shards")]));
            self.commit(conditions, written, body.into_iter().collect(), after).await?;
            if is_last {
                info!(namespace = self.name, shards = made, "namespace made");
                return Ok(());
            }
        }
    }

    /// Removes shards, then what is kept of their changes, then the namespace.
    pub(super) async fn remove(&mut self, map: &NamespaceMap<'_>) -> Result<(), CommitError> {
        for some in map.shards.chunks(200) {
            let gone = some.iter().map(|record| Write::Delete { id: record.record.id.clone() });
            let left = self.value.made.saturating_sub(u32::try_from(some.len()).unwrap_or(u32::MAX));
            let after = NamespaceValue { made: left, ..self.value.clone() };
            let written = gone.chain([namespaces::put(self.name, &after)]).collect();
            self.commit(Vec::new(), written, Vec::new(), after).await?;
        }
        let registry = &self.controller.registry;
        // A plan of it is none of another one that has its name.
        let plans = plans_of(&registry.view().list(&PLAN).records, self.name);
        let plans = plans.into_iter().map(|(id, value)| (plan_id(&id), value.encoded_len()));
        let (mut left, prefix) = (plans.collect::<Vec<_>>(), format!("{}/", self.name));
        let each = |record: Record| {
            if !record.deleted {
                left.push((record.id, record.value.len()));
            }
            Continue(())
        };
        registry.each_behind(&SHARD_CHANGE, &prefix, &prefix, each).await.map_err(CommitError::Store)?;
        for some in removable(left) {
            let gone = some.into_iter().map(|id| Write::Delete { id });
            let after = NamespaceValue { made: 0, ..self.value.clone() };
            let written = gone.chain([namespaces::put(self.name, &after)]).collect();
            self.commit(Vec::new(), written, Vec::new(), after).await?;
        }
        let after = self.value.clone();
        self.commit(Vec::new(), vec![Write::Delete { id: namespace_id(self.name) }], Vec::new(), after)
            .await?;
        info!(namespace = self.name, "namespace removed");
        Ok(())
    }
}

/// The shards that a namespace is to have, in the order of their ids.
fn wanted(value: &NamespaceValue) -> Vec<(String, ShardValue)> {
    if value.named.is_empty() {
        return numbered(value.shards).map(|id| (id, ShardValue::default())).collect();
    }
    let named = value.named.iter().map(|new| {
        let (capacity_hint, locality_hint) = (new.capacity_hint, new.locality_hint.clone());
        (new.shard_id.clone(), ShardValue { capacity_hint, locality_hint, ..ShardValue::default() })
    });
    named.collect()
}
