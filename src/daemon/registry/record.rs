//! What a caller did that no record of a mirrored kind tells of.

use std::time::Duration;

use omnirelay_store::{Commit, CommitError, StoreError};
use omnirelay_wire::pb::omnirelay::store::v1::AuditValue;

use super::Registry;
use super::follow::in_time;
use crate::daemon::audit;
use crate::daemon::surface::Caller;

/// How long an audit record may take by itself.
const RECORD_TIMEOUT: Duration = Duration::from_secs(2);

/// What is to be recorded.
pub struct Deed<'a> {
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
    pub async fn record(&self, caller: &Caller, deed: Deed<'_>) -> Result<(), CommitError> {
        if !self.view().head().caught_up || self.view().silence().is_some() {
            return Err(StoreError::Unavailable("it is silent".into()).into());
        }
        let body = AuditValue {
            actor: caller.principal.to_string(),
            action: deed.action.to_owned(),
            object: deed.object,
            reason: deed.reason.to_owned(),
            node_id: self.node_id().to_owned(),
            request_id: caller.request_id.to_string(),
            dry_run: deed.dry_run,
            changes: deed.changes,
            ..AuditValue::default()
        };
        let commit = Commit {
            epoch: self.view().head().epoch,
            writes: vec![audit::write(self.view().now(), &body, self.audit_mac())],
            writer: self.node_id().to_owned(),
            ..Commit::default()
        };
        in_time(RECORD_TIMEOUT, self.commit(commit)).await.map(drop)
    }
}
