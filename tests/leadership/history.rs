//! What is recorded of a run, real or simulated: one list of events in one order.
//!
//! An event was pushed when what it tells had happened: what stands before it in the order had
//! happened by then. Times are microseconds since the recorder began, by its own monotonic clock.

use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use omnirelay_store::{Epoch, GroupRef, LogEntry};
use serde::{Deserialize, Serialize};

/// A run in the order of its events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct History {
    pub events: Vec<Recorded>,
}

/// An event and its place: both numbers rise strictly.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Recorded {
    pub at_us: u64,
    pub seq: u64,
    #[serde(flatten)]
    pub event: Event,
}

/// Something that happened, or a fact that whoever ran it knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum Event {
    /// What was run, and the bound that it was promised to keep; a replay uses it.
    Run { what: String, leaderless_max_us: u64 },
    /// From this event on the node takes itself for the leader, until `until_us` by its own check
    /// ([`u64::MAX`]: until it says otherwise).
    BeginLead { node: String, scope: String, token: u64, until_us: u64 },
    /// The node found itself still leading: a renewal, or a check before it acts.
    KeepLead { node: String, scope: String, token: u64, until_us: u64 },
    /// The node knows that it leads no more.
    EndLead { node: String, scope: String, token: u64 },
    /// A new holder, as the log of the store (or the answer of the commit) has it.
    Granted(Grant),
    /// An end, as the log or whoever made it knows it. A grant to a successor needs none. The log
    /// tells of releases only: the revision of another end says nothing.
    Ended { scope: String, epoch: u64, revision: u64, token: u64, how: How },
    /// A write that showed its token at a gate.
    Wrote(Write),
    /// What was done to the run. A kill ends the beliefs of its node, a pause suspends them.
    Fault { what: Fault, node: Option<String> },
    /// Somebody who wants to lead the scope lives and reaches the store.
    CandidateLives { scope: String, from_us: u64, until_us: u64 },
    /// The store was away, or in quarantine: nobody could be granted anything.
    NoGrants { why: String, from_us: u64, until_us: u64 },
    /// The audit trail has a record of this transition.
    Audited { scope: String, epoch: u64, term: u64, action: Action },
}

/// A scope given to a new holder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Grant {
    pub scope: String,
    pub epoch: u64,
    pub revision: u64,
    pub term: u64,
    pub token: u64,
    pub node: String,
    pub session: String,
}

/// A write at a gate, recorded when it was over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Write {
    pub gate: Gate,
    pub node: String,
    pub scope: String,
    pub token: u64,
    /// Before it was sent.
    pub invoked_us: u64,
    /// After its answer came; of no meaning where the outcome is unknown.
    pub returned_us: u64,
    pub outcome: Outcome,
    /// The commit that it became, where it was accepted by the store and that is known.
    pub place: Option<Place>,
}

/// A place in the log of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    pub epoch: u64,
    pub revision: u64,
}

/// Who judged a write.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Gate {
    /// The fence of a commit: the token must be current and its session live.
    Store,
    /// Something outside that remembers the greatest token it has seen.
    Resource(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    Accepted,
    Refused,
    /// It may have been accepted, then or at any later time.
    Unknown,
}

/// How a lease ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum How {
    Released,
    Expired,
}

/// What an audit record says of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Action {
    Granted,
    Ended,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Fault {
    Kill,
    Pause,
    Resume,
    Partition,
    Heal,
    Flush,
    Failover,
    ClockJump,
}

impl Event {
    /// What an entry of the log says of leases. `node_of` names the node of a session.
    pub(crate) fn of_log(epoch: Epoch, entry: &LogEntry, node_of: impl Fn(&GroupRef) -> String) -> Vec<Self> {
        let (epoch, revision) = (epoch.0, entry.revision.0);
        let of_lease = |lease: &omnirelay_store::Lease| {
            let (scope, token) = (lease.scope.clone(), lease.token);
            if lease.released {
                return Self::Ended { scope, epoch, revision, token, how: How::Released };
            }
            let (node, session) = (node_of(&lease.holder), lease.holder.to_string());
            Self::Granted(Grant { scope, epoch, revision, term: lease.term, token, node, session })
        };
        entry.leases.iter().map(of_lease).collect()
    }
}

impl History {
    /// A JSON object per line.
    pub(crate) fn to_lines(&self) -> String {
        self.events.iter().map(|recorded| format!("{recorded}\n")).collect()
    }

    /// Reads what [`History::to_lines`] wrote.
    pub(crate) fn from_lines(lines: &str) -> Result<Self> {
        let read = |(at, line): (usize, &str)| {
            serde_json::from_str(line).with_context(|| format!("line {} is no event: {line}", at + 1))
        };
        let events: Vec<Recorded> = lines.lines().enumerate().map(read).collect::<Result<_>>()?;
        let rises = |pair: &[Recorded]| pair[0].at_us < pair[1].at_us && pair[0].seq < pair[1].seq;
        if let Some(pair) = events.windows(2).find(|pair| !rises(pair)) {
            anyhow::bail!("the order does not rise from {} to {}", pair[0], pair[1]);
        }
        Ok(Self { events })
    }

    /// Writes a file that `OMNIRELAY_HISTORY` names to a later run.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        fs::write(path, self.to_lines()).with_context(|| format!("cannot write {}", path.display()))
    }

    pub(crate) fn read(path: &Path) -> Result<Self> {
        let lines = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::from_lines(&lines).with_context(|| format!("in {}", path.display()))
    }

    /// The bound that the run was promised to keep, if it says so.
    pub(crate) fn leaderless_max_us(&self) -> Option<u64> {
        self.events.iter().find_map(|recorded| {
            let Event::Run { leaderless_max_us, .. } = &recorded.event else { return None };
            Some(*leaderless_max_us)
        })
    }
}

/// As a line of the file.
impl fmt::Display for Recorded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store => f.write_str("the store"),
            Self::Resource(name) => write!(f, "resource `{name}`"),
        }
    }
}
