//! Access to a store: credentials that one node has of its own.

use std::fmt;

/// By which a store knows who calls.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    pub username: String,
    pub password: String,
}

/// What became of credentials that were to be taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expelled {
    /// They are gone, and what was opened with them is cut.
    Deleted,
    /// There are none.
    Absent,
    /// This process may not say who uses the store.
    Denied,
}

/// What became of credentials that a node was given before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readmitted {
    /// The store knows them, or others that somebody has given the node since.
    Known,
    /// The store had forgotten them, and knows them again.
    Made,
    /// This process may not say who uses the store.
    Denied,
}

/// Without the password.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("username", &self.username).finish_non_exhaustive()
    }
}
