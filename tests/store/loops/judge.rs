//! What clients were told, and whether a registry may tell them that.

use std::collections::BTreeMap;

use super::{Record, Seen, Told};
use crate::linearizable::{Call, Found, NEVER, Operation, Outcome, Span, Step, Verdict, search};

/// One change of one client.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub record: Record,
    pub span: Span,
    /// The version that it demanded.
    pub expected: u64,
    /// What it wrote; no other change wrote it.
    pub value: u64,
    pub told: Told,
}

/// What a client read.
#[derive(Clone, Debug)]
pub(super) struct Read {
    pub record: Record,
    pub seen: Seen,
}

/// Everything that happened in one round.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    pub before: BTreeMap<Record, Seen>,
    pub changes: Vec<Change>,
    pub reads: Vec<Read>,
    pub after: BTreeMap<Record, Seen>,
}

/// Judges each record by its versions, and those that only clients write by an order that explains the answers.
///
/// # Errors
/// What no registry may do, in words.
pub(super) fn judge(history: &History) -> Result<(), String> {
    for (record, before) in &history.before {
        let changes: Vec<&Change> =
            history.changes.iter().filter(|change| change.record == *record).collect();
        versions_were_made_once(record, &changes)?;
        versions_follow_time(record, &changes)?;
        let reads = history.reads.iter().filter(|read| read.record == *record).map(|read| read.seen);
        let after = history.after.get(record).copied();
        values_are_of_their_versions(record, &changes, reads.chain(after))?;
        if record.is_theirs() {
            an_order_explains(record, *before, after, &changes)?;
        }
    }
    Ok(())
}

/// The newest version that a client was told to have made of a record; 0: none.
pub(super) fn newest(history: &History, record: &Record) -> u64 {
    let of_record = history.changes.iter().filter(|change| change.record == *record);
    of_record.filter_map(made).max().unwrap_or_default()
}

fn made(change: &Change) -> Option<u64> {
    match change.told {
        Told::Done { version } => Some(version),
        Told::Refused { .. } | Told::Failed(_) | Told::Unknown(_) => None,
    }
}

/// Of the changes that demanded one version at most one succeeded, and it left the next one.
fn versions_were_made_once(record: &Record, changes: &[&Change]) -> Result<(), String> {
    let mut by_expected: BTreeMap<u64, &Change> = BTreeMap::new();
    for change in changes {
        let Some(version) = made(change) else { continue };
        if version != change.expected + 1 {
            return Err(format!(
                "{record:?}: a change that demanded version {} left version {version}: it has overwritten what it never \
                 saw: {change:?}",
                change.expected
            ));
        }
        if let Some(other) = by_expected.insert(change.expected, change) {
            return Err(format!(
                "{record:?}: two changes were made on version {}: {other:?} and {change:?}",
                change.expected
            ));
        }
    }
    Ok(())
}

/// What was answered before something else began has the lower version.
fn versions_follow_time(record: &Record, changes: &[&Change]) -> Result<(), String> {
    let mut made: Vec<(u64, &Change)> =
        changes.iter().filter_map(|change| Some((made(change)?, *change))).collect();
    made.sort_unstable_by_key(|(version, _)| *version);
    // Of all that are newer, the earliest answer.
    let mut earliest: Option<&Change> = None;
    for (version, change) in made.into_iter().rev() {
        if let Some(newer) = earliest.filter(|newer| newer.span.answered < change.span.invoked) {
            return Err(format!(
                "{record:?}: version {version} began after a newer one was answered: {change:?}, {newer:?}"
            ));
        }
        if earliest.is_none_or(|newer| change.span.answered < newer.span.answered) {
            earliest = Some(change);
        }
    }
    Ok(())
}

/// Whoever reads a version finds what the change wrote that made it.
fn values_are_of_their_versions(
    record: &Record,
    changes: &[&Change],
    reads: impl Iterator<Item = Seen>,
) -> Result<(), String> {
    let made: BTreeMap<u64, &Change> =
        changes.iter().filter_map(|change| Some((made(change)?, *change))).collect();
    for seen in reads {
        if let Some(change) = made.get(&seen.version).filter(|change| change.value != seen.value) {
            return Err(format!("{record:?}: {seen:?} was read, but that version was made by {change:?}"));
        }
    }
    Ok(())
}

/// There is an order of the changes in which each answer is what a single record would have given. A refusal says no
/// more than that nothing was done: a daemon may refuse by what it knew a moment ago.
fn an_order_explains(
    record: &Record,
    before: Seen,
    after: Option<Seen>,
    changes: &[&Change],
) -> Result<(), String> {
    // The search begins with nothing; what was there before counts as version 1.
    let base = before.version.saturating_sub(1);
    let mut operations = Vec::new();
    if before.version > 0 {
        let call = Call { put: Some(before.value), expected: Some(0) };
        operations.push(operation("before", Span { invoked: 0, answered: 0 }, call, Some(1)));
    }
    for (number, change) in changes.iter().enumerate() {
        let left = match change.told {
            Told::Done { version } => Some(version.saturating_sub(base)),
            Told::Unknown(_) => None,
            Told::Refused { .. } | Told::Failed(_) => continue,
        };
        let span = match left {
            Some(_) => change.span,
            None => Span { answered: NEVER, ..change.span },
        };
        let expected = Some(change.expected.saturating_sub(base));
        let call = Call { put: Some(change.value), expected };
        operations.push(operation(&format!("change {number}"), span, call, left));
    }
    if let Some(after) = after {
        let found = Found { version: after.version.saturating_sub(base), value: Some(after.value) };
        let step = Step::Read((found.version > 0).then_some(found));
        let span = Span { invoked: NEVER - 2, answered: NEVER - 1 };
        operations.push(Operation { name: "after".to_owned(), span, step });
    }
    match search::judge(&operations) {
        Verdict::Linearizable => Ok(()),
        Verdict::Violated(why) => Err(format!("{record:?} is not linearizable: {why}")),
        Verdict::Undecided => Err(format!("{record:?}: too many orders to try; plan smaller rounds")),
    }
}

fn operation(name: &str, span: Span, call: Call, left: Option<u64>) -> Operation {
    let outcome = match left {
        Some(version) => Outcome::Done { revision: Default::default(), version: Some(version) },
        None => Outcome::Unknown,
    };
    Operation { name: name.to_owned(), span, step: Step::Change(call, outcome) }
}
