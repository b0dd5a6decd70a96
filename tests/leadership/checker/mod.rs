//! Checks a history for what leadership promises, and says in words what does not hold.

mod audits;
mod beliefs;
mod grants;
mod leaders;
mod spans;
mod writes;

use std::fmt;
use std::time::Duration;

pub(crate) use spans::{Span, union};

use crate::history::{Event, History, Recorded};

/// What a run was promised to keep, and how much it must hold to prove anything.
#[derive(Clone, Debug)]
pub(crate) struct Bounds {
    /// How long a scope with a living candidate may be without a leader, the time in which the
    /// store granted nothing not counted.
    pub leaderless_max: Duration,
    /// How long whoever gave a scope away may take itself for the leader after that: as long as a
    /// service needs to hear of it from its daemon. Zero where it is the node itself that is recorded.
    pub handover_max: Duration,
    pub at_least: AtLeast,
}

/// How much of each a history must hold, so that an empty one does not pass.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct AtLeast {
    pub grants: usize,
    pub accepted: usize,
    pub refused: usize,
    pub beliefs: usize,
    pub audited: usize,
    /// Time in which a leader was due: a candidate lived and the store could grant.
    pub due: Duration,
}

/// What was checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    pub epochs: usize,
    pub grants: usize,
    pub ends: usize,
    pub accepted: usize,
    pub refused: usize,
    pub unknown: usize,
    pub beliefs: usize,
    pub faults: usize,
    /// Time in which a leader was due, over all scopes.
    pub due_us: u64,
    pub leaderless_longest_us: u64,
    /// How long somebody who had given a scope away took itself for the leader beside its successor.
    pub handover_longest_us: u64,
    /// How many audit records were compared; `None`: the history has none, nothing was.
    pub audited: Option<usize>,
}

/// Which promise was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rule {
    /// Tokens rise across epochs, terms within one; a token has one node and one session.
    Grants,
    /// Accepted tokens never fall, and were granted to whoever showed them.
    Writes,
    /// No two nodes take themselves for the leader of a scope at once.
    Beliefs,
    /// A scope with a living candidate gets a leader.
    Leaders,
    /// Each transition has one audit record.
    Audits,
    /// The history holds too little to prove anything.
    Enough,
}

/// A promise that was broken: how, and the events that show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    pub rule: Rule,
    pub says: String,
    pub events: Vec<Recorded>,
}

/// What a rule counts and finds.
#[derive(Default)]
struct Findings {
    summary: Summary,
    violations: Vec<Violation>,
}

/// Checks `history`.
///
/// # Errors
/// Every violation that was found, in the order of the rules.
pub(crate) fn check(history: &History, bounds: &Bounds) -> Result<Summary, Vec<Violation>> {
    let mut found = Findings::default();
    let is_fault = |recorded: &&Recorded| matches!(recorded.event, Event::Fault { .. });
    found.summary.faults = history.events.iter().filter(is_fault).count();
    let grants = grants::check(history, &mut found);
    writes::check(history, &grants, &mut found);
    let beliefs = beliefs::check(history, &grants, bounds, &mut found);
    leaders::check(history, &beliefs, bounds, &mut found);
    audits::check(history, &grants, &mut found);
    found.demand(&bounds.at_least);
    if found.violations.is_empty() { Ok(found.summary) } else { Err(found.violations) }
}

/// All of `violations`, for a failure's message.
pub(crate) fn in_words(violations: &[Violation]) -> String {
    violations.iter().map(|violation| format!("{violation}\n")).collect()
}

impl Findings {
    fn violation(&mut self, rule: Rule, says: String, events: &[&Recorded]) {
        let events = events.iter().copied().cloned().collect();
        self.violations.push(Violation { rule, says, events });
    }

    fn demand(&mut self, at_least: &AtLeast) {
        let summary = &self.summary;
        let due_us = u64::try_from(at_least.due.as_micros()).unwrap_or(u64::MAX);
        let demands = [
            ("grants", summary.grants as u64, at_least.grants as u64),
            ("accepted writes", summary.accepted as u64, at_least.accepted as u64),
            ("refused writes", summary.refused as u64, at_least.refused as u64),
            ("beliefs", summary.beliefs as u64, at_least.beliefs as u64),
            ("audit records", summary.audited.unwrap_or(0) as u64, at_least.audited as u64),
            ("us in which a leader was due", summary.due_us, due_us),
        ];
        for (what, found, wanted) in demands.into_iter().filter(|(_, found, wanted)| found < wanted) {
            self.violation(
                Rule::Enough,
                format!("{found} {what}, at least {wanted} were to be checked"),
                &[],
            );
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.rule, self.says)?;
        self.events.iter().try_for_each(|event| write!(f, "\n  {event}"))
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { epochs, grants, ends, accepted, refused, unknown, beliefs, faults, .. } = self;
        write!(
            f,
            "{grants} grants and {ends} ends in {epochs} epochs, {beliefs} beliefs, {faults} faults; "
        )?;
        write!(f, "writes: {accepted} accepted, {refused} refused, {unknown} unknown; ")?;
        let (due_ms, longest_ms) = (self.due_us / 1000, self.leaderless_longest_us / 1000);
        write!(f, "a leader was due for {due_ms} ms and missed for {longest_ms} ms at most; ")?;
        if self.handover_longest_us > 0 {
            write!(f, "a hand-over was heard of after {} ms at most; ", self.handover_longest_us / 1000)?;
        }
        match self.audited {
            Some(records) => write!(f, "{records} audit records"),
            None => f.write_str("audit records not checked: none in the history"),
        }
    }
}
