//! Where writes are let through or refused: the fence of the store, and a gate in front of something
//! outside.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use omnirelay_sdk::FencingGate;
use omnirelay_store::redis::link::RedisOptions;
use omnirelay_store::{
    Commit, CommitError, CommitOutcome, Epoch, LeaseFence, RecordId, RecordKind, RedisStore, Store,
    StoreError, Write,
};

use crate::history::{Gate, Outcome, Place};
use crate::recorder::Recorder;

/// What the writes of leaders change; no daemon knows it.
const LED: RecordKind = RecordKind::of("led");
/// The cluster of a daemon that was told of none.
const CLUSTER: &str = "default";
/// As the daemons have it: the time to live of a session and its margin.
const QUARANTINE: Duration = Duration::from_millis(2250);

/// The store of a test, in the mesh of the daemons.
pub(super) fn store(url: &str) -> Result<RedisStore> {
    Ok(RedisStore::new(url.parse()?, RedisOptions::default(), CLUSTER, QUARANTINE))
}

/// Both gates. Each write is recorded with what became of it.
pub(super) struct Gates {
    recorder: Arc<Recorder>,
    store: RedisStore,
    /// As the watcher of the log knows it.
    epoch: AtomicU64,
    resource: FencingGate,
}

impl Gates {
    pub(super) fn new(recorder: Arc<Recorder>, url: &str) -> Result<Self> {
        let (epoch, resource) = (AtomicU64::new(0), FencingGate::in_memory());
        Ok(Self { recorder, store: store(url)?, epoch, resource })
    }

    /// Writes in this epoch from now on: a write of an old one would be refused for that alone.
    pub(super) fn note_epoch(&self, epoch: Epoch) {
        self.epoch.store(epoch.0, Ordering::SeqCst);
    }

    /// The greatest token that the gate outside has seen.
    pub(super) fn mark(&self, scope: &str) -> u64 {
        self.resource.mark(scope).unwrap_or(0)
    }

    /// Writes with the token at the gate outside.
    pub(super) fn write_resource(&self, node: &str, scope: &str, token: u64) -> Outcome {
        let sent = self.recorder.sending(Gate::Resource("outside".into()), node, scope, token);
        let admitted = self.resource.run(scope, token, || ());
        let outcome = if admitted.is_ok() { Outcome::Accepted } else { Outcome::Refused };
        sent.returned(&self.recorder, outcome);
        outcome
    }

    /// Commits a record under the fence of the token.
    pub(super) async fn write_store(&self, node: &str, scope: &str, token: u64) -> Outcome {
        let epoch = Epoch(self.epoch.load(Ordering::SeqCst));
        let id = RecordId::new(LED, scope);
        let commit = Commit {
            epoch,
            writes: vec![Write::Put { id, value: Bytes::from(node.to_owned()), group: None }],
            fence: Some(LeaseFence { scope: scope.to_owned(), token }),
            writer: node.into(),
            ..Commit::default()
        };
        let sent = self.recorder.sending(Gate::Store, node, scope, token);
        let outcome = match self.store.commit(commit).await {
            Ok(CommitOutcome::Done(entry)) => {
                sent.committed(&self.recorder, Place { epoch: epoch.0, revision: entry.revision.0 });
                return Outcome::Accepted;
            }
            Err(CommitError::Fenced { .. } | CommitError::Store(StoreError::EpochChanged { .. })) => {
                Outcome::Refused
            }
            // It did not come as far as the fence, or nobody knows.
            Ok(CommitOutcome::Replayed { .. }) | Err(_) => Outcome::Unknown,
        };
        sent.returned(&self.recorder, outcome);
        outcome
    }
}
