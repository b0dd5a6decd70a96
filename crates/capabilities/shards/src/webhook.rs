//! The webhook: whoever leads tells a server what becomes of plans, and which namespaces are held up or have failed.
//!
//! It follows the log as any watch does, so what waits to be told is in no queue: the log has it. Where it stands is in the registry, and
//! whoever leads next goes on there: what was told and not noted yet is told again, under the same id.

use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use omnirelay_core::scope::GLOBAL_CONTROL;
use omnirelay_core::text::chain;
use omnirelay_host::live::Live;
use omnirelay_identity::signed_posts::SignedPosts;
use omnirelay_leadership_records::ScopeFences;
use omnirelay_nouns::feed::{WatchedNoun as _, framed};
use omnirelay_registry::Registry;
use omnirelay_registry::act::{CommitPlan, DaemonAct, WriteAuthority, put};
use omnirelay_registry::cursor::Cursor;
use omnirelay_registry::since::WatchSince;
use omnirelay_registry::watch::{ResetReason, Watch, WatchEvent, WatchStep};
use omnirelay_store::{CommitError, RecordId, RecordKind};
use omnirelay_wire::pb::omnirelay::store::v1::{NamespaceValue, ShardWebhookValue};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use tracing::{debug, warn};

use super::plans::watching::{WatchedPlans, WatchedStates};
use super::{SHARDS_RUNBOOK, pb};
use crate::metrics::ShardMetrics;
use crate::shard_map_view::{NAMESPACE, PLAN};
use pb::namespace::State;

/// Where the webhook stands; the key is [`KEY`].
pub const WEBHOOK: RecordKind = RecordKind::of("shard-webhook");
const KEY: &str = "cursor";
/// How far back it begins for the first time.
const FIRST: Duration = Duration::from_secs(30);
/// How often it is noted where it stands while there is nothing to tell: the log does not reach back for ever.
const NOTED_EVERY: Duration = Duration::from_secs(300);
/// How often it is looked whether this node leads.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long something is tried again.
const TRIED_FOR: Duration = Duration::from_secs(15 * 60);
/// The first pause before something is tried again; it doubles.
const PAUSE_FIRST: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// Tells what becomes of plans and namespaces, while this node leads and somebody is to be told.
pub struct Webhook {
    pub registry: Arc<Registry>,
    pub leads: Arc<dyn ScopeFences>,
    pub deliveries: Arc<WebhookDeliveries>,
}

/// Fact that is told to the webhook.
pub struct WebhookFact {
    /// The same each time it is told, and of no other.
    id: String,
    body: Vec<u8>,
}

impl WebhookFact {
    pub fn new(id: String, what: &str, event: &Value) -> Self {
        let body = json!({"id": id, "what": what, "event": event}).to_string().into_bytes();
        Self { id, body }
    }
}

/// Tells the server, as long as it has not heard it.
pub struct WebhookDeliveries {
    /// `None`: nobody is told.
    pub posts: Live<Option<SignedPosts>>,
    pub metrics: Arc<ShardMetrics>,
}

impl Webhook {
    /// Does so for ever.
    pub async fn run(&self) {
        loop {
            while !self.is_to_tell() {
                sleep(LOOK_EVERY).await;
            }
            if let Err(error) = self.follow().await {
                debug!(error = %chain(&error), "what becomes of plans is not followed; trying again");
            }
            sleep(LOOK_EVERY).await;
        }
    }

    fn is_to_tell(&self) -> bool {
        self.leads.fence(GLOBAL_CONTROL).is_some() && self.deliveries.tells()
    }

    /// Tells what comes, until somebody else leads, or nobody is told any more.
    async fn follow(&self) -> Result<(), CommitError> {
        let Some(begins) = self.begins().await else { return Ok(()) };
        self.note(begins).await?;
        let kinds = vec![PLAN, NAMESPACE];
        let mut watch = Watch::begin_all(self.registry.clone(), kinds, Box::new(|_| true), Some(begins));
        let mut noted = Some(Instant::now());
        while self.is_to_tell() {
            let event = watch.next().await;
            // What was mended was told of as it was committed.
            if matches!(event, WatchEvent::Reset(reason) if reason != ResetReason::ViewMended) {
                // Whoever leads next does not begin there again.
                noted = None;
                self.deliveries.metrics.count_told("lost");
                warn!(
                    runbook = SHARDS_RUNBOOK,
                    "webhook is not told what the log does not reach back to any more"
                );
            }
            let fact = self.fact(&event);
            // What somebody else tells by now is not to be told after what follows it.
            if let Some(fact) = &fact
                && !self.deliveries.deliver(fact, || self.is_to_tell()).await
            {
                break;
            }
            if let Some(cursor) = stands_at(&event)
                && (fact.is_some() || noted.is_none_or(|noted| noted.elapsed() >= NOTED_EVERY))
            {
                self.note(cursor).await?;
                noted = Some(Instant::now());
            }
        }
        Ok(())
    }

    /// Where whoever led before has stopped; else a moment ago. `None`: the log cannot be read.
    async fn begins(&self) -> Option<Cursor> {
        let stood = self.registry.view().get(&RecordId::new(WEBHOOK, KEY));
        let stood = stood.and_then(|record| record.value::<ShardWebhookValue>()?.cursor.parse().ok());
        match stood {
            Some(stood) => Some(stood),
            None => self.registry.start_of(WatchSince::Ago(FIRST)).await.ok().map(|start| start.cursor),
        }
    }

    /// Has whoever leads next go on behind `cursor`.
    async fn note(&self, cursor: Cursor) -> Result<(), CommitError> {
        let Some(fence) = self.leads.fence(GLOBAL_CONTROL) else { return Ok(()) };
        let act = DaemonAct::new("shards.webhook", [WEBHOOK], WriteAuthority::Leader(fence));
        let id = RecordId::new(WEBHOOK, KEY);
        let stood = self.registry.view().get(&id).and_then(|record| record.value::<ShardWebhookValue>());
        let stood = stood.map(|value| ShardWebhookValue::clone(&value)).unwrap_or_default();
        let write = put(id, &ShardWebhookValue { cursor: cursor.to_string(), ..stood });
        let epoch = self.registry.view().head().epoch;
        self.registry.attempt(&act, CommitPlan::read_in(epoch).write([write])).await.map(drop)
    }

    /// What an event is for the server, as those who watch are told of it; `None`: nothing.
    fn fact(&self, event: &WatchEvent) -> Option<WebhookFact> {
        let (WatchEvent::Added(step) | WatchEvent::Modified(step)) = event else { return None };
        let (frame, shown) = framed(event);
        // Each change of a plan is one of its state.
        let (what, event) = if step.record.record.id.kind == PLAN {
            let event = WatchedPlans { registry: self.registry.clone() }.event(frame, shown)?;
            ("plan", serde_json::to_value(event))
        } else {
            states(step).filter(|(before, after)| is_news(*before, *after))?;
            ("namespace", serde_json::to_value(WatchedStates.event(frame, shown)?))
        };
        Some(WebhookFact::new(step.cursor.to_string(), what, &event.ok()?))
    }
}

impl WebhookDeliveries {
    /// Whether anybody is told.
    pub fn tells(&self) -> bool {
        self.posts.get().is_some()
    }

    /// Tells it, again and again for a while. False: it is not to be told any more.
    pub async fn deliver(&self, fact: &WebhookFact, is_wanted: impl Fn() -> bool) -> bool {
        let (begun, mut pause, mut replaced) = (Instant::now(), PAUSE_FIRST, self.posts.clone());
        // What was set before this is tried first.
        tokio::select! { biased; () = replaced.replaced() => {}, () = ready(()) => {} }
        let (outcome, error) = loop {
            let posts = self.posts.get();
            let Some(posts) = posts.filter(|_| is_wanted()) else { return false };
            match posts.post(&fact.id, &fact.body).await {
                Ok(()) => {
                    self.metrics.count_told("delivered");
                    return true;
                }
                Err(error) if error.is_for_good() => break ("refused", error),
                Err(error) if begun.elapsed() >= TRIED_FOR => break ("given_up", error),
                Err(error) => {
                    debug!(error = %chain(&error), delivery = fact.id, "webhook failed; trying again");
                }
            }
            tokio::select! {
                () = sleep(pause) => pause = (pause * 2).min(PAUSE_MAX),
                // It may be another server, or one that knows another secret.
                () = replaced.replaced() => pause = PAUSE_FIRST,
            }
        };
        self.metrics.count_told(outcome);
        let error = &error as &dyn std::error::Error;
        warn!(error, delivery = fact.id, outcome, runbook = SHARDS_RUNBOOK, "webhook was not told");
        true
    }
}

/// Up to where all was seen by then; `None`: it is not known.
fn stands_at(event: &WatchEvent) -> Option<Cursor> {
    match event {
        WatchEvent::Progress { cursor, .. } | WatchEvent::Synced { cursor, .. } => Some(*cursor),
        WatchEvent::Added(step) | WatchEvent::Modified(step) | WatchEvent::Removed(step) => Some(step.cursor),
        WatchEvent::Snapshot(_) | WatchEvent::Reset(_) => None,
    }
}

/// What was being done with a namespace before a step, and what is.
fn states(step: &WatchStep) -> Option<(State, State)> {
    let before = step.change().and_then(|change| change.before.as_ref()?.value::<NamespaceValue>());
    let before = before.map(|value| value.state()).unwrap_or_default();
    Some((before, step.record.value::<NamespaceValue>()?.state()))
}

/// A namespace that is held up or has failed, and one that is so no more.
fn is_news(before: State, after: State) -> bool {
    let is_trouble = |state: State| matches!(state, State::Investigating | State::Failed);
    before != after && (is_trouble(before) || is_trouble(after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_told_of_when_it_is_held_up_and_when_it_is_no_more() {
        let states = [
            (State::Steady, false),
            (State::Rebalancing, false),
            (State::Investigating, true),
            (State::Investigating, false),
            (State::Failed, true),
            (State::Steady, true),
            (State::Completed, false),
        ];
        let mut before = State::Unspecified;
        for (state, is_told) in states {
            assert_eq!(is_news(before, state), is_told, "{before:?} {state:?}");
            before = state;
        }
    }
}
