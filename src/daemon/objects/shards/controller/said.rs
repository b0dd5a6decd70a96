//! What was said of each namespace: its plans, and what owners serve no more of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use omnirelay_wire::pb::omnirelay::store::v1::{RebalancePlanValue, ShardReleaseValue};

use crate::daemon::objects::shards::known::{PLAN, RELEASE};
use crate::daemon::registry::view::{Derived, View, ViewRecord};

/// The plans of a namespace, in the order of their ids.
#[derive(Default)]
pub(super) struct Plans(Vec<Arc<ViewRecord>>);

/// What owners have stopped to serve of a namespace: the owner, the shard and its fence token.
pub(super) type Released = BTreeSet<(String, String, u64)>;

/// What was said of all namespaces.
#[derive(Default)]
pub(super) struct Said {
    plans: Derived<BTreeMap<String, Arc<Plans>>>,
    released: Derived<BTreeMap<String, Arc<Released>>>,
}

impl Said {
    pub fn plans(&self, view: &View) -> Arc<BTreeMap<String, Arc<Plans>>> {
        self.plans.of(view, &PLAN, |records| {
            let mut plans = BTreeMap::<String, Plans>::new();
            for record in records {
                let value = record.value::<RebalancePlanValue>();
                let Some(plan) = value.as_ref().and_then(|value| value.plan.as_ref()) else { continue };
                plans.entry(plan.namespace.clone()).or_default().0.push(record.clone());
            }
            shared(plans)
        })
    }

    pub fn released(&self, view: &View) -> Arc<BTreeMap<String, Arc<Released>>> {
        self.released.of(view, &RELEASE, |records| {
            let mut released = BTreeMap::<String, Released>::new();
            for record in records {
                let (node, value) = (&record.record.id.key, record.value::<ShardReleaseValue>());
                for one in value.iter().flat_map(|value| &value.shards) {
                    let of = released.entry(one.namespace.clone()).or_default();
                    of.insert((node.clone(), one.shard_id.clone(), one.fence_token));
                }
            }
            shared(released)
        })
    }
}

fn shared<T>(of: BTreeMap<String, T>) -> BTreeMap<String, Arc<T>> {
    of.into_iter().map(|(namespace, said)| (namespace, Arc::new(said))).collect()
}

impl Plans {
    pub fn find(&self, id: &str) -> Option<&ViewRecord> {
        let place = self.0.binary_search_by(|record| record.record.id.key.as_str().cmp(id)).ok()?;
        self.0.get(place).map(|record| &**record)
    }

    pub fn values(&self) -> Vec<(&str, Arc<RebalancePlanValue>)> {
        self.0.iter().filter_map(|record| Some((record.record.id.key.as_str(), record.value()?))).collect()
    }
}

impl PartialEq for Plans {
    /// Whether they are the same as they were: what was read anew may be another.
    fn eq(&self, other: &Self) -> bool {
        self.0.len() == other.0.len()
            && self.0.iter().zip(&other.0).all(|(one, other)| Arc::ptr_eq(one, other))
    }
}
