//! Closed loops: clients that each send the version they last saw, all at once, for as long as they are let.
//!
//! A barrier of equal requests meets a fault that needs a change *between two readings* of one decision next to
//! never; clients that go on from what they were told, through several doors of several daemons, meet it within
//! seconds. What they were told is judged twice: of each record by its versions, and of those that only the clients
//! write by the search for an order that explains all of it.
//!
//! Each test runs for some seconds, or for `OMNIRELAY_LOOPS_SECONDS`; its chance begins with `OMNIRELAY_LOOPS_SEED`,
//! or with another number each time, which is printed.

mod api;
mod daemons;
mod embedded;
mod grpc;
mod judge;
mod judge_tests;
mod memory;
mod planted;
mod redis;
mod run;

use std::time::Duration;

use async_trait::async_trait;

/// A record as a reader found it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub version: u64,
    /// What a client wrote last; 0: none has.
    pub value: u64,
}

/// What became of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// It was made, and left this version.
    Done { version: u64 },
    /// The record has this version, and not the one that was demanded.
    Refused { actual: u64 },
    /// It was not made, for a reason that is not the record.
    Failed(String),
    /// It was made once, or not at all.
    Unknown(String),
}

/// A way to some records: one protocol of one daemon, or a registry in this process.
#[async_trait]
pub(crate) trait Door: Send + Sync {
    /// Reads a record.
    async fn read(&self, record: &Record) -> anyhow::Result<Seen>;

    /// Writes `value`, which nobody else writes, if the record still has the version `expected`.
    async fn change(&self, record: &Record, expected: u64, value: u64) -> Told;
}

/// What is changed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Record {
    /// The labels of a node; the node itself writes its record too.
    Peer(String),
    /// A scope that nobody may lead.
    Scope(String),
    /// A register of a node.
    Register(String, String),
    /// In a registry without objects.
    Thing(String),
}

impl Record {
    /// Whether only the clients write it.
    fn is_theirs(&self) -> bool {
        match self {
            Self::Peer(_) => false,
            Self::Scope(_) | Self::Register(..) | Self::Thing(_) => true,
        }
    }
}

/// How long each test runs.
pub(crate) fn time() -> Duration {
    Duration::from_secs(number("OMNIRELAY_LOOPS_SECONDS").unwrap_or(4))
}

/// What chance begins with.
pub(crate) fn seed() -> u64 {
    let seed = number("OMNIRELAY_LOOPS_SEED").unwrap_or_else(|| {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.map_or(1, |since| u64::from(since.subsec_nanos()))
    });
    println!("OMNIRELAY_LOOPS_SEED={seed}");
    seed
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is `{text}`, not a number")))
}
