//! A relay's end is the end of what it still held.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use omnirelay_core::placement::{RelayIncarnations, orphans};
use omnirelay_core::text::chain;
use omnirelay_peer_records::own_session;
use omnirelay_registry::act::{CommitPlan, DaemonAct, WriteAuthority};
use omnirelay_registry::cursor::Cursor;
use omnirelay_registry::view::ViewRecord;
use omnirelay_store::{COMMIT_WRITES_MAX, CommitError, Version, Write};
use omnirelay_wire::pb::omnirelay::store::v1::AgentValue;
use tokio::time::sleep;
use tracing::{debug, info};

use super::{AGENT, Agents};
use crate::relays;

/// How often it is looked whether a relay has ended.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const COMMIT_TIMEOUT: Duration = Duration::from_secs(5);
/// How many go in one commit: each may need two preconditions, its own version and its relay's, and the session one.
const BATCH_MAX: usize = (COMMIT_WRITES_MAX - 1) / 2;

/// Placements that a look has found in order: while nothing changes, there is nothing to do.
#[derive(PartialEq, Eq)]
struct CheckedPlacements {
    relays: RelayIncarnations,
    agents: Cursor,
}

impl Agents {
    /// Deletes the placements of relays that have ended, as every daemon does, for ever. Nobody sees them meanwhile.
    pub async fn drop_orphans(&self) {
        // With a beat it is known which relays live.
        let look = async |clean| (self.look(clean).await, None);
        self.registry.react_with(None, |view| view.connectivity().beats(), look).await;
    }

    /// Answers what it has found in order, if it has; `clean` is what the look before has.
    async fn look(&self, clean: Option<CheckedPlacements>) -> Option<CheckedPlacements> {
        // However often agents come and go, they are read no more often.
        sleep(LOOK_EVERY).await;
        let view = self.registry.view();
        if !view.head().caught_up || view.spares_all() {
            return None;
        }
        // Read before the agents: what they name is older, or they have changed since.
        let seen = CheckedPlacements { relays: relays::incarnations(view), agents: view.changed(&AGENT) };
        if clean.as_ref() == Some(&seen) {
            return clean;
        }
        match self.drop_some(&seen.relays).await {
            Ok(true) => Some(seen),
            Ok(false) => None,
            Err(error) => {
                // Another daemon was faster, or the next look does it.
                debug!(error = %chain(&error), "placements of ended relays were not deleted");
                None
            }
        }
    }

    /// Deletes placements, a batch at a time. True: none was left.
    async fn drop_some(&self, relays: &RelayIncarnations) -> Result<bool, CommitError> {
        let Some(session) = own_session(&self.registry) else { return Ok(false) };
        let act = DaemonAct {
            within: COMMIT_TIMEOUT,
            ..DaemonAct::new("agents.drop", [AGENT], WriteAuthority::Session(session))
        };
        let records = self.registry.view().list(&AGENT).records;
        let placed: Vec<(&Arc<ViewRecord>, Arc<AgentValue>)> =
            records.iter().filter_map(|record| Some((record, record.value::<AgentValue>()?))).collect();
        let found = orphans(
            placed.iter().map(|(_, value)| (value.relay_id.as_str(), value.relay_incarnation)),
            relays,
            usize::MAX,
        );
        let found_all = found.len();
        // Of a relay that was spoken for the store is about to hear.
        let is_over = |place: &usize| {
            let relay = placed.get(*place).map(|(_, value)| relays::relay_id(&value.relay_id));
            relay.is_some_and(|relay| !self.registry.is_deferred(&relay))
        };
        let found: Vec<usize> = found.into_iter().filter(is_over).collect();
        let (mut dropped, mut left) = (0, found_all - found.len());
        for batch in found.chunks(BATCH_MAX) {
            // The store may have gone away, or somebody may be spared, since they were found.
            if self.registry.view().spares_all() {
                return Ok(false);
            }
            let orphans: Vec<_> = batch.iter().filter_map(|place| placed.get(*place)).collect();
            match self.registry.attempt(&act, self.end_of(&orphans)).await {
                Ok(_) => dropped += orphans.len(),
                // One of them is no orphan any more; the others are no worse for it.
                Err(CommitError::Conflict { .. }) => left += orphans.len(),
                Err(error) => return Err(error),
            }
        }
        if dropped > 0 {
            info!(agents = dropped, "placements of ended relays deleted");
        }
        Ok(dropped + left == 0)
    }

    /// Deletes these, if each is as it was read and its relay has not come back.
    fn end_of(&self, orphans: &[&(&Arc<ViewRecord>, Arc<AgentValue>)]) -> CommitPlan {
        let view = self.registry.view();
        let mut versions = BTreeMap::new();
        for (record, value) in orphans {
            versions.insert(record.record.id.clone(), record.record.version);
            let relay = relays::relay_id(&value.relay_id);
            let version = relays::find(view, &value.relay_id)
                .filter(|relay| relay.value.incarnation != value.relay_incarnation)
                .map_or(Version(0), |relay| relay.record.record.version);
            versions.insert(relay, version);
        }
        // All are of one reading.
        let epoch = orphans.first().map(|(record, _)| record.epoch).unwrap_or_default();
        let deletions = orphans.iter().map(|(record, _)| Write::Delete { id: record.record.id.clone() });
        CommitPlan::read_in(epoch).expect(versions).write(deletions)
    }
}
