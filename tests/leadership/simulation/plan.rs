//! What happens to a mesh, when, and to whom: all of it from the seed.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::link::Cut;
use crate::broken::Defect;
use crate::chance::Chance;

const MS: Duration = Duration::from_millis(1);

/// A simulation before it is run.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub seed: u64,
    pub length: Duration,
    pub nodes: usize,
    pub scopes: usize,
    /// Of 1000 calls, so many are lost on either way, and so many take 400 ms.
    pub losses: u64,
    pub slow: u64,
    /// The longest time between two faults.
    pub gap_ms: u64,
    pub defect: Defect,
}

/// What is done to the mesh at some moment.
#[derive(Clone, Debug)]
pub(super) enum Act {
    /// Something new goes wrong.
    Next,
    Restart(String),
    Resume(String),
    /// The link of the node is as it was.
    Clear(String),
    ResumeStore,
    FailOver,
    /// Looks whether the late renewal is on its way.
    Await(String, u32),
    /// Withdraws what was ordered of the node, until it is withdrawn.
    Free(String),
}

/// What can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Trouble {
    Kill,
    Stop,
    Pause,
    Cut(Cut),
    LogStalls,
    LateRenewal,
    Losses,
    Slow,
    StorePause,
    Flush,
    FailOver,
    Cordon,
    Drain,
    Transfer,
    StepDown,
}

impl Plan {
    pub(super) fn of(seed: u64, length: Option<Duration>, defect: Defect) -> Self {
        let mut chance = Chance::of(seed ^ 0x91a7);
        let mut one_of = |list: &[u64]| list[chance.below(list.len() as u64) as usize];
        let nodes = one_of(&[3, 3, 4, 5]) as usize;
        let scopes = one_of(&[1, 1, 2, 3, 5, 8, 30]) as usize;
        let (losses, slow) = (one_of(&[0, 2, 10]), one_of(&[0, 5, 20]));
        let gap_ms = one_of(&[2_000, 5_000, 12_000]);
        let length = length.unwrap_or(MS * one_of(&[120_000, 180_000, 300_000]) as u32);
        // What costs most time is how much there is to look at.
        let length = if scopes > 8 { length.min(MS * 120_000) } else { length };
        Self { seed, length, nodes, scopes, losses, slow, gap_ms, defect }
    }
}

/// What is to be done at which time, in milliseconds from the beginning.
#[derive(Default)]
pub(super) struct Agenda {
    acts: BTreeMap<(u64, u64), Act>,
    entered: u64,
}

impl Agenda {
    pub(super) fn enter(&mut self, at_ms: u64, act: Act) {
        self.entered += 1;
        self.acts.insert((at_ms, self.entered), act);
    }

    pub(super) fn next(&mut self) -> Option<(u64, Act)> {
        self.acts.pop_first().map(|((at_ms, _), act)| (at_ms, act))
    }
}

impl Trouble {
    pub(super) fn of(chance: &mut Chance) -> Self {
        let cuts = [Cut::Refuses, Cut::TimesOut, Cut::Hangs, Cut::Deaf];
        match chance.below(100) {
            0..12 => Self::Kill,
            12..18 => Self::Stop,
            18..30 => Self::Pause,
            30..46 => Self::Cut(cuts[chance.below(4) as usize]),
            46..52 => Self::LogStalls,
            52..60 => Self::LateRenewal,
            60..64 => Self::Losses,
            64..68 => Self::Slow,
            68..72 => Self::StorePause,
            72..75 => Self::Flush,
            75..79 => Self::FailOver,
            79..84 => Self::Cordon,
            84..90 => Self::Drain,
            90..96 => Self::Transfer,
            _ => Self::StepDown,
        }
    }

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Stop => "stop",
            Self::Pause => "pause",
            Self::Cut(_) => "partition",
            Self::LogStalls => "log stalls",
            Self::LateRenewal => "late renewal",
            Self::Losses => "losses",
            Self::Slow => "slow",
            Self::StorePause => "store pause",
            Self::Flush => "flush",
            Self::FailOver => "failover",
            Self::Cordon => "cordon",
            Self::Drain => "drain",
            Self::Transfer => "transfer",
            Self::StepDown => "step-down",
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, nodes, scopes, losses, slow, gap_ms, .. } = self;
        write!(f, "seed {seed}: {nodes} nodes, {scopes} scopes, {} s, ", self.length.as_secs())?;
        write!(f, "{losses} ‰ lost, {slow} ‰ slow, a fault every {gap_ms} ms at most")
    }
}
