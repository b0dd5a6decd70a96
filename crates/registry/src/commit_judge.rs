//! Judgement of commits: whether one may be made, before the store is asked.

use async_trait::async_trait;
use omnirelay_store::{Epoch, Revision, Write};
use omnirelay_wire::fault::Fault;

use crate::view::View;

/// Commit that is about to be made.
#[derive(Clone, Copy, Debug)]
pub struct JudgedCommit<'a> {
    /// `<object>.<verb>`, as the audit trail calls it.
    pub action: &'a str,
    pub epoch: Epoch,
    /// What it writes, besides audit records.
    pub writes: &'a [Write],
}

/// Judge of the commits of a daemon.
#[async_trait]
pub trait CommitJudge: Send + Sync {
    /// Lets a commit pass; may wait a moment until it can.
    ///
    /// # Errors
    /// The fault that whoever asked for it is told; nothing is changed.
    async fn judge(
        &self,
        view: &View,
        commit: &JudgedCommit<'_>,
    ) -> Result<Box<dyn CommitPassage>, Box<Fault>>;
}

/// Passage that a commit has been given. Where it is dropped without a word nobody knows what became of the commit: it may still be made.
pub trait CommitPassage: Send {
    /// The store has made the commit, at this revision of this epoch.
    fn made(self: Box<Self>, epoch: Epoch, revision: Revision);

    /// The commit was not made, and will not be; what it repeats may have been, long ago.
    fn not_made(self: Box<Self>);
}
