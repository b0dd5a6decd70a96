//! Random calls on groups and leases, beside a model that knows one thing: the deadline of each
//! life. Whatever becomes of its group, the leases of a life are held exactly until then.

use std::time::Duration;

use omnirelay_core::time::Millis;
use omnirelay_store::{CommitError, Group, GroupRef, OpenedGroup, REPLACED_MAX, Retention};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestError, TestRunner};

use crate::defects::{self, BrokenHarness, Defect};
use crate::harness::{Embedded, Harness, Memory};
use crate::redis::Redis;
use crate::suite::{KEEP_ALL, Trial, acquire, leasing, open, release};

const GROUPS: usize = 2;
const SCOPES: [&str; 2] = ["x", "y"];
/// Longer than any walk.
const FOR_EVER: Duration = Duration::from_secs(100_000_000);
/// Times to live in instants.
const TTLS: [u64; 3] = [2, 4, 12];
/// How long an instant is where time stands still between two steps, and where it goes on.
const SECOND: Duration = Duration::from_secs(1);
const LONGER_THAN_A_WALK: Duration = Duration::from_secs(1000);

type Broken = fn() -> Defect;

#[derive(Clone, Copy, Debug)]
enum Step {
    Pass(u64),
    /// Opens the group so many times, one right after the other.
    Open {
        group: usize,
        ttl: u64,
        times: usize,
    },
    /// Of a life: the newest, or one that was so many before it.
    Renew {
        group: usize,
        back: usize,
    },
    Acquire {
        group: usize,
        back: usize,
        scope: usize,
    },
    Close(usize),
    Release(usize),
    Housekeep,
    Restart,
}

/// All that decides about the leases of a life.
struct Life {
    of: GroupRef,
    ttl: u64,
    /// The instant of its deadline, and the deadline as the store has told it.
    end: u64,
    told: Millis,
}

struct Walk {
    t: Trial,
    instant: Duration,
    now: u64,
    /// Of each group, the newest last.
    lives: [Vec<Life>; GROUPS],
    /// Group, life and token, unless it was released.
    leases: [Option<(usize, usize, u64)>; SCOPES.len()],
    prober: GroupRef,
}

fn steps(max: usize) -> impl Strategy<Value = Vec<Step>> {
    let (group, scope) = (0..GROUPS, 0..SCOPES.len());
    let ttl = prop::sample::select(TTLS.as_slice());
    let times = prop_oneof![8 => Just(1), 1 => 2..REPLACED_MAX + 3];
    let back = prop_oneof![4 => Just(0_usize), 1 => 1..3_usize];
    let step = prop_oneof![
        6 => (1..3_u64).prop_map(Step::Pass),
        5 => (group.clone(), ttl, times).prop_map(|(group, ttl, times)| Step::Open { group, ttl, times }),
        3 => (group.clone(), back.clone()).prop_map(|(group, back)| Step::Renew { group, back }),
        6 => (group.clone(), back, scope.clone())
            .prop_map(|(group, back, scope)| Step::Acquire { group, back, scope }),
        1 => group.prop_map(Step::Close),
        1 => scope.prop_map(Step::Release),
        1 => Just(Step::Housekeep),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 1..max)
}

impl Walk {
    async fn new(harness: Box<dyn Harness>, instant: Duration) -> Self {
        let t = Trial::new(harness).await;
        let prober = t.open("prober", FOR_EVER, "secret").await;
        let blocker = t.open("blocker", FOR_EVER, "secret").await;
        t.acquire("blocked", &blocker).await;
        Self { t, instant, now: 1, lives: [vec![], vec![]], leases: [None; SCOPES.len()], prober }
    }

    async fn take(&mut self, step: Step) {
        match step {
            Step::Pass(instants) => {
                self.now += instants;
                self.t.advance(self.instant * instants as u32).await;
            }
            Step::Open { group, ttl, times } => {
                for _ in 0..times {
                    self.open(group, ttl).await;
                }
            }
            Step::Renew { group, back } => self.renew(group, back).await,
            Step::Acquire { group, back, scope } => self.acquire(group, back, scope).await,
            Step::Close(group) => self.close(group).await,
            Step::Release(scope) => {
                if let Some((_, _, token)) = self.leases[scope].take() {
                    self.t.done(leasing(vec![release(SCOPES[scope], token)])).await;
                }
            }
            Step::Housekeep => self.housekeep().await,
            Step::Restart => self.t.reopen(Duration::ZERO).await,
        }
        for scope in 0..SCOPES.len() {
            self.probe(scope).await;
        }
    }

    async fn open(&mut self, group: usize, ttl: u64) {
        let lives = &self.lives[group];
        let mut waiting: Vec<_> = lives.iter().filter(|life| self.now < life.end).collect();
        waiting.sort_by_key(|life| life.told);
        let is_live = lives.last().is_some_and(|life| self.now < life.end);
        let until = waiting.first().filter(|_| is_live && waiting.len() > REPLACED_MAX).map(|life| life.told);
        let request = open(&format!("s{group}"), self.instant * ttl as u32, "secret");
        match (self.t.store.open_group(request).await.expect("an answer"), until) {
            (OpenedGroup::Open(Group { of, deadline, .. }), None) => {
                assert!(lives.iter().all(|life| life.of.instance < of.instance));
                let life = Life { of, ttl, end: self.now + ttl, told: deadline };
                self.lives[group].push(life);
            }
            (OpenedGroup::Held { until: told }, Some(until)) => assert_eq!(told, until),
            (opened, until) => panic!("{opened:?}, not {until:?}"),
        }
    }

    /// A life that was; whether it is the one that lives.
    fn life(&self, group: usize, back: usize) -> Option<(usize, bool)> {
        let at = self.lives[group].len().checked_sub(back + 1)?;
        Some((at, back == 0 && self.now < self.lives[group][at].end))
    }

    async fn renew(&mut self, group: usize, back: usize) {
        let Some((at, is_live)) = self.life(group, back) else { return };
        let renewed = self.t.pulse(&[&self.lives[group][at].of]).await.renewed[0];
        assert_eq!(renewed.is_some(), is_live);
        if let Some(told) = renewed {
            let life = &mut self.lives[group][at];
            (life.end, life.told) = (life.end.max(self.now + life.ttl), told);
        }
    }

    async fn acquire(&mut self, group: usize, back: usize, scope: usize) {
        let Some((at, is_live)) = self.life(group, back) else { return };
        let of = self.lives[group][at].of.clone();
        let made = self.t.store.commit(leasing(vec![acquire(SCOPES[scope], &of, 0)])).await;
        if !is_live {
            assert!(matches!(made, Err(CommitError::GroupOver(over)) if over == of));
            return;
        }
        match self.holder(scope) {
            Some((holder, _)) if holder == of => drop(made.expect("it is confirmed")),
            Some((holder, until)) => assert_held(made.err(), SCOPES[scope], Some((holder, until))),
            None => {
                drop(made.expect("it is free"));
                self.leases[scope] = Some((group, at, self.t.lease(SCOPES[scope]).await.token));
            }
        }
    }

    async fn close(&mut self, group: usize) {
        let Some((at, is_live)) = self.life(group, 0) else { return };
        assert_eq!(self.t.close(self.lives[group][at].of.clone()).await, is_live);
        if is_live {
            self.lives[group][at].end = self.now;
        }
    }

    /// Forgets every group that nothing waits for.
    async fn housekeep(&mut self) {
        self.t.housekeep(Retention { tombstone_age: Duration::ZERO, ..KEEP_ALL }).await;
    }

    /// Who may still trust its lease of a scope, and until when.
    fn holder(&self, scope: usize) -> Option<(GroupRef, Millis)> {
        let (group, at, _) = self.leases[scope]?;
        let life = &self.lives[group][at];
        (self.now < life.end).then(|| (life.of.clone(), life.told))
    }

    /// Finds out whether a scope is free without taking it: with one that never is.
    async fn probe(&self, scope: usize) {
        let wanted = vec![acquire(SCOPES[scope], &self.prober, 0), acquire("blocked", &self.prober, 0)];
        let refusal = self.t.refused(leasing(wanted)).await;
        match self.holder(scope) {
            Some(held) => assert_held(Some(refusal), SCOPES[scope], Some(held)),
            None => assert_held(Some(refusal), "blocked", None),
        }
    }
}

fn assert_held(refusal: Option<CommitError>, scope: &str, by: Option<(GroupRef, Millis)>) {
    match refusal {
        Some(CommitError::LeaseHeld { scope: told, holder, until }) => {
            assert_eq!(told, scope);
            if let Some((life, end)) = by {
                assert_eq!((holder, until), (Some(life), end), "who holds `{scope}`");
            }
        }
        other => panic!("{other:?}: `{scope}` is held by {by:?}"),
    }
}

/// Takes the steps on a fresh store, on a runtime that ends with them.
fn walk<F: Future<Output = Box<dyn Harness>>>(fresh: impl Fn() -> F, instant: Duration, steps: &[Step]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut walk = Walk::new(fresh().await, instant).await;
        for step in steps {
            walk.take(*step).await;
        }
    });
}

/// Memory does not outlive its process.
fn without_restarts(steps: Vec<Step>) -> Vec<Step> {
    steps.into_iter().filter(|step| !matches!(step, Step::Restart)).collect()
}

proptest! {
    #[test]
    fn each_life_keeps_its_leases_until_its_deadline_in_memory(steps in steps(150)) {
        walk(Memory::fresh, SECOND, &without_restarts(steps));
    }
}

proptest! {
    #![proptest_config(Config::with_cases(24))]

    #[test]
    fn each_life_keeps_its_leases_until_its_deadline_in_a_file(steps in steps(60)) {
        walk(Embedded::fresh, SECOND, &steps);
    }

    #[test]
    fn each_life_keeps_its_leases_until_its_deadline_in_redis(steps in steps(100)) {
        walk(Redis::standalone, LONGER_THAN_A_WALK, &steps);
    }
}

/// The walks come to where these stores are wrong.
#[test]
fn the_walks_notice_what_is_wrong() {
    let rows: [(&str, Broken); 5] = [
        ("moves barriers on", defects::moves_barriers_on),
        ("holds again what was free", defects::holds_again_what_was_free),
        ("replaces without limit", defects::replaces_without_limit),
        ("counts replacements for ever", defects::counts_replacements_for_ever),
        ("frees leases in housekeeping", defects::frees_leases_in_housekeeping),
    ];
    defects::watch_panics();
    for (what, defect) in rows {
        let config =
            Config { cases: 256, max_shrink_iters: 0, failure_persistence: None, ..Config::default() };
        let mut runner = TestRunner::new(config);
        let found = runner.run(&steps(150), |steps| {
            walk(|| BrokenHarness::fresh(defect), SECOND, &without_restarts(steps));
            Ok(())
        });
        assert!(matches!(found, Err(TestError::Fail(..))), "a store that {what} was not noticed");
    }
}
