//! A planned switch: another server takes over from the one that has the store.

use std::time::Duration;

/// Order of a switch: what it is to do.
#[derive(Clone, Debug, Default)]
pub struct SwitchOrder {
    /// The server that must have the store, as `host:port`; `None`: whichever has it.
    pub from: Option<String>,
    /// True: find out what is in the way, and do nothing.
    pub dry_run: bool,
}

/// Outcome of a switch, or the way in which it would begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SwitchOutcome {
    /// Who had the store, as `host:port`.
    pub from: String,
    /// Who has it now; `None` after a dry run.
    pub to: Option<String>,
    /// Who could take over, the way they were found.
    pub standbys: Vec<StandbyServer>,
    /// For how long no change was taken.
    pub paused: Duration,
}

/// A server that can take over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StandbyServer {
    /// As `host:port`.
    pub at: String,
    /// How many bytes of the log of changes it lacked.
    pub behind_bytes: u64,
}

/// Obstacle in the way of a switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SwitchObstacle {
    /// Nothing can take the place of this store.
    Alone,
    /// Another server has it than the order names.
    OtherMaster,
    /// No server could take over now.
    NoStandby,
    NotPermitted,
    /// Those who decide who has the store do not begin.
    NotBegun,
}

/// Error of a switch that was not made.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum SwitchError {
    /// Nothing was changed, and nothing will be while this is so.
    #[error("{what}")]
    Refused {
        obstacle: SwitchObstacle,
        what: String,
        /// What to do.
        hint: String,
    },
    /// Nothing was changed. Try again.
    #[error("{0}")]
    Unavailable(String),
    /// It was begun, and nobody knows how it ended.
    #[error("{0}")]
    OutcomeUnknown(String),
}

impl SwitchError {
    /// Of a store that no other server could take over.
    pub fn alone(what: &str) -> Self {
        Self::Refused {
            obstacle: SwitchObstacle::Alone,
            what: format!("no other server could take over: {what}"),
            hint: "a switch is for Redis behind Sentinels; docs/guides/operations.md says how the others are replaced"
                .to_owned(),
        }
    }
}
