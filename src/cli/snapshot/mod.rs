//! `omnirelay snapshot`: the registry of a mesh in a file, and back.

mod file;
mod inspect;
mod restore;
mod save;

use super::entry::verbs;
use super::schema::documents::{message, own};
use super::schema::schemas;

verbs! {
    /// Keep the registry of a mesh in a file, and put it back
    #[command(arg_required_else_help = true)]
    "snapshot" SnapshotArgs {
        Save: save::SnapshotSaveArgs,
        Inspect: inspect::SnapshotInspectArgs,
        Restore: restore::SnapshotRestoreArgs,
    }
    &[
        own("snapshot", "snapshot inspect", schemas::snapshot),
        message("snapshot-line", "snapshot save", "omnirelay.mesh.control.v1.SnapshotItem"),
        own("snapshot-restored", "snapshot restore", schemas::snapshot_restored),
    ]
}
