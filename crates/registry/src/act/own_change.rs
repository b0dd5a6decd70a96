//! Own changes: what a daemon changes by itself in records that are of nobody else, and says in the audit trail.

use omnirelay_store::{CommitError, RecordId, RecordKind, Write};
use prost::Message;

use super::{DaemonAct, DecisionReader, WriteAuthority};
use crate::Registry;
use crate::audit_record::own_body;

/// How often a change is decided again when somebody else was faster.
const TRIES: usize = 5;

/// A change of some records, and what comes of it besides.
pub struct OwnChange<T = ()> {
    /// What the audit trail says was changed.
    pub object: String,
    pub writes: Vec<Write>,
    /// What the audit trail says of it.
    pub changes: Vec<String>,
    pub answer: T,
}

impl OwnChange {
    /// A change of one record.
    pub fn of(write: Write, changes: Vec<String>) -> Self {
        Self { object: write.id().to_string(), writes: vec![write], changes, answer: () }
    }
}

/// The write of a record that is in no group.
pub fn put(id: RecordId, value: &impl Message) -> Write {
    Write::Put { id, value: value.encode_to_vec().into(), group: None }
}

impl DaemonAct {
    /// An act on records of these kinds that needs no right but the daemon's own.
    pub fn own(action: &'static str, kinds: impl IntoIterator<Item = RecordKind>) -> Self {
        Self { tries: TRIES, ..Self::new(action, kinds, WriteAuthority::Unfenced) }
    }
}

impl Registry {
    /// Changes records of these kinds as `decide` says; answers what it answered, `None` when there was nothing to change.
    ///
    /// # Errors
    /// Those of `decide`; of the store, [`omnirelay_store::StoreError::OutcomeUnknown`] among them: it may have been done.
    pub async fn change_own<T, E: From<CommitError>>(
        &self,
        action: &'static str,
        kinds: impl IntoIterator<Item = RecordKind>,
        decide: impl Fn(&DecisionReader<'_>) -> Result<Option<OwnChange<T>>, E>,
    ) -> Result<Option<T>, E> {
        let act = DaemonAct::own(action, kinds);
        let done = self.act::<_, E, _>(&act, async |reader: DecisionReader<'_>| {
            let Some(change) = decide(&reader)? else { return Ok(None) };
            let body = own_body(self.node_id(), action, change.object, change.changes);
            Ok(Some((reader.plan().write(change.writes).audit([body]), change.answer)))
        });
        Ok(done.await?.map(|(_, answer)| answer))
    }
}
