//! Idempotency: the answers of commits that may be asked for again.

use super::super::{Commit, CommitError, CommitOutcome, IdempotencyKey, Revision, StoreError};
use super::rows::StoredAnswer;
use super::{Step, Table, Tables, TablesMut, keys, rows};

/// Looks for the answer under `key`, with the hash of the request that it answers.
pub(crate) fn recall(
    tables: &impl Tables,
    key: &IdempotencyKey,
) -> Result<Option<(u64, CommitOutcome)>, StoreError> {
    let Some(row) = tables.get(Table::Answers, &keys::answer(key))? else { return Ok(None) };
    let StoredAnswer { request_hash, answer, revision, .. } = rows::answer(row)?;
    Ok(Some((request_hash, CommitOutcome::Replayed { revision, answer })))
}

impl<T: TablesMut> Step<'_, T> {
    /// The answer of the same commit made before, if it was.
    pub(super) fn replay(&self, commit: &Commit) -> Result<Option<CommitOutcome>, CommitError> {
        let Some(idempotency) = &commit.idempotency else { return Ok(None) };
        match recall(self.tables, &idempotency.key)? {
            Some((hash, _)) if hash != idempotency.request_hash => Err(CommitError::IdempotencyReused),
            Some((_, replayed)) => Ok(Some(replayed)),
            None => Ok(None),
        }
    }

    pub(super) fn keep_answer(&mut self, commit: &Commit, revision: Revision) -> Result<(), StoreError> {
        let Some(idempotency) = &commit.idempotency else { return Ok(()) };
        let key = keys::answer(&idempotency.key);
        let answer = StoredAnswer {
            request_hash: idempotency.request_hash,
            answer: idempotency.answer.clone(),
            revision,
            at: self.now,
        };
        self.tables.put(Table::Answers, &key, &rows::answer_row(&answer))?;
        self.tables.put(Table::AnswerTimes, &keys::timed(self.now, &key), &[])?;
        self.state.answers += 1;
        Ok(())
    }
}
