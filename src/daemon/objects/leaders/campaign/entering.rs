//! The scopes that a node brings into the registry: those of its configuration, and after a new epoch those
//! that were lost with it.

use bytes::Bytes;
use prost::Message;
use tracing::{debug, info};

use super::{AllKnown, Campaigner};
use crate::daemon::objects::leaders::{LEADERSHIP, leadership_id};
use crate::daemon::registry::follow::{chain, in_time};
use crate::daemon::store::{Commit, GroupRef, Precondition, RecordId, Version, Write};
use crate::wire::pb::omnirelay::store::v1::LeadershipValue;

/// The most scopes of one commit.
const BATCH_MAX: usize = 128;
/// How long a commit may take.
const COMMIT_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(2);

/// A scope that is to be entered.
struct Entered {
    id: RecordId,
    /// That the registry has of it; 0: none.
    version: Version,
    value: LeadershipValue,
}

impl Campaigner {
    /// Enters what is missing, once in each epoch.
    pub(super) async fn enter_scopes(&self, all: &AllKnown, session: &GroupRef) {
        let epoch = self.registry.view().head().epoch;
        if self.lock().entered == Some(epoch) {
            return;
        }
        let mut missing = self.lost_scopes(all);
        for (scope, labels) in &self.settings.entered {
            let id = leadership_id(scope);
            let known = all.scopes.iter().any(|known| known.scope() == scope);
            if !known && !missing.iter().any(|entered| entered.id == id) {
                let value = LeadershipValue { labels: labels.clone(), ..LeadershipValue::default() };
                missing.push(Entered { id, version: Version(0), value });
            }
        }
        for batch in missing.chunks(BATCH_MAX) {
            let writes = batch.iter().map(|entered| {
                let value = Bytes::from(entered.value.encode_to_vec());
                Write::Put { id: entered.id.clone(), value, group: None }
            });
            let versions = batch
                .iter()
                .map(|entered| Precondition::Version { id: entered.id.clone(), version: entered.version });
            let live = Precondition::GroupLive(session.clone());
            let commit = Commit {
                epoch,
                preconditions: versions.chain([live]).collect(),
                writes: writes.collect(),
                writer: self.registry.node_id().to_owned(),
                ..Commit::default()
            };
            if let Err(error) = in_time(COMMIT_TIMEOUT, self.registry.commit(commit)).await {
                // Somebody else was faster with one of them: the next look finds what is missing still.
                return debug!(error = %chain(&error), "scopes were not entered; trying again");
            }
            info!(scopes = batch.len(), "scopes entered");
        }
        for id in self.registry.losses().lost_of(&LEADERSHIP) {
            self.registry.losses().note_restored(&id);
        }
        self.lock().entered = Some(epoch);
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
            let Some(known) = all.scopes.iter().find(|known| known.scope() == id.key) else {
                let past = LeadershipValue { past: was.past.clone(), ..LeadershipValue::default() };
                return Some(Entered { id, version: Version(0), value: said(&past) });
            };
            let version = known.record.record.version;
            let value = said(&known.value);
            (lost.is_untouched(version) && value != *known.value).then_some(Entered { id, version, value })
        });
        lost.collect()
    }
}
