//! Audit records of what a caller did that no record of a mirrored kind tells of.

use omnirelay_identity::caller::Caller;
use omnirelay_store::{CommitError, StoreError};
use omnirelay_wire::pb::omnirelay::store::v1::AuditValue;

use super::Registry;
use super::act::{CommitPlan, DaemonAct, WriteAuthority};

/// Action that the audit trail is to record.
pub struct AuditedAction<'a> {
    /// `<object>.<verb>`, such as `operations.cancel`.
    pub action: &'static str,
    /// As `<noun>/<name>`.
    pub object: String,
    pub reason: &'a str,
    pub dry_run: bool,
    pub changes: Vec<String>,
}

impl Registry {
    /// Commits an audit record alone: what it tells of changes nothing in the store.
    ///
    /// # Errors
    /// Those of the store, at once while it is silent; the record may be there all the same if the outcome is
    /// unknown.
    pub async fn record(&self, caller: &Caller, deed: AuditedAction<'_>) -> Result<(), CommitError> {
        if !self.view().head().caught_up || self.view().silence().is_some() {
            return Err(StoreError::Unavailable("it is silent".into()).into());
        }
        let act = DaemonAct::new(deed.action, [], WriteAuthority::Unfenced);
        self.attempt(&act, CommitPlan::default().audit([self.body_of(caller, deed)])).await.map(drop)
    }

    /// Body of the audit record of an action.
    pub fn body_of(&self, caller: &Caller, deed: AuditedAction<'_>) -> AuditValue {
        AuditValue {
            actor: caller.principal.to_string(),
            action: deed.action.to_owned(),
            object: deed.object,
            reason: deed.reason.to_owned(),
            node_id: self.node_id().to_owned(),
            request_id: caller.request_id.to_string(),
            dry_run: deed.dry_run,
            changes: deed.changes,
            ..AuditValue::default()
        }
    }

    /// Leaves an audit record of something that this node did or saw, once under this id: a reply that was lost leaves
    /// no second one.
    pub(super) async fn record_once(
        &self,
        action: &'static str,
        body: AuditValue,
        id: String,
        hash: u64,
    ) -> Result<(), CommitError> {
        let act = DaemonAct::new(action, [], WriteAuthority::Unfenced);
        let plan = CommitPlan::default().audit([body]).once(self.node_id(), action, id, hash);
        self.attempt(&act, plan).await.map(drop)
    }
}
