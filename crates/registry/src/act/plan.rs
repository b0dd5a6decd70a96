//! Commit plans: what an act comes to.

use bytes::Bytes;
use omnirelay_store::{
    Epoch, Idempotency, IdempotencyKey, LeaseOp, Precondition, RecordId, RecordKind, Version, Write,
};
use omnirelay_wire::pb::omnirelay::store::v1::AuditValue;

use crate::audit_record::AUDIT;

/// Plan of a commit: what is to be written, and what must hold for it.
#[derive(Debug, Default)]
pub struct CommitPlan {
    /// In which all was read that it rests on, for versions begin anew with each; `None`: it rests on nothing.
    pub(crate) epoch: Option<Epoch>,
    pub(crate) preconditions: Vec<Precondition>,
    pub(crate) writes: Vec<Write>,
    /// What the audit trail says of it, each with its key unless it is to be a new one.
    pub(crate) audits: Vec<(Option<String>, AuditValue)>,
    pub(super) leases: Vec<LeaseOp>,
    pub(super) idempotency: Option<Idempotency>,
}

impl CommitPlan {
    /// A plan that rests on what was read in this epoch.
    pub fn read_in(epoch: Epoch) -> Self {
        Self { epoch: Some(epoch), ..Self::default() }
    }

    /// Demands that something holds.
    #[must_use]
    pub fn require(mut self, preconditions: impl IntoIterator<Item = Precondition>) -> Self {
        self.preconditions.extend(preconditions);
        self
    }

    /// Demands that records are of these versions; 0: that there is none.
    #[must_use]
    pub fn expect(self, versions: impl IntoIterator<Item = (RecordId, Version)>) -> Self {
        self.require(versions.into_iter().map(|(id, version)| Precondition::Version { id, version }))
    }

    /// Writes these.
    #[must_use]
    pub fn write(mut self, writes: impl IntoIterator<Item = Write>) -> Self {
        self.writes.extend(writes);
        self
    }

    /// Makes these changes of leases.
    #[must_use]
    pub fn lease(mut self, leases: impl IntoIterator<Item = LeaseOp>) -> Self {
        self.leases.extend(leases);
        self
    }

    /// Leaves these audit records.
    #[must_use]
    pub fn audit(mut self, bodies: impl IntoIterator<Item = AuditValue>) -> Self {
        self.audits.extend(bodies.into_iter().map(|body| (None, body)));
        self
    }

    /// Leaves these audit records under their keys, on the condition that there is nothing yet: what is repeated
    /// leaves no second one.
    #[must_use]
    pub fn audit_under(mut self, audits: impl IntoIterator<Item = (String, AuditValue)>) -> Self {
        for (key, body) in audits {
            let id = RecordId::new(AUDIT, key.clone());
            self.preconditions.push(Precondition::Version { id, version: Version(0) });
            self.audits.push((Some(key), body));
        }
        self
    }

    /// Has the store make it once, however often it is repeated.
    #[must_use]
    pub fn once(self, node_id: &str, action: &str, id: String, hash: u64) -> Self {
        let key = IdempotencyKey { principal: node_id.to_owned(), method: action.to_owned(), id };
        self.answering(Some(Idempotency { key, request_hash: hash, answer: Bytes::new() }))
    }

    /// Has the store keep an answer for whoever asks for the same again.
    #[must_use]
    pub fn answering(mut self, idempotency: Option<Idempotency>) -> Self {
        self.idempotency = idempotency;
        self
    }

    /// A record that it writes and that is of none of these kinds.
    pub(crate) fn foreign_to(&self, kinds: &[RecordKind]) -> Option<&RecordId> {
        self.writes.iter().map(Write::id).find(|id| !kinds.contains(&id.kind))
    }
}
