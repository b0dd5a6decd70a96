//! The answer of a change: what each has in common, whatever it changed.

use crate::timestamp::Timestamp;

/// An answer that is completed once its commit is known. It is generated for every message with the fields `cursor`,
/// `changed`, `dry_run` and `changes`.
pub trait ChangeAnswer {
    /// Says where the registry stood after the commit.
    fn set_cursor(&mut self, cursor: String);

    /// Says whether anything was changed, and whether the change was only tried.
    fn set_outcome(&mut self, changed: bool, dry_run: bool);

    /// Says what changes, a line each.
    fn set_changes(&mut self, changes: &[String]);

    /// Says of the object that it shows which version its record has, and when that was made and last written. A time of
    /// creation that the object tells itself stays. Nothing happens where no object is shown.
    fn show_record(&mut self, version: u64, created_at: Timestamp, updated_at: Timestamp);
}

include!(concat!(env!("OUT_DIR"), "/change_answers.rs"));
