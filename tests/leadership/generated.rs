//! Good histories by the dozen.

use std::time::Duration;

use crate::chance::Chance;
use crate::checker::{AtLeast, Bounds};
use crate::history::{Action, Event, Fault, Gate, Grant, History, How, Outcome, Place};
use crate::recorder::Recorder;
use crate::replay::assert_kept;

pub(crate) const SCOPE: &str = "orders";
const NODES: [&str; 3] = ["a", "b", "c"];
const TURNS: u64 = 8;
const LEADERLESS_MAX: Duration = Duration::from_secs(5);
/// A turn of a leader lasts longer than the bound, and a gap between two less.
const TRUST_US: u64 = 2_750_000;

struct Generator {
    chance: Chance,
    recorder: Recorder,
    epoch: u64,
    revision: u64,
    term: u64,
    token: u64,
    node: &'static str,
    /// The leader before, who still has its token.
    stale: Option<(&'static str, u64)>,
}

/// A run of one scope in which everything was as it should be.
pub(crate) fn good(seed: u64) -> History {
    let mut run = Generator {
        chance: Chance::of(seed),
        recorder: Recorder::simulated(),
        epoch: 100,
        revision: 0,
        term: 0,
        token: 1000,
        node: NODES[0],
        stale: None,
    };
    let leaderless_max_us = LEADERLESS_MAX.as_micros() as u64;
    run.recorder.push(Event::Run { what: format!("generated from {seed}"), leaderless_max_us });
    for turn in 0..TURNS {
        run.begin(turn);
        run.lead();
        run.end();
    }
    let until_us = run.recorder.now_us();
    run.recorder.push(Event::CandidateLives { scope: SCOPE.into(), from_us: 0, until_us });
    run.recorder.history()
}

impl Generator {
    fn pass(&mut self, ms: u64, less_than_ms_more: u64) {
        let more = self.chance.below(less_than_ms_more);
        self.recorder.advance(Duration::from_millis(ms + more));
    }

    fn audit(&self, action: Action) {
        let (epoch, term) = (self.epoch, self.term);
        self.recorder.push(Event::Audited { scope: SCOPE.into(), epoch, term, action });
    }

    fn begin(&mut self, turn: u64) {
        // Never the one before, so that each turn has a successor who is another.
        self.stale = (turn > 0).then_some((self.node, self.token));
        let shift = turn + self.chance.below(2);
        let others: Vec<_> = NODES.into_iter().filter(|node| *node != self.node).collect();
        self.node = others[shift as usize % others.len()];
        self.term += 1;
        self.token += 1 + self.chance.below(50);
        self.revision += 1 + self.chance.below(3);
        let grant = Grant {
            scope: SCOPE.into(),
            epoch: self.epoch,
            revision: self.revision,
            term: self.term,
            token: self.token,
            node: self.node.into(),
            session: format!("session:{}#{turn}", self.node),
        };
        self.recorder.push(Event::Granted(grant.clone()));
        if self.chance.below(3) == 0 {
            // Another reader of the log.
            self.recorder.push(Event::Granted(grant));
        }
        self.audit(Action::Granted);
        let until_us = self.recorder.now_us() + TRUST_US;
        self.believe(|node, scope, token| Event::BeginLead { node, scope, token, until_us });
    }

    fn believe(&self, event: impl FnOnce(String, String, u64) -> Event) {
        self.recorder.push(event(self.node.to_owned(), SCOPE.to_owned(), self.token));
    }

    fn lead(&mut self) {
        for _ in 0..6 {
            self.write(Gate::Store, self.node, self.token, Outcome::Accepted);
            self.write(Gate::Resource("disk".into()), self.node, self.token, Outcome::Accepted);
            self.pass(500, 1_000);
            if let Some((node, token)) = self.stale {
                self.write(Gate::Store, node, token, Outcome::Refused);
            }
            if self.chance.below(4) == 0 {
                self.write(Gate::Store, self.node, self.token, Outcome::Unknown);
            }
            self.maybe_pause();
            let until_us = self.recorder.now_us() + TRUST_US;
            self.believe(|node, scope, token| Event::KeepLead { node, scope, token, until_us });
        }
    }

    fn write(&mut self, gate: Gate, node: &'static str, token: u64, outcome: Outcome) {
        let is_commit = gate == Gate::Store && outcome == Outcome::Accepted;
        let sent = self.recorder.sending(gate, node, SCOPE, token);
        self.pass(0, 20);
        if is_commit && self.chance.below(2) == 0 {
            self.revision += 1;
            sent.committed(&self.recorder, Place { epoch: self.epoch, revision: self.revision });
        } else {
            sent.returned(&self.recorder, outcome);
        }
    }

    fn maybe_pause(&mut self) {
        if self.chance.below(8) == 0 {
            self.fault(Fault::Pause, Some(self.node));
            self.pass(0, 1_000);
            self.fault(Fault::Resume, Some(self.node));
        }
    }

    fn fault(&self, what: Fault, node: Option<&str>) -> u64 {
        self.recorder.push(Event::Fault { what, node: node.map(str::to_owned) })
    }

    fn end(&mut self) {
        match self.chance.below(4) {
            0 => {
                self.believe(|node, scope, token| Event::EndLead { node, scope, token });
                self.revision += 1;
                let (scope, epoch, revision, token) = (SCOPE.into(), self.epoch, self.revision, self.token);
                self.recorder.push(Event::Ended { scope, epoch, revision, token, how: How::Released });
                self.audit(Action::Ended);
            }
            1 => {
                self.fault(Fault::Kill, Some(self.node));
                self.pass(3_000, 1);
            }
            2 => {
                let from_us = self.fault(Fault::Flush, None);
                self.pass(4_000, 1);
                let until_us = self.recorder.now_us();
                self.recorder.push(Event::NoGrants { why: "quarantine".into(), from_us, until_us });
                (self.epoch, self.revision, self.term) = (self.epoch + 1, 0, 0);
            }
            // It does not hear from the store, and runs out.
            _ => self.pass(3_000, 1),
        }
        self.pass(0, 1_000);
    }
}

pub(crate) fn bounds() -> Bounds {
    let turns = TURNS as usize;
    let at_least = AtLeast {
        grants: turns,
        accepted: 12 * turns,
        refused: 6 * (turns - 1),
        beliefs: turns,
        audited: turns,
        due: Duration::from_secs(24),
    };
    Bounds { leaderless_max: LEADERLESS_MAX, handover_max: Duration::ZERO, at_least }
}

pub(crate) const SEEDS: u64 = 60;

#[test]
fn good_histories_pass() {
    for seed in 0..SEEDS {
        assert_kept(&format!("generated from {seed}"), &good(seed), &bounds());
    }
}
