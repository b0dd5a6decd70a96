//! Access to a store: credentials that one node has of its own.

use std::fmt;

use super::RecordKind;

/// Credentials by which a store knows who calls.
#[derive(Clone, PartialEq, Eq)]
pub struct StoreCredentials {
    pub username: String,
    pub password: String,
}

/// Outcome for credentials that were to be taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpelOutcome {
    /// They are gone, and what was opened with them is cut.
    Deleted,
    /// There are none.
    Absent,
    /// This process may not say who uses the store.
    Denied,
}

/// Outcome for credentials that a node was given before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadmitOutcome {
    /// The store knows them, or others that somebody has given the node since.
    Known,
    /// The store had forgotten them, and knows them again.
    Made,
    /// This process may not say who uses the store.
    Denied,
}

/// The kinds whose records a node may write by its own credentials, where a store can tell kinds apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WritableKinds {
    /// All, also those that nobody knows yet.
    All,
    /// Those of `kinds`. What the credentials allow of others stays so, as a later version may have added it, but for the kinds
    /// of `never`. Whatever belongs to no kind may be written as well.
    Only { kinds: Vec<RecordKind>, never: Vec<RecordKind> },
}

/// Outcome for credentials whose rights were to be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RightsSet {
    /// They had these rights.
    Same,
    /// They have them now.
    Changed,
    /// There are no such credentials.
    Absent,
    /// This process may not say who uses the store.
    Denied,
}

/// Without the password.
impl fmt::Debug for StoreCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("username", &self.username).finish_non_exhaustive()
    }
}
