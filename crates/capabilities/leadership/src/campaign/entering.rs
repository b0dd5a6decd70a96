//! The scopes that a node brings into the registry: those of its configuration, and what is put back of those that a new epoch has lost.

use async_trait::async_trait;
use omnirelay_core::text::chain;
use omnirelay_core::time::Millis;
use omnirelay_decisions::lease::{ElectionCandidate, TenureEnding, TenureNumbers, place_of, vacate};
use omnirelay_host::chance::correlation_id;
use omnirelay_leadership_records::{LEADERSHIP, leadership_id};
use omnirelay_nouns::merge::{MergeOutcome, RecordMerger};
use omnirelay_registry::Registry;
use omnirelay_registry::act::{CommitPlan, DaemonAct, WriteAuthority, put};
use omnirelay_registry::epoch_loss::{EpochStartRecord, ToRestore};
use omnirelay_registry::view::ViewRecord;
use omnirelay_restoration_records::is_over;
use omnirelay_store::{Epoch, GroupRef, RecordId, StoreError, Version};
use omnirelay_wire::pb::omnirelay::mesh::control::v1::tenure::End;
use omnirelay_wire::pb::omnirelay::store::v1::LeadershipValue;
use prost::Message;
use tokio::time::Instant;
use tracing::{debug, info};

use super::{Campaigner, ScopeStates};

/// The most scopes of one commit.
const BATCH_MAX: usize = 128;

impl Campaigner {
    /// Enters some of what is missing of its configuration, in each epoch until nothing is. True: something was entered. Nodes
    /// take turns, so that not all of them enter the same.
    pub(crate) async fn enter_scopes(
        &self,
        all: &ScopeStates,
        nodes: &[ElectionCandidate<'_>],
        session: &GroupRef,
    ) -> bool {
        // What is missing was read in this one.
        let epoch = all.reading.cursor.epoch;
        // What the registry has lost is put back first, by whoever knows it.
        if !self.is_my_turn(epoch, nodes) || !is_over(self.registry.view(), epoch) {
            return false;
        }
        let settings = self.taken();
        let missing = settings.entered.iter().filter(|(scope, _)| all.find(scope).is_none());
        let missing: Vec<(RecordId, LeadershipValue)> = missing
            .map(|(scope, labels)| {
                let value = LeadershipValue { labels: labels.clone(), ..LeadershipValue::default() };
                (leadership_id(scope), value)
            })
            .filter(|(id, _)| !self.registry.awaits(id))
            .take(BATCH_MAX)
            .collect();
        if missing.is_empty() {
            let has_all = settings.entered.keys().all(|scope| all.find(scope).is_some());
            self.state.lock().entered = has_all.then_some(epoch);
            return false;
        }
        self.enter(epoch, &missing, session).await
    }

    /// Whether there may be something to enter, and it is for this node to do it.
    fn is_my_turn(&self, epoch: Epoch, nodes: &[ElectionCandidate<'_>]) -> bool {
        let mut state = self.state.lock();
        if state.entered == Some(epoch) {
            return false;
        }
        let now = Instant::now();
        let since = state.epoch_since.filter(|(known, _)| *known == epoch).map_or(now, |(_, since)| since);
        state.epoch_since = Some((epoch, since));
        let turns = u32::try_from(place_of("", nodes, self.registry.node_id())).unwrap_or(u32::MAX);
        now >= since + self.taken().election_backoff.saturating_mul(turns)
    }

    async fn enter(&self, epoch: Epoch, missing: &[(RecordId, LeadershipValue)], session: &GroupRef) -> bool {
        let writes = missing.iter().map(|(id, value)| put(id.clone(), value));
        let versions = missing.iter().map(|(id, _)| (id.clone(), Version(0)));
        let act = DaemonAct::new("leaders.enter", [LEADERSHIP], WriteAuthority::Session(session.clone()));
        match self.registry.attempt(&act, CommitPlan::read_in(epoch).expect(versions).write(writes)).await {
            Ok(_) => info!(scopes = missing.len(), "scopes entered"),
            // Somebody else was faster with one of them: the next look finds what is missing still.
            Err(error) => {
                debug!(error = %chain(&error), "scopes were not entered; trying again");
                return false;
            }
        }
        true
    }

    /// The record of a scope whose lease is gone with everything else: whoever led has led as long as this node
    /// has seen it.
    fn as_lost(&self, scope: &str, was: &LeadershipValue, now: Millis) -> LeadershipValue {
        let last = self.state.lock().last_led.get(scope).copied();
        let (at, numbers) = last.unwrap_or((now, TenureNumbers::default()));
        let lost = TenureEnding { end: End::Lost, reason: "epoch_changed", at };
        vacate(scope, was, numbers, lost, &correlation_id(scope))
    }
}

/// Whether two values have the same of what operators say of a scope.
fn says_alike(one: &LeadershipValue, other: &LeadershipValue) -> bool {
    (&one.labels, &one.policy) == (&other.labels, &other.policy)
}

#[async_trait]
impl RecordMerger for Campaigner {
    fn is_whole(&self, lost: &ToRestore, now: &ViewRecord) -> bool {
        let (was, now) = (lost.record.value::<LeadershipValue>(), now.value::<LeadershipValue>());
        was.zip(now).is_some_and(|(was, now)| says_alike(&was, &now))
    }

    /// The labels and the policy as they were last, unless somebody has changed the scope since. Who led is not known any more.
    async fn merge(
        &self,
        registry: &Registry,
        lost: &ToRestore,
        now: Option<&ViewRecord>,
    ) -> Result<MergeOutcome, StoreError> {
        let (scope, was) = (&lost.record.record.id.key, lost.record.value::<LeadershipValue>());
        let Some(was) = was else { return Ok(MergeOutcome::Unknown) };
        let value = match now {
            None => self.as_lost(scope, &was, registry.view().now()),
            Some(shown) => {
                let Some(now) = shown.value::<LeadershipValue>() else { return Ok(MergeOutcome::Unknown) };
                // Elections change the record as well.
                let base = match registry.untouched(lost, Some(&shown.record)).await? {
                    EpochStartRecord::Record(base) => LeadershipValue::decode(base.value).ok(),
                    EpochStartRecord::Absent | EpochStartRecord::Begun(_) | EpochStartRecord::Unknown => None,
                };
                if !base.is_some_and(|base| says_alike(&base, &now)) {
                    return Ok(MergeOutcome::Superseded);
                }
                LeadershipValue::clone(&now)
            }
        };
        let value = LeadershipValue { labels: was.labels.clone(), policy: was.policy.clone(), ..value };
        Ok(MergeOutcome::Put(value.encode_to_vec().into()))
    }
}
