//! Carries a plan out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::facts::Facts;
use super::link::Weather;
use super::node::{Mesh, Node, SESSION_TTL};
use super::orders::{Order, Verb};
use super::plan::{Act, Agenda, Plan, Trouble};
use super::server::{Server, Token};
use super::service::{Resource, write_with};
use crate::chance::Chance;
use crate::history::{Event, Fault, History};
use crate::recorder::Recorder;

const MS: Duration = Duration::from_millis(1);
/// In the end nothing goes wrong any more, and everything must heal.
const CALM: Duration = Duration::from_secs(15);
/// How many tokens of one scope are tried after a fault, and of how many scopes.
const TOKENS_TRIED: usize = 6;
const SCOPES_TRIED: usize = 4;
/// How long the mesh may be without a leader although a candidate is well all the time.
pub(super) const LEADERLESS_MAX: Duration = Duration::from_secs(8);

/// What became of a run.
pub(super) struct Ran {
    pub history: History,
    pub faults: BTreeMap<&'static str, usize>,
    /// What was done and when, in words.
    pub diary: Vec<String>,
    pub length: Duration,
}

pub(super) struct Run {
    plan: Plan,
    mesh: Mesh,
    facts: Arc<Facts>,
    chance: Chance,
    began: Instant,
    agenda: Agenda,
    nodes: BTreeMap<String, Slot>,
    faults: BTreeMap<&'static str, usize>,
    diary: Vec<String>,
    orders: u64,
    store_paused: bool,
    failing_over: bool,
}

struct Slot {
    node: Node,
    up: bool,
    paused: bool,
    /// Something is wrong with its link.
    clouded: bool,
    starts: u64,
}

/// Runs a plan in a runtime of its own, whose time jumps.
pub(super) fn run(plan: &Plan) -> Ran {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(async {
        let mut run = Run::begin(plan);
        run.agenda.enter(5_000, Act::Next);
        run.carry_out().await;
        run.finish()
    })
}

impl Run {
    pub(super) fn begin(plan: &Plan) -> Self {
        let recorder = Arc::new(Recorder::of_runtime());
        let leaderless_max_us = u64::try_from(LEADERLESS_MAX.as_micros()).unwrap();
        recorder.push(Event::Run { what: plan.to_string(), leaderless_max_us });
        let facts = Arc::new(Facts::default());
        let server = Server::new(plan.defect, SESSION_TTL, recorder.clone(), facts.clone());
        let scopes = (0..plan.scopes).map(|at| format!("scope-{at}")).collect();
        let resource = Arc::new(Resource::new(recorder.clone()));
        let mesh = Mesh { server: Arc::new(server), recorder, resource, scopes };
        let mut run = Self {
            plan: plan.clone(),
            mesh,
            facts,
            chance: Chance::of(plan.seed),
            began: Instant::now(),
            agenda: Agenda::default(),
            nodes: BTreeMap::new(),
            faults: BTreeMap::new(),
            diary: Vec::new(),
            orders: 0,
            store_paused: false,
            failing_over: false,
        };
        for at in 0..plan.nodes {
            let id = format!("n{at}");
            let node = run.start(&id, 0);
            run.facts.enter(&id, run.mesh.recorder.now_us());
            let slot = Slot { node, up: true, paused: false, clouded: false, starts: 0 };
            run.nodes.insert(id, slot);
        }
        run
    }

    pub(super) fn finish(self) -> Ran {
        let length = self.began.elapsed();
        self.facts.tell(&self.mesh.scopes, &self.mesh.recorder);
        Ran { history: self.mesh.recorder.history(), faults: self.faults, diary: self.diary, length }
    }

    /// Who was granted this scope last.
    pub(super) fn holder(&self, scope: &str) -> Option<String> {
        let tokens = self.mesh.server.tokens();
        tokens.iter().rev().find(|token| token.scope == scope).map(|token| token.node.clone())
    }

    fn start(&self, id: &str, starts: u64) -> Node {
        let of_node = id.bytes().fold(self.plan.seed, |seed, byte| seed.wrapping_mul(31) + u64::from(byte));
        let node = Node::start(id, &self.mesh, of_node.wrapping_add(starts << 32));
        *node.link.weather() = self.fair();
        node
    }

    /// The weather of every day.
    fn fair(&self) -> Weather {
        Weather { losses: self.plan.losses, slow: self.plan.slow, ..Weather::default() }
    }

    async fn carry_out(&mut self) {
        let until = self.began + self.plan.length;
        while let Some((at_ms, act)) = self.agenda.next() {
            let at = self.began + MS * at_ms as u32;
            sleep_until(at).await;
            if matches!(act, Act::Next) && at >= until {
                continue;
            }
            self.act(act).await;
        }
        sleep_until(Instant::now().max(until) + CALM).await;
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap()
    }

    fn after(&mut self, ms: u64, act: Act) {
        self.agenda.enter(self.now_ms() + ms, act);
    }

    fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.chance.below(most - least)
    }

    fn record(&self, what: Fault, node: Option<&str>) -> u64 {
        self.mesh.recorder.push(Event::Fault { what, node: node.map(str::to_owned) })
    }

    fn ail(&self, node: &str) {
        self.facts.ail(node, self.mesh.recorder.now_us());
    }

    fn heal(&self, node: &str) {
        self.facts.heal(node, self.mesh.recorder.now_us());
    }

    fn slot(&mut self, node: &str) -> &mut Slot {
        self.nodes.get_mut(node).unwrap()
    }

    async fn act(&mut self, act: Act) {
        if !matches!(act, Act::Next | Act::Await(..)) {
            self.diary.push(format!("{} ms: {act:?}", self.now_ms()));
        }
        match act {
            Act::Next => {
                let gap = self.between(200, self.plan.gap_ms);
                self.after(gap, Act::Next);
                return self.trouble().await;
            }
            Act::Restart(node) => self.restart(&node),
            Act::Resume(node) => self.resume(&node),
            Act::Clear(node) => self.clear(&node),
            Act::ResumeStore => self.resume_store(),
            Act::FailOver => self.fail_over().await,
            Act::Await(node, left) => return self.await_late_renewal(node, left),
            Act::Free(node) => return self.free(node),
        }
        self.try_stale_tokens().await;
    }

    async fn trouble(&mut self) {
        let trouble = Trouble::of(&mut self.chance);
        let names: Vec<String> = self.nodes.keys().cloned().collect();
        let node = names[self.chance.below(names.len() as u64) as usize].clone();
        let other = names[self.chance.below(names.len() as u64) as usize].clone();
        let told = format!("{} ms: {trouble:?} {node}, by way of {other}", self.now_ms());
        if !self.begin_trouble(trouble, &node, other).await {
            return;
        }
        self.diary.push(told);
        *self.faults.entry(trouble.word()).or_default() += 1;
    }

    /// False: it cannot be now.
    pub(super) async fn begin_trouble(&mut self, trouble: Trouble, node: &str, other: String) -> bool {
        let Slot { up, paused, clouded, .. } = *self.slot(node);
        let name = node.to_owned();
        match trouble {
            Trouble::Kill | Trouble::Stop if up && !paused => self.end(node, trouble == Trouble::Stop),
            Trouble::Pause if up && !paused => {
                let length = self.between(50, 5_000);
                self.pause(node, length);
            }
            Trouble::Cut(_) | Trouble::LogStalls | Trouble::LateRenewal | Trouble::Losses | Trouble::Slow
                if up && !clouded =>
            {
                self.cloud(trouble, node);
            }
            Trouble::StorePause if !self.store_paused => self.pause_store(),
            Trouble::Flush if !self.failing_over => self.flush(),
            Trouble::FailOver if !self.failing_over => {
                self.failing_over = true;
                self.mesh.server.copy();
                let lag = self.between(1, 1_500);
                self.after(lag, Act::FailOver);
            }
            Trouble::Cordon => self.bar(name.clone(), other, Verb::Cordon { node: name }),
            Trouble::Drain => self.bar(name.clone(), other, Verb::Drain { node: name }),
            Trouble::Transfer => {
                let scope = self.a_scope();
                self.order(&other, Verb::Transfer { scope, to: name });
            }
            Trouble::StepDown => {
                let scope = self.a_scope();
                self.order(&other, Verb::StepDown { scope });
            }
            _ => return false,
        }
        true
    }

    fn end(&mut self, node: &str, on_purpose: bool) {
        self.ail(node);
        if on_purpose {
            self.slot(node).node.stop();
        } else {
            self.slot(node).node.process.kill();
            self.record(Fault::Kill, Some(node));
        }
        self.slot(node).up = false;
        let down = self.between(200, 8_000) + if on_purpose { 4_500 } else { 0 };
        self.after(down, Act::Restart(node.to_owned()));
    }

    fn restart(&mut self, node: &str) {
        if !self.slot(node).node.process.has_ended() {
            self.slot(node).node.process.kill();
            self.record(Fault::Kill, Some(node));
        }
        let starts = self.slot(node).starts + 1;
        let started = self.start(node, starts);
        let slot = self.slot(node);
        (slot.node, slot.starts, slot.up) = (started, starts, true);
        self.heal(node);
    }

    fn pause(&mut self, node: &str, length_ms: u64) {
        self.ail(node);
        self.slot(node).paused = true;
        self.slot(node).node.process.pause();
        self.record(Fault::Pause, Some(node));
        self.after(length_ms, Act::Resume(node.to_owned()));
    }

    fn resume(&mut self, node: &str) {
        self.slot(node).paused = false;
        self.record(Fault::Resume, Some(node));
        self.slot(node).node.process.resume();
        self.heal(node);
    }

    fn cloud(&mut self, trouble: Trouble, node: &str) {
        self.ail(node);
        self.slot(node).clouded = true;
        let mut weather = self.fair();
        let mut length = self.between(200, 6_000);
        match trouble {
            Trouble::Cut(cut) => weather.cut = Some(cut),
            Trouble::LogStalls => weather.log_stalls = true,
            Trouble::LateRenewal => {
                (weather.renewals, weather.log_stalls) = (Some(2), true);
                length = 5_000;
                self.after(10, Act::Await(node.to_owned(), 300));
            }
            Trouble::Slow => weather.slow = 500,
            _ => weather.losses = 150,
        }
        *self.slot(node).node.link.weather() = weather;
        self.record(Fault::Partition, Some(node));
        self.after(length, Act::Clear(node.to_owned()));
    }

    fn clear(&mut self, node: &str) {
        self.slot(node).clouded = false;
        let fair = self.fair();
        *self.slot(node).node.link.weather() = fair;
        self.record(Fault::Heal, Some(node));
        self.heal(node);
    }

    /// Stops the process as soon as the late renewal is on its way, so that it does not hear that it is late.
    fn await_late_renewal(&mut self, node: String, left: u32) {
        let slot = self.slot(&node);
        let (late, can) = (slot.node.link.weather().late, slot.up && !slot.paused);
        if late && can {
            return self.pause(&node, 800);
        }
        if left > 0 && can {
            self.after(5, Act::Await(node, left - 1));
        }
    }

    fn pause_store(&mut self) {
        self.store_paused = true;
        self.mesh.server.pause(true);
        let from_us = self.record(Fault::Partition, None);
        let length = self.between(100, 6_000);
        self.no_grants("store pause", from_us, MS * length as u32);
        self.after(length, Act::ResumeStore);
    }

    fn resume_store(&mut self) {
        self.store_paused = false;
        self.mesh.server.pause(false);
        self.record(Fault::Heal, None);
    }

    fn no_grants(&self, why: &str, from_us: u64, length: Duration) {
        let until_us = from_us + u64::try_from(length.as_micros()).unwrap();
        self.mesh.recorder.push(Event::NoGrants { why: why.into(), from_us, until_us });
    }

    fn flush(&mut self) {
        self.mesh.server.flush();
        let from_us = self.record(Fault::Flush, None);
        self.no_grants("quarantine", from_us, self.mesh.server.quarantine());
    }

    async fn fail_over(&mut self) {
        self.failing_over = false;
        self.mesh.server.fail_over();
        let from_us = self.record(Fault::Failover, None);
        self.no_grants("quarantine", from_us, self.mesh.server.quarantine());
        self.mesh.server.tell_barred().await;
        // What an operator had withdrawn may stand again.
        let names: Vec<String> = self.nodes.keys().cloned().collect();
        for name in names {
            self.after(6_000, Act::Free(name));
        }
    }

    fn a_scope(&mut self) -> String {
        let at = self.chance.below(self.mesh.scopes.len() as u64) as usize;
        self.mesh.scopes[at].clone()
    }

    fn order(&mut self, by_way_of: &str, verb: Verb) {
        self.orders += 1;
        let number = self.orders;
        self.slot(by_way_of).node.order(Order { number, verb });
    }

    fn bar(&mut self, node: String, by_way_of: String, verb: Verb) {
        self.order(&by_way_of, verb);
        let length = self.between(500, 8_000);
        self.after(length, Act::Free(node));
    }

    fn free(&mut self, node: String) {
        let names: Vec<String> = self.nodes.keys().cloned().collect();
        let by_way_of = &names[self.chance.below(names.len() as u64) as usize];
        self.order(by_way_of, Verb::Uncordon { node: node.clone() });
        self.order(by_way_of, Verb::Undrain { node: node.clone() });
        if self.facts.is_barred(&node) {
            self.after(1_000, Act::Free(node));
        }
    }

    /// Writes with tokens of whoever led before.
    async fn try_stale_tokens(&mut self) {
        if self.store_paused {
            return;
        }
        let tokens = self.mesh.server.tokens();
        for _ in 0..SCOPES_TRIED.min(self.mesh.scopes.len()) {
            let scope = self.a_scope();
            let of_scope = tokens.iter().rev().filter(|token| token.scope == scope);
            let tried: Vec<Token> = of_scope.take(TOKENS_TRIED).cloned().collect();
            write_with(&tried, &self.mesh.server, &self.mesh.resource).await;
        }
    }
}
