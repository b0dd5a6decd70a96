//! Tells the webhook what is wrong and stands in no record: each daemon what it sees itself.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use omnirelay_core::scope::GLOBAL_CONTROL;
use omnirelay_decisions::shards::alarms::{NamespaceSight, ShardAlarm, ShardAlarms};
use omnirelay_gossip::Gossip;
use omnirelay_leadership_records::ScopeFences;
use omnirelay_registry::Registry;
use parking_lot::Mutex;
use serde_json::json;
use tokio::time::{Instant, sleep};
use tracing::warn;

use super::webhook::{WebhookDeliveries, WebhookFact};
use super::{SHARDS_RUNBOOK, levels};
use crate::metrics::ShardMetrics;
use crate::shard_map_view::NamespaceMaps;

/// How often it is looked.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// How often it is looked whether one is to be told.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// The most alarms that wait to be told.
const WAITING_MAX: usize = 256;

/// Raises alarms of shards.
pub struct AlarmBell {
    pub registry: Arc<Registry>,
    pub gossip: Option<Arc<Gossip>>,
    pub leads: Arc<dyn ScopeFences>,
    pub metrics: Arc<ShardMetrics>,
    pub deliveries: Arc<WebhookDeliveries>,
    /// Alarms that are not told yet, the oldest first.
    pub waiting: Mutex<VecDeque<WebhookFact>>,
}

impl AlarmBell {
    /// Does so for ever.
    pub async fn run(&self) {
        tokio::join!(self.look_for_ever(), self.tell_for_ever());
    }

    async fn look_for_ever(&self) {
        let (begun, mut alarms) = (Instant::now(), ShardAlarms::default());
        loop {
            sleep(LOOK_EVERY).await;
            if !self.deliveries.tells() {
                self.waiting.lock().clear();
                alarms = ShardAlarms::default();
                continue;
            }
            for (namespace, alarm) in self.look(begun.elapsed(), &mut alarms) {
                let fact = self.fact(&namespace, alarm);
                let mut waiting = self.waiting.lock();
                if waiting.len() < WAITING_MAX {
                    waiting.push_back(fact);
                    continue;
                }
                self.metrics.count_told("lost");
                let alarm = alarm.word();
                let runbook = SHARDS_RUNBOOK;
                warn!(namespace, alarm, runbook, "too many alarms wait for the webhook; one is not told");
            }
        }
    }

    async fn tell_for_ever(&self) {
        loop {
            let next = self.waiting.lock().pop_front();
            match next {
                Some(fact) => drop(self.deliveries.deliver(&fact, || true).await),
                None => sleep(TELL_EVERY).await,
            }
        }
    }

    fn look(&self, now: Duration, alarms: &mut ShardAlarms) -> Vec<(String, ShardAlarm)> {
        let view = self.registry.view();
        // What all see is told by one.
        let leads = self.leads.fence(GLOBAL_CONTROL).is_some();
        let all = match leads {
            true => levels(view, self.gossip.as_deref())
                .into_iter()
                .map(|level| (level.namespace, level.imbalance))
                .collect::<Vec<_>>(),
            false => NamespaceMaps::of(view).here(view).map(|map| (map.name().to_owned(), None)).collect(),
        };
        let sights = all.iter().map(|(namespace, imbalance)| {
            let (concurrent, failures) = self.metrics.wrong(namespace);
            NamespaceSight { namespace, concurrent, failures, imbalance: *imbalance }
        });
        alarms.look(now, &sights.collect::<Vec<_>>())
    }

    fn fact(&self, namespace: &str, alarm: ShardAlarm) -> WebhookFact {
        let (node, now, word) = (self.registry.node_id(), self.registry.view().now(), alarm.word());
        let (field, value) = match alarm {
            ShardAlarm::ServedTwice(shards) => ("shards", json!(shards)),
            ShardAlarm::StepsFail(steps) => ("steps", json!(steps)),
            ShardAlarm::Unbalanced(imbalance) => ("imbalance", json!(imbalance)),
        };
        let time_ms = now.0.to_string();
        let event =
            json!({"alarm": word, "namespace": namespace, "nodeId": node, "timeMs": time_ms, (field): value});
        let id = format!("{node}/{word}/{namespace}/{}", now.0);
        WebhookFact::new(id, "alarm", &event)
    }
}
