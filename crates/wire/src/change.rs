//! The answer of a change: what each has in common, whatever it changed.

use prost::Message;

use crate::timestamp::Timestamp;

/// An answer that is completed once its commit is known. It is generated for every message with the fields `cursor`,
/// `changed`, `dry_run` and `changes`.
pub trait ChangeAnswer: Message + Default + Clone {
    /// Says where the registry stood after the commit.
    fn set_cursor(&mut self, cursor: String);

    /// Says whether anything was changed, and whether the change was only tried.
    fn set_outcome(&mut self, changed: bool, dry_run: bool);

    /// Says what changes, a line each.
    fn set_changes(&mut self, changes: &[String]);

    /// Says of the object that it shows which version its record has, which node wrote it last, and when it was made and last
    /// written. A plan tells itself when it was created. Nothing happens where no object is shown.
    fn show_record(&mut self, version: u64, writer: &str, created_at: Timestamp, updated_at: Timestamp);
}

include!(concat!(env!("OUT_DIR"), "/change_answers.rs"));

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pb::omnirelay::mesh::control::v1 as pb;
    use crate::pb::omnirelay::registers::v1::{Register, RegisterChange};
    use crate::timestamp::timestamp;

    /// A decision guesses the time of the store; its commit knows it.
    #[test]
    fn what_the_record_says_takes_the_place_of_what_was_guessed() {
        let [guessed, created, updated] = [1, 2, 3].map(|at| timestamp(omnirelay_core::time::Millis(at)));
        let shown = Register { created_at: Some(guessed), updated_at: Some(guessed), ..Register::default() };
        let mut answer = RegisterChange { register: Some(shown), ..RegisterChange::default() };
        answer.show_record(7, "a", created, updated);
        let shown = answer.register.unwrap();
        assert_eq!((shown.version, shown.created_at, shown.updated_at), (7, Some(created), Some(updated)));
        assert_eq!(shown.last_writer_id, "a");

        let shown = pb::RebalancePlan { created_at: Some(guessed), ..pb::RebalancePlan::default() };
        let mut answer = pb::PlanChange { plan: Some(shown), ..pb::PlanChange::default() };
        answer.show_record(7, "a", created, updated);
        let shown = answer.plan.unwrap();
        assert_eq!((shown.version, shown.created_at, shown.updated_at), (7, Some(guessed), Some(updated)));
        assert_eq!(shown.last_writer_id, "a");

        // The version of a shard is signed.
        let mut answer = pb::ShardChange { shard: Some(pb::ShardRecord::default()), ..Default::default() };
        answer.show_record(7, "a", created, updated);
        let shown = answer.shard.unwrap();
        assert_eq!((shown.version, shown.last_writer_id.as_str()), (7, "a"));
        assert_eq!(shown.updated_at, Some(updated));
    }
}
