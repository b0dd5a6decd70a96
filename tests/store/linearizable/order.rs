//! What holds across all records: revisions follow time, and the log says what clients were told.

use std::collections::BTreeMap;

use omnirelay_store::Revision;

use super::history::{Change, Found, History, Key, Logged, Outcome, Span};

/// Wants that no two acknowledged commits have one revision.
pub(super) fn revisions_are_unique(history: &History) -> Result<(), String> {
    let mut known: BTreeMap<Revision, &str> = BTreeMap::new();
    for (change, revision) in made(history) {
        if let Some(other) = known.insert(revision, &change.name) {
            return Err(format!("{other} and {} both have revision {revision}", change.name));
        }
    }
    Ok(())
}

/// Wants that what began after something else was answered has the greater revision, over all keys;
/// a page, and a commit that changed nothing, have the head of their time.
pub(super) fn revisions_follow_time(history: &History) -> Result<(), String> {
    let mut placed: Vec<(Revision, u8, Span, &str)> = Vec::new();
    for change in &history.changes {
        match change.outcome {
            Outcome::Done { revision, version: Some(_) } => {
                placed.push((revision, 0, change.span, &change.name));
            }
            Outcome::Done { revision, version: None } => {
                placed.push((revision, 1, change.span, &change.name));
            }
            Outcome::Refused { .. } | Outcome::Failed | Outcome::Unknown => {}
        }
    }
    // A commit whose answer was lost is where the log has it.
    for change in history.changes.iter().filter(|change| change.outcome == Outcome::Unknown) {
        let logged = history.logged().iter().filter(|logged| logged.writer == change.name);
        placed.extend(logged.map(|logged| (logged.revision, 0, change.span, change.name.as_str())));
    }
    placed.extend(history.reads.iter().map(|read| (read.head, 1, read.span, read.name.as_str())));
    // Of one revision the commit comes first; heads are in no order among themselves.
    placed.sort_by_key(|(revision, rank, ..)| (*revision, *rank));
    let mut latest: Option<(u64, &str, Revision)> = None;
    for beside in placed.chunk_by(|one, other| (one.0, one.1) == (other.0, other.1)) {
        for (revision, _, span, name) in beside {
            if let Some((invoked, other, before)) = latest.filter(|(invoked, ..)| *invoked > span.answered) {
                return Err(format!(
                    "{name} {span} has revision {revision}, and {other}, which began at {invoked}, {before}"
                ));
            }
        }
        let begun = beside.iter().map(|(revision, _, span, name)| (span.invoked, *name, *revision));
        latest = latest.into_iter().chain(begun).max();
    }
    Ok(())
}

/// Wants that the log holds exactly the commits that were acknowledged, and of those whose outcome is
/// unknown each at most once.
pub(super) fn log_is_what_was_told(history: &History) -> Result<(), String> {
    let mut logged: BTreeMap<&str, &Logged> = BTreeMap::new();
    for entry in history.logged() {
        if logged.insert(&entry.writer, entry).is_some() {
            return Err(format!("{} is in the log twice", entry.writer));
        }
    }
    for change in &history.changes {
        let entry = logged.remove(change.name.as_str());
        judge_entry(change, entry).map_err(|what| format!("{} ({}): {what}", change.name, change.call))?;
    }
    match logged.keys().next() {
        Some(stranger) => Err(format!("nobody made the log's entry of {stranger}")),
        None => Ok(()),
    }
}

fn judge_entry(change: &Change, entry: Option<&Logged>) -> Result<(), String> {
    let fits = |entry: &Logged| entry.key == change.key && entry.found.value == change.call.put;
    match (change.outcome, entry) {
        (Outcome::Done { version: Some(_), .. }, None) => Err("acknowledged, but not in the log".to_owned()),
        (Outcome::Done { revision, version: Some(version) }, Some(entry)) => {
            let same = entry.revision == revision && entry.found.version == version && fits(entry);
            if same {
                Ok(())
            } else {
                Err(format!("acknowledged as {:?}, logged as {entry:?}", change.outcome))
            }
        }
        (Outcome::Unknown, Some(entry)) if !fits(entry) => Err(format!("logged as {entry:?}")),
        (Outcome::Unknown, _) => Ok(()),
        (Outcome::Done { version: None, .. } | Outcome::Refused { .. } | Outcome::Failed, None) => Ok(()),
        (Outcome::Done { version: None, .. } | Outcome::Refused { .. } | Outcome::Failed, Some(_)) => {
            Err(format!("it is in the log, but its answer was {:?}", change.outcome))
        }
    }
}

/// Wants that every page is what the log says at the page's head.
pub(super) fn pages_are_snapshots(history: &History) -> Result<(), String> {
    let mut log: Vec<&Logged> = history.logged().iter().collect();
    log.sort_by_key(|entry| entry.revision);
    for read in &history.reads {
        let mut at_head: BTreeMap<Key, Found> = BTreeMap::new();
        at_head.extend(log.iter().take_while(|entry| entry.revision <= read.head).map(|e| (e.key, e.found)));
        for (key, found) in &read.found {
            let expected = at_head.get(key).copied();
            if *found != expected {
                let (name, head) = (&read.name, read.head);
                return Err(format!(
                    "{name} at head {head}: key {key} is {found:?}, the log says {expected:?}"
                ));
            }
        }
    }
    Ok(())
}

/// The commits that were acknowledged and changed something.
fn made(history: &History) -> impl Iterator<Item = (&Change, Revision)> {
    history.changes.iter().filter_map(|change| match change.outcome {
        Outcome::Done { revision, version: Some(_) } => Some((change, revision)),
        Outcome::Done { version: None, .. }
        | Outcome::Refused { .. }
        | Outcome::Failed
        | Outcome::Unknown => None,
    })
}
