//! What whoever runs a simulation knows of it: when a node was well and might have led.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use crate::checker::{Span, union};
use crate::history::Event;
use crate::recorder::Recorder;

#[derive(Default)]
pub(super) struct Facts(Mutex<BTreeMap<String, Node>>);

#[derive(Default)]
struct Node {
    /// How many things are wrong with it.
    ills: usize,
    /// Cordoned or draining, as the store has it.
    barred: bool,
    well_since: Option<u64>,
    spans: Vec<Span>,
}

impl Node {
    fn settle(&mut self, now_us: u64) {
        let well = self.ills == 0 && !self.barred;
        match self.well_since {
            None if well => self.well_since = Some(now_us),
            Some(since) if !well => {
                self.spans.push(Span::new(since, now_us));
                self.well_since = None;
            }
            None | Some(_) => {}
        }
    }
}

impl Facts {
    /// A node that is well from now on.
    pub(super) fn enter(&self, node: &str, now_us: u64) {
        self.change(node, now_us, |_| {});
    }

    /// Something is wrong with a node from now on.
    pub(super) fn ail(&self, node: &str, now_us: u64) {
        self.change(node, now_us, |node| node.ills += 1);
    }

    /// That is over.
    pub(super) fn heal(&self, node: &str, now_us: u64) {
        self.change(node, now_us, |node| node.ills -= 1);
    }

    /// Whether an operator has barred it from leading.
    pub(super) fn bar(&self, node: &str, barred: bool, now_us: u64) {
        self.change(node, now_us, |node| node.barred = barred);
    }

    pub(super) fn is_barred(&self, node: &str) -> bool {
        self.nodes().get(node).is_some_and(|node| node.barred)
    }

    pub(super) fn nobody_is_barred(&self, now_us: u64) {
        let names: Vec<String> = self.nodes().keys().cloned().collect();
        names.iter().for_each(|name| self.bar(name, false, now_us));
    }

    /// Says of each scope when a candidate lived. A stretch is that of one node, and the next begins a little
    /// later: otherwise candidates that come and go would count as one that stays.
    pub(super) fn tell(&self, scopes: &[String], recorder: &Recorder) {
        let now_us = recorder.now_us();
        let mut spans = Vec::new();
        for node in self.nodes().values() {
            spans.extend(node.spans.iter().copied());
            spans.extend(node.well_since.map(|since| Span::new(since, now_us)));
        }
        for Span { from_us, until_us } in one_after_the_other(spans) {
            for scope in scopes {
                recorder.push(Event::CandidateLives { scope: scope.clone(), from_us, until_us });
            }
        }
    }

    fn change(&self, node: &str, now_us: u64, change: impl FnOnce(&mut Node)) {
        let mut nodes = self.nodes();
        let node = nodes.entry(node.to_owned()).or_default();
        change(node);
        node.settle(now_us);
    }

    fn nodes(&self) -> MutexGuard<'_, BTreeMap<String, Node>> {
        self.0.lock().unwrap()
    }
}

/// Of spans that overlap, the one that lasts longest, up to its end, and then the next.
fn one_after_the_other(mut spans: Vec<Span>) -> Vec<Span> {
    spans.retain(|span| span.length_us() > 0);
    spans.sort_unstable();
    let mut chosen: Vec<Span> = Vec::new();
    let mut at_us = 0;
    loop {
        let now = spans.iter().filter(|span| span.from_us <= at_us && span.until_us > at_us + 1);
        if let Some(longest) = now.max_by_key(|span| span.until_us) {
            chosen.push(Span::new(at_us.max(longest.from_us), longest.until_us));
            at_us = longest.until_us + 1;
            continue;
        }
        match spans.iter().filter(|span| span.from_us > at_us).map(|span| span.from_us).min() {
            Some(next) => at_us = next,
            None => return chosen,
        }
    }
}

#[test]
fn candidates_that_come_and_go_are_told_apart() {
    let spans = |list: &[(u64, u64)]| list.iter().map(|(from, to)| Span::new(*from, *to)).collect::<Vec<_>>();
    let cases: [(&str, &[_], &[_]); 4] = [
        ("one", &[(3, 9)], &[(3, 9)]),
        ("inside another", &[(3, 9), (4, 6)], &[(3, 9)]),
        ("one takes over", &[(0, 50), (10, 90)], &[(0, 50), (51, 90)]),
        ("a gap", &[(0, 5), (8, 12)], &[(0, 5), (8, 12)]),
    ];
    for (what, from, told) in cases {
        let chosen = one_after_the_other(spans(from));
        assert_eq!(chosen, spans(told), "{what}");
        assert!(union(chosen.clone()) == chosen, "{what}: none touches the next");
    }
}
