//! The scopes that a node brings into the registry: those of its configuration, and after a new epoch those
//! that were lost with it.

use bytes::Bytes;
use omnirelay_core::text::chain;
use omnirelay_core::time::Millis;
use omnirelay_store::{Epoch, GroupRef, RecordId, Version, Write};
use omnirelay_wire::pb::omnirelay::mesh::control::v1::tenure::End;
use omnirelay_wire::pb::omnirelay::store::v1::LeadershipValue;
use prost::Message;
use tokio::time::Instant;
use tracing::{debug, info};

use super::{AllKnown, Campaigner};
use crate::core::lease::{Ending, Node, Numbers, place_of, vacate};
use crate::daemon::chance::correlation_id;
use crate::daemon::objects::leaders::{LEADERSHIP, leadership_id};
use crate::daemon::registry::act::{Act, Authority, Plan};

/// The most scopes of one commit.
const BATCH_MAX: usize = 128;

/// A scope that is to be entered.
struct Entered {
    id: RecordId,
    /// That the registry has of it; 0: none.
    version: Version,
    value: LeadershipValue,
}

impl Campaigner {
    /// Enters some of what is missing, in each epoch until nothing is. True: something was entered. Nodes take
    /// turns, so that not all of them enter the same.
    pub(in crate::daemon::objects::leaders) async fn enter_scopes(
        &self,
        all: &AllKnown,
        nodes: &[Node<'_>],
        session: &GroupRef,
    ) -> bool {
        // What is missing, and in which versions, was read in this one.
        let epoch = all.reading.cursor.epoch;
        if !self.is_my_turn(epoch, nodes) {
            return false;
        }
        let mut missing = self.lost_scopes(all);
        for (scope, labels) in &self.settings.entered {
            let id = leadership_id(scope);
            if all.find(scope).is_none() && missing.binary_search_by(|entered| entered.id.cmp(&id)).is_err() {
                let value = LeadershipValue { labels: labels.clone(), ..LeadershipValue::default() };
                let place = missing.partition_point(|entered| entered.id < id);
                missing.insert(place, Entered { id, version: Version(0), value });
            }
        }
        if !missing.is_empty() {
            missing.truncate(BATCH_MAX);
            return self.enter(epoch, &missing, session).await;
        }
        let restored = self.registry.losses().lost_of(&LEADERSHIP);
        if self.registry.view().changed(&LEADERSHIP).epoch != epoch {
            // They may be what another epoch has lost since.
            return false;
        }
        restored.iter().for_each(|id| self.registry.losses().note_restored(id));
        self.lock().entered = Some(epoch);
        false
    }

    /// Whether there may be something to enter, and it is for this node to do it.
    fn is_my_turn(&self, epoch: Epoch, nodes: &[Node<'_>]) -> bool {
        let mut state = self.lock();
        if state.entered == Some(epoch) {
            return false;
        }
        let now = Instant::now();
        let since = state.epoch_since.filter(|(known, _)| *known == epoch).map_or(now, |(_, since)| since);
        state.epoch_since = Some((epoch, since));
        let turns = u32::try_from(place_of("", nodes, self.registry.node_id())).unwrap_or(u32::MAX);
        now >= since + self.settings.election_backoff.saturating_mul(turns)
    }

    async fn enter(&self, epoch: Epoch, missing: &[Entered], session: &GroupRef) -> bool {
        let writes = missing.iter().map(|entered| {
            let value = Bytes::from(entered.value.encode_to_vec());
            Write::Put { id: entered.id.clone(), value, group: None }
        });
        let versions = missing.iter().map(|entered| (entered.id.clone(), entered.version));
        let act = Act::new("leaders.enter", [LEADERSHIP], Authority::Session(session.clone()));
        match self.registry.attempt(&act, Plan::read_in(epoch).expect(versions).write(writes)).await {
            Ok(_) => info!(scopes = missing.len(), "scopes entered"),
            // Somebody else was faster with one of them: the next look finds what is missing still.
            Err(error) => {
                debug!(error = %chain(&error), "scopes were not entered; trying again");
                return false;
            }
        }
        true
    }

    /// What a new epoch has lost of scopes, as it is entered again: the labels and the policy as they were
    /// last, unless somebody has changed them since. Who led is not known any more.
    fn lost_scopes(&self, all: &AllKnown) -> Vec<Entered> {
        let losses = self.registry.losses();
        let lost = losses.lost_of(&LEADERSHIP).into_iter().filter_map(|id| {
            let lost = losses.of(self.registry.view(), &id)?;
            let was = lost.record.value::<LeadershipValue>()?;
            let said = |value: &LeadershipValue| LeadershipValue {
                labels: was.labels.clone(),
                policy: was.policy.clone(),
                ..value.clone()
            };
            let Some(known) = all.find(&id.key) else {
                let value = said(&self.as_lost(&id.key, &was, all.now));
                return Some(Entered { id, version: Version(0), value });
            };
            let version = known.record.record.version;
            let value = said(&known.value);
            (lost.is_untouched(version) && value != *known.value).then_some(Entered { id, version, value })
        });
        lost.collect()
    }

    /// The record of a scope whose lease is gone with everything else: whoever led has led as long as this node
    /// has seen it.
    fn as_lost(&self, scope: &str, was: &LeadershipValue, now: Millis) -> LeadershipValue {
        let last = self.lock().last_led.get(scope).copied();
        let (at, numbers) = last.unwrap_or((now, Numbers::default()));
        let lost = Ending { end: End::Lost, reason: "epoch_changed", at };
        vacate(scope, was, numbers, lost, &correlation_id(scope))
    }
}
