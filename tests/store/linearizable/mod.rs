//! Concurrent histories: whatever clients do at once, each record behaves as if they took turns.
//!
//! A round runs clients on a store, writes down when each call began, when it was answered and how, and
//! then looks for an order that explains all of it. What a store promises beyond one record is judged
//! as well: revisions follow time, pages are snapshots, and the log is what clients were told.
//!
//! A round that fails prints the line that repeats its plan, many times over: threads may meet otherwise
//! than they did.
//!
//! Another backend takes one call of [`holds`], with a closure that gives each client its store: several
//! clients may have one, or each a connection of its own. Its servers may die meanwhile: what is
//! refused as unavailable must not have happened, and what is unknown may have. If the store begins a
//! new epoch meanwhile, records are still judged over the whole round, and must have lost nothing.

mod faults;
mod history;
mod killed;
mod model;
mod order;
mod plan;
mod recorder;
pub(crate) mod search;
mod search_tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use omnirelay_store::Store;

pub(crate) use self::history::{Call, Found, NEVER, Outcome, Span};
use self::history::{History, Key};
pub(crate) use self::model::Step;
pub(crate) use self::plan::Chance;
use self::plan::Plan;
pub(crate) use self::search::{Operation, Verdict};
use crate::harness::{Embedded, Memory};
use crate::optimistic;
use crate::redis::Redis;

/// How many rounds are run; each store has its own number for the ordinary test run.
const ROUNDS: &str = "OMNIRELAY_LINEARIZABLE_ROUNDS";
/// The seed of every round's plan, instead of another one in each.
const SEED: &str = "OMNIRELAY_LINEARIZABLE_SEED";

/// Runs rounds on stores that `fresh` makes: it gives a function from a client's number to its store.
///
/// `test` is the name of the calling test, for the line that repeats a failure.
pub(crate) async fn holds<S: Fn(usize) -> Arc<dyn Store>>(
    test: &str,
    rounds: u64,
    fresh: impl AsyncFn() -> S,
) {
    let rounds = number(ROUNDS).unwrap_or(rounds);
    let fixed = number(SEED);
    for round in 1..=rounds {
        let seed = fixed.unwrap_or(round);
        let plan = Plan::of(seed);
        let history = recorder::record(&plan, fresh().await).await;
        if let Err(violation) = judge(&history) {
            let replay = format!("{SEED}={seed} {ROUNDS}=100 cargo test --test store linearizable::{test}");
            panic!("{violation}\n\n{plan:?}\nrepeat with: {replay}");
        }
    }
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is `{text}`, not a number")))
}

/// Judges everything that a history must keep. Records go on from one epoch to the next; what is said
/// of revisions is of one epoch only.
fn judge(history: &History) -> Result<(), String> {
    records_are_linearizable(history)?;
    if history.log.is_some() {
        order::revisions_are_unique(history)?;
        order::revisions_follow_time(history)?;
        order::log_is_what_was_told(history)?;
        order::pages_are_snapshots(history)?;
    }
    Ok(())
}

fn records_are_linearizable(history: &History) -> Result<(), String> {
    for (key, operations) in by_key(history) {
        match search::judge(&operations) {
            Verdict::Linearizable => {}
            Verdict::Violated(why) => return Err(format!("key {key} is not linearizable: {why}")),
            Verdict::Undecided => {
                return Err(format!("key {key}: too many orders to try; plan smaller rounds"));
            }
        }
    }
    Ok(())
}

/// The calls on each key. A page is a read of every key that it covers.
fn by_key(history: &History) -> BTreeMap<Key, Vec<Operation>> {
    let mut keys: BTreeMap<Key, Vec<Operation>> = BTreeMap::new();
    for change in history.changes.iter().filter(|change| change.outcome != Outcome::Failed) {
        let step = Step::Change(change.call, change.outcome);
        let operation = Operation { name: change.name.clone(), span: change.span, step };
        keys.entry(change.key).or_default().push(operation);
    }
    for read in &history.reads {
        for (&key, &found) in &read.found {
            let operation = Operation { name: read.name.clone(), span: read.span, step: Step::Read(found) };
            keys.entry(key).or_default().push(operation);
        }
    }
    keys
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn memory() {
    holds("memory", 100, async || {
        let harness = Memory::fresh().await;
        move |_| harness.store()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn embedded() {
    holds("embedded", 12, async || {
        let harness = Embedded::fresh().await;
        move |_| harness.store()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn optimistic() {
    holds("optimistic", 40, async || optimistic::one_medium()).await;
}

/// Each client has a connection of its own, as a daemon has.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn redis() {
    holds("redis", 12, async || {
        let mesh = Redis::standalone_mesh();
        move |_| mesh.another()
    })
    .await;
}
