//! Tokens rise over the life of a scope, whatever became of the store; terms rise in an epoch.

use std::collections::{BTreeMap, BTreeSet};

use super::{Findings, Rule};
use crate::history::{Event, Grant, History, How, Recorded};

/// What was granted and ended, each once however often it was read.
pub(super) struct Grants<'a> {
    /// In the order of epochs (as they were met) and revisions.
    pub granted: Vec<(&'a Grant, &'a Recorded)>,
    pub ended: Vec<End<'a>>,
}

/// An end of a lease, as it was told first.
pub(super) struct End<'a> {
    pub scope: &'a str,
    pub epoch: u64,
    pub revision: u64,
    pub token: u64,
    pub how: How,
    pub told: &'a Recorded,
}

impl Grants<'_> {
    /// The first grant of this token.
    pub(super) fn of(&self, scope: &str, token: u64) -> Option<&(&Grant, &Recorded)> {
        self.granted.iter().find(|(grant, _)| grant.scope == scope && grant.token == token)
    }
}

pub(super) fn check<'a>(history: &'a History, found: &mut Findings) -> Grants<'a> {
    let epochs = epochs(history);
    let granted = granted(history, &epochs, found);
    let scopes: BTreeSet<_> = granted.iter().map(|(grant, _)| grant.scope.as_str()).collect();
    for scope in scopes {
        check_scope(granted.iter().filter(|(grant, _)| grant.scope == scope), found);
    }
    let ended = ended(history);
    found.summary.epochs = epochs.len();
    found.summary.grants = granted.len();
    found.summary.ends = ended.len();
    Grants { granted, ended }
}

/// Each epoch and its place in the order in which they were met.
fn epochs(history: &History) -> BTreeMap<u64, usize> {
    let mut places = BTreeMap::new();
    for recorded in &history.events {
        if let Event::Granted(Grant { epoch, .. }) | Event::Ended { epoch, .. } = &recorded.event {
            let place = places.len();
            places.entry(*epoch).or_insert(place);
        }
    }
    places
}

fn granted<'a>(
    history: &'a History,
    epochs: &BTreeMap<u64, usize>,
    found: &mut Findings,
) -> Vec<(&'a Grant, &'a Recorded)> {
    let mut granted: BTreeMap<_, (&Grant, &Recorded)> = BTreeMap::new();
    for recorded in &history.events {
        let Event::Granted(grant) = &recorded.event else { continue };
        let place = (epochs.get(&grant.epoch), grant.revision, &grant.scope);
        let (first, told) = *granted.entry(place).or_insert((grant, recorded));
        if first != grant {
            let says = format!("revision {} of epoch {} was read in two ways", grant.revision, grant.epoch);
            found.violation(Rule::Grants, says, &[told, recorded]);
        }
    }
    granted.into_values().collect()
}

fn ended(history: &History) -> Vec<End<'_>> {
    let mut seen = BTreeSet::new();
    let mut ended = Vec::new();
    for told in &history.events {
        if let Event::Ended { scope, epoch, revision, token, how } = &told.event
            && seen.insert((scope, *epoch, *token))
        {
            let (epoch, revision, token, how) = (*epoch, *revision, *token, *how);
            ended.push(End { scope, epoch, revision, token, how, told });
        }
    }
    ended
}

fn check_scope<'a, 'b: 'a>(
    grants: impl Iterator<Item = &'a (&'b Grant, &'b Recorded)>,
    found: &mut Findings,
) {
    let mut greatest: Option<(&Grant, &Recorded)> = None;
    let mut last: Option<(&Grant, &Recorded)> = None;
    for (grant, told) in grants {
        let (scope, token) = (&grant.scope, grant.token);
        if let Some((before, told_before)) = greatest.filter(|(before, _)| before.token >= token) {
            let says = if before.token == token {
                let (old, new) = (&before.node, &grant.node);
                format!("token {token} of scope `{scope}` was given to `{old}` and again to `{new}`")
            } else {
                format!("the token of scope `{scope}` fell from {} to {token}", before.token)
            };
            found.violation(Rule::Grants, says, &[told_before, told]);
        }
        if let Some((before, told_before)) = last
            && before.epoch == grant.epoch
            && before.term >= grant.term
        {
            let says = format!(
                "the term of scope `{scope}` went from {} to {} within epoch {}",
                before.term, grant.term, grant.epoch
            );
            found.violation(Rule::Grants, says, &[told_before, told]);
        }
        greatest = greatest.filter(|(before, _)| before.token >= token).or(Some((grant, told)));
        last = Some((grant, told));
    }
}
