//! Inputs of each namespace: its plans, and what owners serve no more of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use omnirelay_registry::view::{DerivedRecords, View, ViewRecord};
use omnirelay_wire::pb::omnirelay::store::v1::{RebalancePlanValue, ShardReleaseValue};

use crate::shard_map_view::{PLAN, RELEASE};

/// The plans of a namespace, in the order of their ids.
#[derive(Default)]
pub(super) struct NamespacePlans(Vec<Arc<ViewRecord>>);

/// Released shards of a namespace, which owners have stopped to serve: the owner, the shard and its fence token.
pub(super) type ReleasedShards = BTreeSet<(String, String, u64)>;

/// The plans of all namespaces.
#[derive(Default)]
pub(super) struct AllPlans(DerivedRecords<BTreeMap<String, Arc<NamespacePlans>>>);

impl AllPlans {
    pub(super) fn of(&self, view: &View) -> Arc<BTreeMap<String, Arc<NamespacePlans>>> {
        self.0.of(view, &PLAN, |records| {
            let mut plans = BTreeMap::<String, NamespacePlans>::new();
            for record in records {
                let value = record.value::<RebalancePlanValue>();
                let Some(plan) = value.as_ref().and_then(|value| value.plan.as_ref()) else { continue };
                plans.entry(plan.namespace.clone()).or_default().0.push(record.clone());
            }
            plans.into_iter().map(|(namespace, plans)| (namespace, Arc::new(plans))).collect()
        })
    }
}

/// Released shards of all namespaces. Looked at each time: a node's word ends with its session, which no commit tells.
pub(super) fn released(view: &View) -> BTreeMap<String, ReleasedShards> {
    let mut released = BTreeMap::<String, ReleasedShards>::new();
    for record in view.list(&RELEASE).records.iter() {
        let (node, value) = (&record.record.id.key, record.value::<ShardReleaseValue>());
        for one in value.iter().flat_map(|value| &value.shards) {
            let of = released.entry(one.namespace.clone()).or_default();
            of.insert((node.clone(), one.shard_id.clone(), one.fence_token));
        }
    }
    released
}

impl NamespacePlans {
    pub(super) fn find(&self, id: &str) -> Option<&ViewRecord> {
        let place = self.0.binary_search_by(|record| record.record.id.key.as_str().cmp(id)).ok()?;
        self.0.get(place).map(|record| &**record)
    }

    pub(super) fn values(&self) -> Vec<(&str, Arc<RebalancePlanValue>)> {
        self.0.iter().filter_map(|record| Some((record.record.id.key.as_str(), record.value()?))).collect()
    }
}

impl PartialEq for NamespacePlans {
    /// Whether they are the same as they were: what was read anew may be another.
    fn eq(&self, other: &Self) -> bool {
        self.0.len() == other.0.len()
            && self.0.iter().zip(&other.0).all(|(one, other)| Arc::ptr_eq(one, other))
    }
}
