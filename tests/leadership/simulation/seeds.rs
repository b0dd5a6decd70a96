//! The seeds that are run, and what each must show.
//!
//! `OMNIRELAY_LEADERSHIP_SEED=7` runs one seed, `OMNIRELAY_LEADERSHIP_SEEDS=1000` as many as that, and
//! `OMNIRELAY_LEADERSHIP_SECONDS=600` makes each so long.

use std::collections::BTreeMap;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use super::plan::Plan;
use super::run::{LEADERLESS_MAX, Ran, run};
use crate::broken::Defect;
use crate::checker::{AtLeast, Bounds, Rule, Summary, Violation, check, in_words};

/// How many seeds are run when nobody says how many: a few for every change, hundreds by `scripts/nightly`.
const SEEDS: u64 = 8;
const SEED: &str = "OMNIRELAY_LEADERSHIP_SEED";

fn asked<T: FromStr>(name: &str) -> Option<T> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

fn plan(seed: u64, defect: Defect) -> Plan {
    Plan::of(seed, asked("OMNIRELAY_LEADERSHIP_SECONDS").map(Duration::from_secs), defect)
}

fn verdict(plan: &Plan, ran: &Ran) -> Result<Summary, Vec<Violation>> {
    let at_least = AtLeast {
        grants: plan.scopes,
        accepted: 20,
        beliefs: plan.scopes,
        audited: plan.scopes,
        due: plan.length / 4,
        ..AtLeast::default()
    };
    check(&ran.history, &Bounds { leaderless_max: LEADERLESS_MAX, handover_max: Duration::ZERO, at_least })
}

/// What all seeds have shown together.
#[derive(Default)]
struct Total {
    seeds: u64,
    simulated: Duration,
    faults: BTreeMap<&'static str, usize>,
    grants: usize,
    accepted: usize,
    refused: usize,
    unknown: usize,
    longest: Vec<(u64, u64)>,
}

impl Total {
    fn add(&mut self, plan: &Plan, ran: &Ran, summary: &Summary) {
        self.seeds += 1;
        self.simulated += ran.length;
        for (fault, times) in &ran.faults {
            *self.faults.entry(fault).or_default() += times;
        }
        self.grants += summary.grants;
        self.accepted += summary.accepted;
        self.refused += summary.refused;
        self.unknown += summary.unknown;
        self.longest.push((summary.leaderless_longest_us / 1000, plan.seed));
        self.longest.sort_unstable_by_key(|longest| std::cmp::Reverse(*longest));
        self.longest.truncate(5);
    }

    fn print(&self) {
        let Self { seeds, grants, accepted, refused, unknown, faults, .. } = self;
        let (hours, all) = (self.simulated.as_secs_f64() / 3600.0, faults.values().sum::<usize>());
        println!("{seeds} seeds, {hours:.2} simulated hours, {all} faults: {faults:?}");
        println!("{grants} grants; writes: {accepted} accepted, {refused} refused, {unknown} unknown");
        println!("longest without a leader, in ms, with the seed: {:?}", self.longest);
    }
}

fn keep_their_promises(seeds: impl Iterator<Item = u64>) -> Total {
    let mut total = Total::default();
    for seed in seeds {
        let plan = plan(seed, Defect::Sound);
        let ran = std::panic::catch_unwind(|| run(&plan)).unwrap_or_else(|_| panic!("{}", replay(&plan)));
        match verdict(&plan, &ran) {
            Ok(summary) => total.add(&plan, &ran, &summary),
            Err(violations) => {
                panic!("{}\n{}\n{}", replay(&plan), in_words(&violations), kept(&plan, &ran))
            }
        }
    }
    total
}

fn replay(plan: &Plan) -> String {
    format!("{plan}\n  {SEED}={} cargo test --test leadership simulation::seeds::nodes", plan.seed)
}

/// Keeps the history and what was done, and says where.
fn kept(plan: &Plan, ran: &Ran) -> String {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("seed-{}.jsonl", plan.seed));
    let written = ran.history.write(&path);
    let diary = path.with_extension("txt");
    let written = written.and_then(|()| Ok(std::fs::write(&diary, ran.diary.join("\n"))?));
    match written {
        Ok(()) => format!("history: {}; what was done: {}", path.display(), diary.display()),
        Err(error) => format!("the history could not be kept: {error:#}"),
    }
}

#[test]
fn nodes_keep_their_promises() {
    let total = match asked::<u64>(SEED) {
        Some(seed) => keep_their_promises(seed..=seed),
        None => keep_their_promises(0..asked("OMNIRELAY_LEADERSHIP_SEEDS").unwrap_or(SEEDS)),
    };
    total.print();
}

#[test]
fn a_seed_gives_the_same_history_again() {
    for seed in [1, 2, 3] {
        let plan = Plan::of(seed, Some(Duration::from_secs(60)), Defect::Sound);
        let (one, other) = (run(&plan).history, run(&plan).history);
        assert!(one.events.len() > 500, "seed {seed}: {} events", one.events.len());
        if let Some((one, other)) = one.events.iter().zip(&other.events).find(|(one, other)| one != other) {
            panic!("seed {seed} goes two ways:\n  {one}\n  {other}");
        }
        assert_eq!(one.events.len(), other.events.len(), "seed {seed}");
    }
}

/// Runs seeds until the checker finds what is planted.
fn assert_found(defect: Defect, rule: Rule) {
    const FEW: u64 = 12;
    for seed in 0..FEW {
        let plan = Plan::of(seed, Some(Duration::from_secs(120)), defect);
        if let Err(violations) = verdict(&plan, &run(&plan))
            && let Some(found) = violations.iter().find(|found| found.rule == rule)
        {
            return println!("{defect:?} was found with {plan}: {found}");
        }
    }
    panic!("{defect:?} was not found by {FEW} seeds");
}

#[test]
fn a_store_that_forgets_fences_is_found() {
    assert_found(Defect::ForgetsTheFence, Rule::Writes);
}

#[test]
fn a_store_that_renews_the_dead_is_found() {
    assert_found(Defect::RenewsTheDead, Rule::Beliefs);
}

#[test]
fn a_store_that_gives_tokens_out_again_is_found() {
    assert_found(Defect::FailsOverToAnOldClock, Rule::Grants);
}
