//! What callers ask of records: what their mutations have in common.

use std::sync::Arc;

use omnirelay_store::{Kind, RecordId};
use omnirelay_wire::fault::Fault;
use omnirelay_wire::rpc::Rpc;

use super::{check_reason, expected};
use crate::daemon::identity::caller::Caller;
use crate::daemon::registry::Registry;
use crate::daemon::registry::act::Reader;
use crate::daemon::registry::mutate::{Answer, Decision, Mutation};
use crate::daemon::registry::view::ViewRecord;

/// What a request says besides the change itself.
pub struct Asked<'a> {
    pub caller: &'a Caller,
    pub rpc: Rpc,
    /// Of the object, as its noun names it.
    pub id: String,
    pub reason: String,
    pub expected_version: Option<u64>,
    pub dry_run: bool,
    /// Of the whole request.
    pub hash: u64,
}

/// The answer of a mutation, which tells what was changed.
pub trait Told: Answer {
    /// Says what changes, a line each.
    fn set_changes(&mut self, changes: &[String]);
}

impl Asked<'_> {
    /// Has what was found of a record decided on, and what comes of it committed.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for the reason and the version; those of `decide` and of [`Registry::mutate`].
    pub async fn of_record<A: Told>(
        &self,
        registry: &Registry,
        record: RecordId,
        decide: impl Fn(Option<&Arc<ViewRecord>>) -> Result<Decision<A>, Fault>,
    ) -> Result<A, Fault> {
        let found = record.clone();
        self.of_records(registry, record, &[], |reader| decide(reader.get(&found).as_ref())).await
    }

    /// The same of a record and of others that change with it, which are of the kinds `also`.
    ///
    /// # Errors
    /// As of [`Self::of_record`].
    pub async fn of_records<A: Told>(
        &self,
        registry: &Registry,
        record: RecordId,
        also: &'static [Kind],
        decide: impl Fn(&Reader<'_>) -> Result<Decision<A>, Fault>,
    ) -> Result<A, Fault> {
        check_reason(&self.reason)?;
        let mutation = Mutation {
            caller: self.caller,
            action: self.rpc.audit_action,
            object: record,
            also,
            reason: &self.reason,
            expected: expected(self.caller, self.expected_version)?,
            dry_run: self.dry_run,
            request_hash: self.hash,
        };
        registry
            .mutate(mutation, |reader: &Reader<'_>| {
                let mut decision = decide(reader)?;
                decision.answer.set_changes(&decision.changes);
                Ok(decision)
            })
            .await
    }
}

/// Implements [`Answer`] and [`Told`] for the answer of a mutation: in which field it shows the object, and which times of
/// the object's record. One that shows no object has the first line alone.
macro_rules! answers {
    ($answer:ty) => {
        $crate::daemon::objects::asked::answers! { @impl $answer, |_, _| {} }
    };
    ($answer:ty: $shown:ident, $($at:ident),+) => {
        $crate::daemon::objects::asked::answers! { @impl $answer, |answer: &mut $answer, record| {
            if let Some(shown) = &mut answer.$shown {
                shown.version = record.version.0;
                $(shown.$at = Some($crate::daemon::objects::timestamp(record.$at));)+
            }
        } }
    };
    (@impl $answer:ty, $show:expr) => {
        impl $crate::daemon::registry::mutate::Answer for $answer {
            fn set_cursor(&mut self, cursor: $crate::daemon::registry::cursor::Cursor) {
                self.cursor = cursor.to_string();
            }

            fn settle(
                &mut self,
                outcome: &$crate::daemon::registry::mutate::Settled,
                entry: Option<&omnirelay_store::LogEntry>,
                object: &omnirelay_store::RecordId,
            ) {
                self.set_cursor(outcome.cursor);
                self.changed = outcome.changed;
                self.dry_run = outcome.dry_run;
                let show: fn(&mut $answer, &omnirelay_store::Record) = $show;
                if let Some(record) = $crate::daemon::objects::written(entry, object) {
                    show(self, record);
                }
            }
        }

        impl $crate::daemon::objects::asked::Told for $answer {
            fn set_changes(&mut self, changes: &[String]) {
                self.changes = changes.to_vec();
            }
        }
    };
}

pub(crate) use answers;
