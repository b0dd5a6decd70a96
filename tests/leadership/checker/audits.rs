//! Every transition left one audit record, and nothing else did.

use std::collections::BTreeMap;

use super::grants::Grants;
use super::{Findings, Rule};
use crate::history::{Action, Event, History, How, Recorded};

type Transition<'a> = (&'a str, u64, u64, Action);

struct Tally<'a> {
    /// What made it; `None`: nothing that the history knows.
    made: Option<&'a Recorded>,
    /// False: only whoever saw it can have written it down, and need not.
    due: bool,
    records: Vec<&'a Recorded>,
}

pub(super) fn check(history: &History, grants: &Grants<'_>, found: &mut Findings) {
    let mut tallies = transitions(grants);
    let mut audited = 0;
    for recorded in &history.events {
        let Event::Audited { scope, epoch, term, action } = &recorded.event else { continue };
        audited += 1;
        let tally = tallies.entry((scope, *epoch, *term, *action));
        tally.or_insert(Tally { made: None, due: false, records: Vec::new() }).records.push(recorded);
    }
    if audited == 0 {
        return;
    }
    found.summary.audited = Some(audited);
    for ((scope, epoch, term, action), tally) in tallies {
        let what = format!("scope `{scope}`, epoch {epoch}, term {term}, {action:?}");
        let events: Vec<_> = tally.made.into_iter().chain(tally.records.iter().copied()).collect();
        let says = match (tally.made, tally.records.len()) {
            (None, _) => format!("audited, but it never happened: {what}"),
            (Some(_), 0) if tally.due => format!("no audit record: {what}"),
            (Some(_), 0 | 1) => continue,
            (Some(_), records) => format!("{records} audit records for one transition: {what}"),
        };
        found.violation(Rule::Audits, says, &events);
    }
}

fn transitions<'a>(grants: &Grants<'a>) -> BTreeMap<Transition<'a>, Tally<'a>> {
    let mut tallies = BTreeMap::new();
    for (grant, told) in &grants.granted {
        let tally = Tally { made: Some(*told), due: true, records: Vec::new() };
        tallies.insert((grant.scope.as_str(), grant.epoch, grant.term, Action::Granted), tally);
    }
    for end in &grants.ended {
        let of_end = |grant: &crate::history::Grant| {
            grant.epoch == end.epoch && grant.scope == end.scope && grant.token == end.token
        };
        if let Some((grant, _)) = grants.granted.iter().find(|(grant, _)| of_end(grant)) {
            let tally = Tally { made: Some(end.told), due: end.how == How::Released, records: Vec::new() };
            tallies.insert((end.scope, end.epoch, grant.term, Action::Ended), tally);
        }
    }
    tallies
}
