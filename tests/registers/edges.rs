//! The edge cases: services that start in any order, stores that are away, much at once.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::on_both;
use crate::process::until;
use crate::world::{BRISK, Backing, Node, ONLY_WHEN_CHANGED, Pair, number, numbered, pushing_to};

/// How many registers are hundreds.
const HUNDREDS: usize = 500;
/// What is promised for those that are advertised when the catalogue starts.
const AFTER_A_START: Duration = Duration::from_secs(60);
/// What is promised for services that are restarted in any order.
const CONVERGED: Duration = Duration::from_secs(120);
/// What happens at once does not wait for a comparison.
const AT_ONCE: Duration = Duration::from_secs(5);

on_both! {
    edge_register_service_first
    edge_deleted_while_running
    edge_hundreds_at_once
    edge_rolling_restart_in_every_order
    entries_of_a_catalogue_that_was_lost_are_not_withdrawn_and_run_out
}

async fn edge_register_service_first(backing: Backing) -> Result<()> {
    // It has an address, and has never run with a store of its own: nothing is there to begin with.
    let mut pool = Node::start(backing, "pool", BRISK)?;
    pool.kill()?;
    let catalogue = Node::start(backing, "catalogue", &[BRISK, &[&pushing_to(&[&pool.url()])]].concat())?;
    let created = catalogue.create("early", true).await?;
    ensure!(created["changed"] == true && created["advertised"] == true, "its own pool shows it: {created}");
    until("it has failed more than once", async || {
        Ok(number(&catalogue.sync_state(&pool.url()).await?["failures"])? >= 2)
    })
    .await?;
    catalogue.expect_shown(&["early"]).await?;
    pool.up()?;
    pool.shows_within(AFTER_A_START, &["early"]).await
}

/// Nobody compares anything within the time of this test, so what happens is what the deletion does.
async fn edge_deleted_while_running(backing: Backing) -> Result<()> {
    let mut pair = Pair::start_with(backing, &[("gone", true), ("kept", true)], ONLY_WHEN_CHANGED).await?;
    pair.catalogue.delete("gone").await?;
    pair.catalogue.shows_within(AT_ONCE, &["kept"]).await?;
    pair.pool.shows_within(AT_ONCE, &["kept"]).await?;
    let stored = pair.shown_from_the_store().await?;
    ensure!(stored == ["kept"], "{stored:?}");
    Ok(())
}

async fn edge_hundreds_at_once(backing: Backing) -> Result<()> {
    let mut catalogue = Node::start(backing, "catalogue", BRISK)?;
    let ids = numbered("r", HUNDREDS);
    catalogue.import(&ids).await?;
    catalogue.kill()?;
    let pool = Node::start(backing, "pool", BRISK)?;
    catalogue.set(&[BRISK, &[&pushing_to(&[&pool.url()])]].concat());
    let begun = Instant::now();
    catalogue.up()?;
    let (mut slowest, mut shown) = (Duration::ZERO, 0);
    while shown < HUNDREDS {
        ensure!(begun.elapsed() < AFTER_A_START, "{shown} after {:?}", begun.elapsed());
        let asked = Instant::now();
        shown = pool.shown().await?.len();
        slowest = slowest.max(asked.elapsed());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    ensure!(pool.shown().await? == ids);
    ensure!(slowest < Duration::from_secs(2), "the pool answered after {slowest:?}");
    Ok(())
}

/// What happens to a catalogue and a pool, one behind the other.
#[derive(Clone, Copy, Debug)]
enum Step {
    CatalogueDown,
    CatalogueUp,
    PoolDown,
    PoolUp,
    /// One register goes from the catalogue, another comes.
    Change,
    /// The pool is told what is not so.
    Mislead,
}

/// In each of them something is changed while one side is down.
const ORDERS: [&[Step]; 6] = {
    use Step::{CatalogueDown, CatalogueUp, Change, Mislead, PoolDown, PoolUp};
    [
        &[PoolDown, Change, PoolUp, CatalogueDown, CatalogueUp],
        &[PoolDown, Change, CatalogueDown, CatalogueUp, PoolUp],
        &[PoolDown, Change, CatalogueDown, PoolUp, CatalogueUp],
        &[CatalogueDown, Mislead, CatalogueUp, PoolDown, PoolUp],
        &[CatalogueDown, Mislead, PoolDown, PoolUp, CatalogueUp],
        &[CatalogueDown, Mislead, PoolDown, CatalogueUp, PoolUp],
    ]
};

async fn edge_rolling_restart_in_every_order(backing: Backing) -> Result<()> {
    let mut pair = Pair::start(backing, &[("last", true), ("r0", true)]).await?;
    let mut changes = 0;
    for order in ORDERS {
        let begun = Instant::now();
        for step in order {
            match step {
                Step::CatalogueDown => pair.catalogue.kill()?,
                Step::CatalogueUp => pair.catalogue.up()?,
                Step::PoolDown => pair.pool.kill()?,
                Step::PoolUp => pair.pool.up()?,
                Step::Change => {
                    pair.catalogue.delete(&format!("r{changes}")).await?;
                    changes += 1;
                    pair.catalogue.create(&format!("r{changes}"), true).await?;
                }
                Step::Mislead => {
                    pair.pool.advertise("stray", true).await?.ok()?;
                    pair.pool.advertise("last", false).await?.ok()?;
                }
            }
        }
        let expected = ["last".to_owned(), format!("r{changes}")];
        let expected = [expected[0].as_str(), expected[1].as_str()];
        for node in [&pair.pool, &pair.catalogue] {
            node.shows_within(CONVERGED, &expected).await?;
            // What the store had kept would be shown even if nobody pushed again.
            node.until_confirmed().await?;
            node.expect_shown(&expected).await?;
        }
        ensure!(begun.elapsed() < CONVERGED, "{order:?}: {:?}", begun.elapsed());
    }
    Ok(())
}

/// A catalogue that is empty because its store was lost looks like one that should be. It withdraws nothing, and it
/// confirms nothing either.
async fn entries_of_a_catalogue_that_was_lost_are_not_withdrawn_and_run_out(backing: Backing) -> Result<()> {
    let short = ["registers.resyncInterval=1s", "registers.advertisementTtl=8s"];
    let mut pair = Pair::start_with(backing, &[("r1", true), ("r2", true)], &short).await?;
    pair.catalogue.kill()?;
    let url = pair.pool.url();
    let lost = Node::start(backing, "catalogue", &[short.as_slice(), &[&pushing_to(&[&url])]].concat())?;
    until("it has run", async || Ok(number(&lost.sync_state(&url).await?["runs"])? >= 1)).await?;
    pair.pool.expect_shown(&["r1", "r2"]).await?;
    pair.pool.shows_within(Duration::from_secs(30), &[]).await?;
    // It is as any other from now on.
    lost.create("r3", true).await?;
    pair.pool.until_shown(&["r3"]).await
}
