//! Watching what becomes of plans, and of namespaces.

use std::sync::Arc;

use omnirelay_nouns::feed::{EventFrame, NounEventStream, ShownChange, WatchedNoun};
use omnirelay_nouns::listing::is_among;
use omnirelay_nouns::topic::{CHANGES, Topic, TopicEvent};
use omnirelay_registry::Registry;
use omnirelay_registry::view::ViewRecord;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::store::v1::RebalancePlanValue;

use super::{RebalancePlans, brief, pb, shown};
use crate::namespaces;
use crate::shard_map_view::{NAMESPACE, PLAN};

impl RebalancePlans {
    pub(super) async fn serve_watch(
        &self,
        asked: pb::WatchPlansRequest,
    ) -> Result<NounEventStream<pb::PlanEvent>, Fault> {
        let passes = move |record: &ViewRecord| {
            let of = record.value::<RebalancePlanValue>();
            let namespace =
                of.as_ref().and_then(|value| value.plan.as_ref()).map(|plan| plan.namespace.as_str());
            is_among(&asked.plan_id, &record.record.id.key)
                && is_among(&asked.namespace, namespace.unwrap_or_default())
        };
        let begun = self.watches.begin([PLAN], passes, &asked.since).await?;
        Ok(begun.of(WatchedPlans { registry: self.registry.clone() }).events())
    }

    pub(super) async fn serve_states(
        &self,
        asked: pb::WatchRebalanceStatesRequest,
    ) -> Result<NounEventStream<pb::RebalanceEvent>, Fault> {
        let passes = move |record: &ViewRecord| is_among(&asked.namespace, &record.record.id.key);
        let begun = self.states.begin([NAMESPACE], passes, &asked.since).await?;
        Ok(begun.of(WatchedStates).events())
    }
}

/// Topic of plans in the stream of events: what is told of them.
pub fn plans_topic(registry: Arc<Registry>) -> Topic {
    let noun = move || WatchedPlans { registry: registry.clone() };
    Topic::of("rebalance-plans", CHANGES, [PLAN], noun, |event| TopicEvent {
        what: event.r#type().as_str_name(),
        data: pb::EventData { plan: event.plan, ..pb::EventData::default() },
    })
}

/// Topic of namespaces in the stream of events: what is told of them.
pub fn states_topic() -> Topic {
    Topic::of(
        "rebalance",
        CHANGES,
        [NAMESPACE],
        || WatchedStates,
        |event| TopicEvent {
            what: event.r#type().as_str_name(),
            data: pb::EventData { namespace: event.namespace, ..pb::EventData::default() },
        },
    )
}

/// Plans as those who watch them are told of them.
pub struct WatchedPlans {
    pub registry: Arc<Registry>,
}

impl WatchedNoun for WatchedPlans {
    type Event = pb::PlanEvent;

    fn event(&mut self, frame: EventFrame, shown_as: ShownChange<'_>) -> Option<Self::Event> {
        Some(pb::PlanEvent {
            r#type: frame.kind(pb::plan_event::Type::from_str_name),
            plan: shown_as.record().and_then(|record| shown(self.registry.view(), record)).map(brief),
            cursor: frame.cursor,
            prev_cursor: frame.prev_cursor,
            time: frame.time,
            reason: frame.reason,
        })
    }
}

/// Namespaces as those who watch them are told of them.
pub struct WatchedStates;

impl WatchedNoun for WatchedStates {
    type Event = pb::RebalanceEvent;

    fn event(&mut self, frame: EventFrame, shown: ShownChange<'_>) -> Option<Self::Event> {
        Some(pb::RebalanceEvent {
            r#type: frame.kind(pb::rebalance_event::Type::from_str_name),
            namespace: shown.record().map(|record| namespaces::show(record)),
            cursor: frame.cursor,
            prev_cursor: frame.prev_cursor,
            time: frame.time,
            reason: frame.reason,
        })
    }
}
