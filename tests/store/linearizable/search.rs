//! Looks for an order of the calls on one record that explains every answer.
//!
//! The search of Wing and Gong: of the calls that no other precedes, take one that the register allows
//! and go on from there, else go back. Lowe's addition keeps it bounded in practice: a set of calls
//! taken and the state they led to are never tried twice. A call that was never answered need not be
//! taken at all, and is only where it can explain something.

use std::collections::{BTreeSet, HashSet};

use super::history::{NEVER, Span};
use super::model::{Register, Step};

/// One call on the record.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    pub name: String,
    pub span: Span,
    pub step: Step,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Linearizable,
    /// No order explains the answers; how far the best one came.
    Violated(String),
    /// Given up: neither is known.
    Undecided,
}

/// Sets of calls that are tried before the search gives up.
const TRIED_MAX: usize = 1_000_000;
/// Calls before the one that cannot be explained that are shown.
const SHOWN_MAX: usize = 12;

/// Judges the calls on one record that began as nothing.
pub(crate) fn judge(operations: &[Operation]) -> Verdict {
    let mut search = Search::new(operations);
    let mut at = search.next[HEAD];
    while at != END {
        if search.tried.len() > TRIED_MAX {
            return Verdict::Undecided;
        }
        match search.events[at] {
            Event::Call(operation) => match search.take(operation) {
                true => at = search.next[HEAD],
                false => at = search.next[at],
            },
            // Whoever was answered must have been taken by now.
            Event::Answer(operation) => {
                search.remember(operation);
                match search.give_back() {
                    Some(call) => at = search.next[call],
                    None => return Verdict::Violated(search.report()),
                }
            }
        }
    }
    Verdict::Linearizable
}

#[derive(Clone, Copy)]
enum Event {
    Call(usize),
    Answer(usize),
}

/// Places in the list of events; the others follow them.
const HEAD: usize = 0;
const END: usize = 1;

struct Search<'a> {
    operations: &'a [Operation],
    events: Vec<Event>,
    /// The list of events that are not taken out, in the order of their time.
    next: Vec<usize>,
    before: Vec<usize>,
    /// Where the call and the answer of each operation are; `HEAD`: it was never answered.
    places: Vec<(usize, usize)>,
    state: Register,
    taken: Vec<u64>,
    /// Of what is not taken: the version that it needs, and which it is.
    needed: BTreeSet<(u64, usize)>,
    /// What was taken, and the state before.
    path: Vec<(usize, Register)>,
    tried: HashSet<(Vec<u64>, Register)>,
    /// The longest path, and the answer that ended it.
    best: (Vec<usize>, Option<usize>),
}

fn needed((number, operation): (usize, &Operation)) -> Option<(u64, usize)> {
    Some((operation.step.needs()?, number))
}

impl<'a> Search<'a> {
    fn new(operations: &'a [Operation]) -> Self {
        let mut timed: Vec<(u64, u8, usize)> = Vec::new();
        for (number, operation) in operations.iter().enumerate() {
            // At one instant a call comes before an answer, so that both count as concurrent.
            timed.push((operation.span.invoked, 0, number));
            if operation.span.answered != NEVER {
                timed.push((operation.span.answered, 1, number));
            }
        }
        timed.sort_unstable();
        let count = timed.len() + 2;
        let mut search = Self {
            operations,
            events: vec![Event::Call(0); count],
            next: vec![END; count],
            before: vec![HEAD; count],
            places: vec![(HEAD, HEAD); operations.len()],
            state: Register::default(),
            taken: vec![0; operations.len().div_ceil(64)],
            needed: operations.iter().enumerate().filter_map(needed).collect(),
            path: Vec::new(),
            tried: HashSet::new(),
            best: (Vec::new(), None),
        };
        let mut last = HEAD;
        for (index, (_, which, number)) in timed.into_iter().enumerate() {
            let place = index + 2;
            if which == 0 {
                search.events[place] = Event::Call(number);
                search.places[number].0 = place;
            } else {
                search.events[place] = Event::Answer(number);
                search.places[number].1 = place;
            }
            search.next[last] = place;
            search.before[place] = last;
            last = place;
        }
        search.before[END] = last;
        search
    }

    /// Takes an operation next, if the register allows it and it leads to something new.
    fn take(&mut self, operation: usize) -> bool {
        let asked = &self.operations[operation];
        let Some(state) = self.state.after(&asked.step) else { return false };
        if asked.span.answered == NEVER && !self.explains_something(state) {
            return false;
        }
        self.flip(operation);
        if !self.tried.insert((self.taken.clone(), state)) {
            self.flip(operation);
            return false;
        }
        if let Some(need) = needed((operation, asked)) {
            self.needed.remove(&need);
        }
        self.path.push((operation, self.state));
        self.state = state;
        let (call, answer) = self.places[operation];
        self.unlink(call);
        if answer != HEAD {
            self.unlink(answer);
        }
        true
    }

    /// Whether a call that was never answered can be of use by leading to `state`: it must change the
    /// record, and not beyond what an answer still to be explained needs.
    fn explains_something(&self, state: Register) -> bool {
        let passed = self.needed.first().is_some_and(|(version, _)| *version < state.version());
        state != self.state && !passed
    }

    /// Gives the operation taken last back; the place of its call.
    fn give_back(&mut self) -> Option<usize> {
        let (operation, state) = self.path.pop()?;
        self.state = state;
        self.needed.extend(needed((operation, &self.operations[operation])));
        self.flip(operation);
        let (call, answer) = self.places[operation];
        if answer != HEAD {
            self.link(answer);
        }
        self.link(call);
        Some(call)
    }

    fn flip(&mut self, operation: usize) {
        self.taken[operation / 64] ^= 1 << (operation % 64);
    }

    fn unlink(&mut self, place: usize) {
        let (before, next) = (self.before[place], self.next[place]);
        self.next[before] = next;
        self.before[next] = before;
    }

    fn link(&mut self, place: usize) {
        let (before, next) = (self.before[place], self.next[place]);
        self.next[before] = place;
        self.before[next] = place;
    }

    fn remember(&mut self, operation: usize) {
        if self.path.len() >= self.best.0.len() {
            self.best = (self.path.iter().map(|(operation, _)| *operation).collect(), Some(operation));
        }
    }

    fn report(&self) -> String {
        let (path, stuck) = &self.best;
        let state = path.iter().fold(Register::default(), |state, &operation| {
            state.after(&self.operations[operation].step).unwrap_or(state)
        });
        let line =
            |operation: &Operation| format!("{} {} {}", operation.span, operation.name, operation.step);
        let mut lines =
            vec![format!("{} of {} calls can be ordered, the last:", path.len(), self.operations.len())];
        let shown = path.iter().skip(path.len().saturating_sub(SHOWN_MAX));
        lines.extend(shown.map(|&operation| format!("  {}", line(&self.operations[operation]))));
        lines.push(format!("the record is then {:?}, which does not explain:", state.found()));
        lines.extend(stuck.map(|operation| format!("  {}", line(&self.operations[operation]))));
        let stuck_at = stuck.map_or(0, |operation| self.operations[operation].span.answered);
        let open =
            (0..self.operations.len()).filter(|number| Some(*number) != *stuck && !path.contains(number));
        let open = open.map(|number| &self.operations[number]).filter(|other| other.span.invoked < stuck_at);
        lines.push("nor do these before it, which were not answered yet:".to_owned());
        lines.extend(open.take(SHOWN_MAX).map(|other| format!("  {}", line(other))));
        lines.join("\n")
    }
}
