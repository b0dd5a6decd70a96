//! A scope that somebody wants to lead, while the store can grant it, is soon led.

use std::collections::BTreeMap;
use std::time::Duration;

use super::beliefs::Belief;
use super::spans::{Span, union, without};
use super::{Bounds, Findings, Rule};
use crate::history::{Event, History};

pub(super) fn check(history: &History, beliefs: &[Belief<'_>], bounds: &Bounds, found: &mut Findings) {
    let mut wanted: BTreeMap<&str, Vec<Span>> = BTreeMap::new();
    let mut away = Vec::new();
    for recorded in &history.events {
        match &recorded.event {
            Event::CandidateLives { scope, from_us, until_us } => {
                wanted.entry(scope).or_default().push(Span::new(*from_us, *until_us));
            }
            Event::NoGrants { from_us, until_us, .. } => away.push(Span::new(*from_us, *until_us)),
            Event::Run { .. }
            | Event::BeginLead { .. }
            | Event::KeepLead { .. }
            | Event::EndLead { .. }
            | Event::Granted(_)
            | Event::Ended { .. }
            | Event::Wrote(_)
            | Event::Fault { .. }
            | Event::Audited { .. } => {}
        }
    }
    for (scope, wanted) in wanted {
        let due = without(union(wanted), away.clone());
        found.summary.due_us += due.iter().map(|span| span.length_us()).sum::<u64>();
        let led = beliefs.iter().filter(|belief| belief.scope == scope).map(|belief| belief.span).collect();
        for missed in without(due, led) {
            found.miss(scope, missed, bounds.leaderless_max);
        }
    }
}

impl Findings {
    fn miss(&mut self, scope: &str, missed: Span, bound: Duration) {
        let length_us = missed.length_us();
        self.summary.leaderless_longest_us = self.summary.leaderless_longest_us.max(length_us);
        if Duration::from_micros(length_us) > bound {
            let says = format!(
                "scope `{scope}` had no leader from {} us to {} us, {length_us} us, though a candidate lived: at most {} us",
                missed.from_us,
                missed.until_us,
                bound.as_micros()
            );
            self.violation(Rule::Leaders, says, &[]);
        }
    }
}
