//! Schedules that seeds have found, as steps.

use std::time::Duration;

use tokio::time::sleep;

use super::plan::{Plan, Trouble};
use super::run::{LEADERLESS_MAX, Run};
use crate::broken::Defect;
use crate::checker::{AtLeast, Bounds, check, in_words};

const SECOND: Duration = Duration::from_secs(1);

/// A mesh of three nodes and two scopes in which nothing happens by itself.
async fn quiet() -> Run {
    let plan = Plan { nodes: 3, scopes: 2, losses: 0, slow: 0, ..Plan::of(0, None, Defect::Sound) };
    let run = Run::begin(&plan);
    sleep(5 * SECOND).await;
    run
}

fn assert_kept(what: &str, run: Run) {
    let at_least = AtLeast { grants: 3, beliefs: 3, accepted: 5, ..AtLeast::default() };
    if let Err(violations) = check(
        &run.finish().history,
        &Bounds { leaderless_max: LEADERLESS_MAX, handover_max: Duration::ZERO, at_least },
    ) {
        panic!("{what}: {}", in_words(&violations));
    }
}

/// The commit by which it hands over is made, and its view does not come to show it in time.
#[tokio::test(start_paused = true)]
async fn a_leader_that_stops_with_a_view_that_is_behind_leads_no_more() {
    let mut run = quiet().await;
    let leader = run.holder("scope-0").unwrap();
    assert!(run.begin_trouble(Trouble::LogStalls, &leader, String::new()).await);
    // Something that it has not seen comes before its commit.
    let other = if leader == "n0" { "n1" } else { "n0" };
    assert!(run.begin_trouble(Trouble::Cordon, other, other.to_owned()).await);
    sleep(SECOND).await;
    assert!(run.begin_trouble(Trouble::Stop, &leader, String::new()).await);
    sleep(8 * SECOND).await;
    assert_ne!(run.holder("scope-0"), Some(leader));
    assert_kept("stopped", run);
}
