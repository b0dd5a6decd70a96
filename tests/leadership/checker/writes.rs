//! What gates let through: at each of them, tokens never fall in real time.

use std::collections::BTreeMap;

use super::grants::Grants;
use super::{Findings, Rule};
use crate::history::{Event, Gate, History, How, Outcome, Place, Recorded, Write};

type Seen<'a> = (&'a Write, &'a Recorded);

pub(super) fn check(history: &History, grants: &Grants<'_>, found: &mut Findings) {
    let mut accepted: BTreeMap<(&Gate, &str), Vec<Seen<'_>>> = BTreeMap::new();
    for recorded in &history.events {
        let Event::Wrote(write) = &recorded.event else { continue };
        match write.outcome {
            Outcome::Refused => found.summary.refused += 1,
            Outcome::Unknown => found.summary.unknown += 1,
            Outcome::Accepted => {
                found.summary.accepted += 1;
                check_granted(write, recorded, grants, found);
                accepted.entry((&write.gate, &write.scope)).or_default().push((write, recorded));
            }
        }
    }
    for writes in accepted.into_values() {
        check_order(writes, found);
    }
}

fn check_granted(write: &Write, recorded: &Recorded, grants: &Grants<'_>, found: &mut Findings) {
    let Write { node, scope, token, invoked_us, gate, .. } = write;
    let Some((grant, told)) = grants.of(scope, *token) else {
        let says = format!("{gate} accepted token {token} of scope `{scope}`, which nobody was ever granted");
        return found.violation(Rule::Writes, says, &[recorded]);
    };
    if grant.node != *node {
        let says =
            format!("{gate} accepted token {token} from `{node}`, but `{}` was granted it", grant.node);
        found.violation(Rule::Writes, says, &[told, recorded]);
    }
    // A gate outside hears of an end only through a greater token.
    if *gate != Gate::Store {
        return;
    }
    let ends = grants.ended.iter().filter(|end| end.scope == scope && end.token == *token);
    let successors = grants.granted.iter().filter(|(next, _)| next.scope == *scope && next.token > *token);
    let over = ends.map(|end| end.told).chain(successors.map(|(_, told)| *told));
    if let Some(over) = over.filter(|over| over.at_us < *invoked_us).min_by_key(|over| over.at_us) {
        let says = format!("{gate} accepted token {token} of scope `{scope}` after its end");
        found.violation(Rule::Writes, says, &[over, recorded]);
    }
    if let Some(place) = write.place {
        check_place(write, place, recorded, grants, found);
    }
}

/// Where the log says which came first, the real time of either does not matter.
fn check_place(write: &Write, place: Place, recorded: &Recorded, grants: &Grants<'_>, found: &mut Findings) {
    let before = |epoch, revision| epoch == place.epoch && revision < place.revision;
    let releases = grants.ended.iter().filter(|end| {
        let is_its = end.scope == write.scope && end.token == write.token && end.how == How::Released;
        is_its && before(end.epoch, end.revision)
    });
    let successors = grants.granted.iter().filter(|(next, _)| {
        next.scope == write.scope && next.token > write.token && before(next.epoch, next.revision)
    });
    if let Some(over) = releases.map(|end| end.told).chain(successors.map(|(_, told)| *told)).next() {
        let (token, scope, revision) = (write.token, &write.scope, place.revision);
        let says =
            format!("token {token} of scope `{scope}` was accepted in revision {revision}, behind its end");
        found.violation(Rule::Writes, says, &[over, recorded]);
    }
}

/// The writes of one gate and scope. Only one that had returned before another was sent comes
/// before it.
fn check_order(mut by_start: Vec<Seen<'_>>, found: &mut Findings) {
    let mut by_end = by_start.clone();
    by_start.sort_by_key(|(write, _)| write.invoked_us);
    by_end.sort_by_key(|(write, _)| write.returned_us);
    let mut ends = by_end.into_iter().peekable();
    let mut greatest: Option<Seen<'_>> = None;
    for (write, recorded) in by_start {
        while let Some(over) = ends.next_if(|(over, _)| over.returned_us < write.invoked_us) {
            greatest = greatest.filter(|(before, _)| before.token >= over.0.token).or(Some(over));
        }
        if let Some((before, recorded_before)) = greatest.filter(|(before, _)| before.token > write.token) {
            let says = format!(
                "{} accepted token {} of scope `{}` after token {}",
                write.gate, write.token, write.scope, before.token
            );
            found.violation(Rule::Writes, says, &[recorded_before, recorded]);
        }
    }
}
