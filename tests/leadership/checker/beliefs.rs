//! Who took himself for the leader, and when: never two nodes at once.
//!
//! A belief is what the node would find if it looked: it ends at its own deadline, unconfirmed.
//! A process that is stopped looks at nothing, so its belief is suspended; afterwards it counts
//! again where its deadline has not passed, or from its next check on.

use std::collections::BTreeMap;
use std::time::Duration;

use super::grants::Grants;
use super::spans::Span;
use super::{Bounds, Findings, Rule};
use crate::history::{Event, Fault, History, How, Recorded};

/// A stretch of time in which a node would have acted as the leader.
pub(super) struct Belief<'a> {
    pub node: &'a str,
    pub scope: &'a str,
    pub token: u64,
    pub span: Span,
    /// What it began with.
    told: &'a Recorded,
}

struct Open<'a> {
    token: u64,
    from_us: u64,
    until_us: u64,
    told: &'a Recorded,
    /// True: the process is stopped.
    suspended: bool,
}

#[derive(Default)]
struct Reader<'a> {
    open: BTreeMap<(&'a str, &'a str), Open<'a>>,
    beliefs: Vec<Belief<'a>>,
}

pub(super) fn check<'a>(
    history: &'a History,
    grants: &Grants<'_>,
    bounds: &Bounds,
    found: &mut Findings,
) -> Vec<Belief<'a>> {
    let mut reader = Reader::default();
    history.events.iter().for_each(|recorded| reader.read(recorded));
    let mut beliefs = reader.finish(history);
    beliefs.sort_by_key(|belief| belief.span);
    found.summary.beliefs = beliefs.len();
    for (at, belief) in beliefs.iter().enumerate() {
        check_granted(belief, grants, found);
        let later = beliefs[at + 1..].iter().take_while(|later| later.span.from_us < belief.span.until_us);
        for other in later.filter(|later| later.scope == belief.scope && later.node != belief.node) {
            let overlap_us = belief.span.overlap_us(other.span);
            let (earlier, later) = if belief.token < other.token { (belief, other) } else { (other, belief) };
            if is_handed_over(earlier, later, grants) {
                let longest_us = &mut found.summary.handover_longest_us;
                *longest_us = overlap_us.max(*longest_us);
                if Duration::from_micros(overlap_us) <= bounds.handover_max {
                    continue;
                }
            }
            let says = format!(
                "`{}` and `{}` both took themselves for the leader of scope `{}` for {overlap_us} us",
                belief.node, other.node, belief.scope,
            );
            found.violation(Rule::Beliefs, says, &[belief.told, other.told]);
        }
    }
    beliefs
}

/// Whether the lease of the one was given back, before or as the other had its own. Whoever believes what
/// its daemon says hears of that a little later, other than of a lease that runs out.
fn is_handed_over(earlier: &Belief<'_>, later: &Belief<'_>, grants: &Grants<'_>) -> bool {
    let Some((grant, _)) = grants.of(later.scope, later.token) else { return false };
    grants.ended.iter().any(|end| {
        let is_its = end.scope == earlier.scope && end.token == earlier.token;
        is_its && end.how == How::Released && end.epoch == grant.epoch && end.revision <= grant.revision
    })
}

fn check_granted(belief: &Belief<'_>, grants: &Grants<'_>, found: &mut Findings) {
    if let Some((grant, told)) = grants.of(belief.scope, belief.token)
        && grant.node != belief.node
    {
        let says = format!("`{}` acts on the token that `{}` was granted", belief.node, grant.node);
        found.violation(Rule::Beliefs, says, &[told, belief.told]);
    }
}

impl<'a> Reader<'a> {
    fn read(&mut self, recorded: &'a Recorded) {
        match &recorded.event {
            Event::BeginLead { node, scope, token, until_us }
            | Event::KeepLead { node, scope, token, until_us } => {
                self.believe((node, scope), *token, *until_us, recorded);
            }
            Event::EndLead { node, scope, token } => {
                if self.open.get(&(node.as_str(), scope.as_str())).is_some_and(|open| open.token == *token) {
                    self.close((node, scope), recorded.at_us);
                }
            }
            Event::Fault { what, node: Some(node) } => self.fault(*what, node, recorded.at_us),
            Event::Run { .. }
            | Event::Granted(_)
            | Event::Ended { .. }
            | Event::Wrote(_)
            | Event::Fault { node: None, .. }
            | Event::CandidateLives { .. }
            | Event::NoGrants { .. }
            | Event::Audited { .. } => {}
        }
    }

    fn believe(&mut self, of: (&'a str, &'a str), token: u64, until_us: u64, told: &'a Recorded) {
        let goes_on =
            |open: &&mut Open<'_>| open.token == token && !open.suspended && told.at_us <= open.until_us;
        if let Some(open) = self.open.get_mut(&of).filter(goes_on) {
            open.until_us = open.until_us.max(until_us);
            return;
        }
        self.close(of, told.at_us);
        let open = Open { token, from_us: told.at_us, until_us, told, suspended: false };
        self.open.insert(of, open);
    }

    fn fault(&mut self, what: Fault, node: &'a str, at_us: u64) {
        let scopes: Vec<_> = self.open.keys().filter(|(of, _)| *of == node).copied().collect();
        for of in scopes {
            match what {
                Fault::Kill => self.close(of, at_us),
                Fault::Pause => self.suspend(of, at_us),
                Fault::Resume => self.resume(of, at_us),
                Fault::Partition | Fault::Heal | Fault::Flush | Fault::Failover | Fault::ClockJump => {}
            }
        }
    }

    fn suspend(&mut self, of: (&'a str, &'a str), at_us: u64) {
        if let Some(open) = self.open.remove(&of) {
            let suspended = Open { suspended: true, told: open.told, ..open };
            if !open.suspended {
                self.note(of, &open, at_us);
            }
            self.open.insert(of, suspended);
        }
    }

    /// One that named no deadline must look again first.
    fn resume(&mut self, of: (&'a str, &'a str), at_us: u64) {
        if let Some(open) = self.open.get_mut(&of).filter(|open| open.suspended && open.until_us != u64::MAX)
        {
            open.suspended = false;
            open.from_us = at_us;
        }
    }

    fn close(&mut self, of: (&'a str, &'a str), at_us: u64) {
        if let Some(open) = self.open.remove(&of).filter(|open| !open.suspended) {
            self.note(of, &open, at_us);
        }
    }

    fn note(&mut self, (node, scope): (&'a str, &'a str), open: &Open<'a>, at_us: u64) {
        let span = Span::new(open.from_us, at_us.min(open.until_us));
        if span.length_us() > 0 {
            self.beliefs.push(Belief { node, scope, token: open.token, span, told: open.told });
        }
    }

    fn finish(mut self, history: &'a History) -> Vec<Belief<'a>> {
        let end_us = history.events.last().map_or(0, |last| last.at_us);
        let open: Vec<_> = self.open.keys().copied().collect();
        open.into_iter().for_each(|of| self.close(of, end_us));
        self.beliefs
    }
}
