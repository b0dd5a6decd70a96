//! Requirements and criteria that no story and no edge case tests as a whole.

use std::cell::Cell;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::on_both;
use crate::process::api::Api;
use crate::process::{PATIENCE, until, within};
use crate::servers::RedisServer;
use crate::world::{
    BRISK, Backing, Node, ONLY_WHEN_CHANGED, Pair, by_id, numbered, public, pushing_to, text,
};

/// How many registers each run of SC-005 changes.
const CHANGED: usize = 2_000;
/// How many reads must have been answered within runs.
const READS: u32 = 40;

on_both! {
    fr_001_entries_have_five_minutes_unless_it_is_set
    fr_001_entries_that_nobody_refreshes_expire
    fr_002_loaded_entries_are_unverified_until_they_are_confirmed
    fr_006_the_catalogue_pushes_all_at_every_interval
    fr_007_flags_that_change_reach_memory_and_store
    fr_011_full_sync_is_about_what_its_producer_pushed
    sc_001_all_is_shown_after_a_full_restart
    sc_002_pool_that_restarts_alone_shows_what_it_had
    sc_003_register_made_while_the_pool_was_away_is_shown_afterwards
    sc_004_hundred_registers_are_advertised_at_the_start
    sc_005_reads_are_answered_while_all_is_reconciled
}

async fn fr_001_entries_have_five_minutes_unless_it_is_set(backing: Backing) -> Result<()> {
    for (settings, seconds) in [(&[][..], 300), (&["registers.advertisementTtl=30s"][..], 30)] {
        let node = Node::start(backing, "pool", settings)?;
        node.push(&public(&["r"]), false).await?.ok()?;
        let listed = node.api()?.get("/control/advertisements").await?.ok()?;
        let now = seconds_of(&text(&listed["generatedAt"]))?;
        let ends = seconds_of(&text(&listed["advertisements"][0]["expiresAt"]))?;
        ensure!((ends - now - f64::from(seconds)).abs() < 5.0, "{seconds}: {listed}");
    }
    Ok(())
}

/// A time of the API in seconds.
fn seconds_of(time: &str) -> Result<f64> {
    let parsed = time.parse::<chrono::DateTime<chrono::Utc>>();
    let parsed = parsed.map_err(|error| anyhow::anyhow!("`{time}`: {error}"))?;
    Ok(parsed.timestamp_millis() as f64 / 1000.0)
}

async fn fr_001_entries_that_nobody_refreshes_expire(backing: Backing) -> Result<()> {
    let short = ["registers.advertisementTtl=4s", "registers.resyncInterval=1s"];
    let mut pair = Pair::start_with(backing, &[("r1", true), ("r2", true)], &short).await?;
    // What was pushed last keeps it for one and a half times that; the pushes that come after it change nothing.
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(8) {
        pair.pool.expect_shown(&["r1", "r2"]).await?;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    pair.catalogue.kill()?;
    let pushed_last = Instant::now();
    pair.pool.until_shown(&[]).await?;
    let gone = pushed_last.elapsed();
    ensure!(gone > Duration::from_millis(500) && gone < Duration::from_secs(15), "gone after {gone:?}");
    // A store that was cut off spares what it knew as living for as long as a session lives, and not longer.
    pair.pool.restart()?;
    pair.pool.shows_within(Duration::from_secs(5), &[]).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    pair.pool.expect_shown(&[]).await
}

async fn fr_002_loaded_entries_are_unverified_until_they_are_confirmed(backing: Backing) -> Result<()> {
    let mut pair = Pair::start(backing, &[("r1", true)]).await?;
    let state =
        async |pair: &Pair| Ok::<_, anyhow::Error>(text(&pair.pool.available().await?[0]["syncState"]));
    ensure!(state(&pair).await? == "active");
    let stored = pair.shown_from_the_store().await?;
    ensure!(stored == ["r1"], "{stored:?}");
    ensure!(state(&pair).await? == "unverified");
    pair.catalogue.up()?;
    until("it is confirmed", async || Ok(state(&pair).await? == "active")).await
}

async fn fr_006_the_catalogue_pushes_all_at_every_interval(backing: Backing) -> Result<()> {
    let service = crate::peer_service::PeerService::start()?;
    let peers = pushing_to(&[&service.url()]);
    let node = Node::start(backing, "catalogue", &[BRISK, &[&peers]].concat())?;
    // What is pushed while the second one is entered counts as well.
    let begun = Instant::now();
    node.create("r1", true).await?;
    node.create("r2", false).await?;
    let full = || {
        let calls = service.calls().into_iter();
        calls.filter(|call| {
            call.body["fullSync"] == true && call.body["advertisements"][0]["registerId"] == "r1"
        })
    };
    until("three times all was pushed", async || Ok(full().count() >= 3)).await?;
    ensure!(begun.elapsed() > Duration::from_millis(1500), "more often than once a second");
    ensure!(full().all(|call| call.body["advertisements"].as_array().is_some_and(|list| list.len() == 1)));
    Ok(())
}

async fn fr_007_flags_that_change_reach_memory_and_store(backing: Backing) -> Result<()> {
    let mut pair = Pair::start_with(backing, &[("r1", true), ("r2", false)], ONLY_WHEN_CHANGED).await?;
    pair.catalogue.turn("r1", false).await?;
    pair.catalogue.turn("r2", true).await?;
    let at_once = Duration::from_secs(5);
    pair.catalogue.shows_within(at_once, &["r2"]).await?;
    pair.pool.shows_within(at_once, &["r2"]).await?;
    let stored = pair.shown_from_the_store().await?;
    ensure!(stored == ["r2"], "{stored:?}");
    // By a push of many as well.
    let flip = json!([{"registerId": "r2", "isPublic": false}, {"registerId": "r1", "isPublic": true}]);
    pair.pool.push(&flip, false).await?.ok()?;
    pair.pool.expect_shown(&["r1"]).await?;
    pair.pool.restart()?;
    pair.pool.expect_shown(&["r1"]).await
}

async fn fr_011_full_sync_is_about_what_its_producer_pushed(backing: Backing) -> Result<()> {
    let server = (backing == Backing::Redis).then(|| RedisServer::start(&[])).transpose()?;
    let node = match &server {
        Some(server) => Node::start_on(&server.url(), "pool", BRISK)?,
        None => Node::start(backing, "pool", BRISK)?,
    };
    // What another node advertises: only a server can be shared.
    let other = server.as_ref().map(|server| Node::start_on(&server.url(), "other", BRISK)).transpose()?;
    let mut beside = vec!["own"];
    node.create("own", true).await?;
    if let Some(other) = &other {
        other.push(&public(&["remote"]), false).await?.ok()?;
        beside.push("remote");
    }
    node.push(&public(&["a", "b"]), false).await?.ok()?;
    let taken = node.push(&public(&["b", "c"]), true).await?.ok()?;
    ensure!(taken["added"] == 1 && taken["removed"] == 1 && taken["unchanged"] == 1, "{taken}");
    node.until_shown(&[&["b", "c"], beside.as_slice()].concat()).await?;
    let taken = node.push(&json!([]), true).await?.ok()?;
    ensure!(taken["removed"] == 2, "{taken}");
    node.expect_shown(&beside).await?;
    if let Some(other) = &other {
        other.until_shown(&beside).await?;
    }
    Ok(())
}

async fn sc_001_all_is_shown_after_a_full_restart(backing: Backing) -> Result<()> {
    let five = ["r1", "r2", "r3", "r4", "r5"];
    let mut pair = Pair::start(backing, &five.map(|id| (id, true))).await?;
    for node in [&mut pair.catalogue, &mut pair.pool] {
        node.kill()?;
        if let Some(server) = &mut node.server {
            server.kill()?;
        }
    }
    for node in [&mut pair.catalogue, &mut pair.pool] {
        if let Some(server) = &mut node.server {
            server.restart()?;
        }
        node.up()?;
    }
    for node in [&pair.pool, &pair.catalogue] {
        node.shows_within(Duration::from_secs(60), &five).await?;
        // What the store had kept would be shown even if nobody pushed again.
        node.until_confirmed().await?;
        node.expect_shown(&five).await?;
    }
    Ok(())
}

async fn sc_002_pool_that_restarts_alone_shows_what_it_had(backing: Backing) -> Result<()> {
    let ids = numbered("r", 100);
    let mut pair = Pair::start(backing, &[]).await?;
    pair.catalogue.import(&ids).await?;
    until("all are shown", async || Ok(pair.pool.shown().await? == ids)).await?;
    pair.until_written().await?;
    // Nobody pushes: what is shown comes from the store.
    pair.catalogue.kill()?;
    pair.pool.kill()?;
    pair.pool.up()?;
    within(Duration::from_secs(5), "all are shown", async || Ok(pair.pool.shown().await? == ids)).await
}

async fn sc_003_register_made_while_the_pool_was_away_is_shown_afterwards(backing: Backing) -> Result<()> {
    let mut pair = Pair::start_with(backing, &[("r1", true)], ONLY_WHEN_CHANGED).await?;
    pair.pool.kill()?;
    pair.catalogue.create("r2", true).await?;
    until("a push has failed", async || {
        Ok(pair.catalogue.sync_state(&pair.pool.url()).await?["status"] == "failed")
    })
    .await?;
    pair.pool.up()?;
    pair.pool.shows_within(Duration::from_secs(300), &["r1", "r2"]).await
}

async fn sc_004_hundred_registers_are_advertised_at_the_start(backing: Backing) -> Result<()> {
    let ids = numbered("r", 100);
    let mut catalogue = Node::start(backing, "catalogue", BRISK)?;
    catalogue.import(&ids).await?;
    catalogue.kill()?;
    let pool = Node::start(backing, "pool", BRISK)?;
    catalogue.set(&[BRISK, &[&pushing_to(&[&pool.url()])]].concat());
    catalogue.up()?;
    within(Duration::from_secs(10), "all are shown", async || Ok(pool.shown().await? == ids)).await?;
    let asked = Instant::now();
    ensure!(pool.api()?.get("/readyz").await?.status == 200);
    ensure!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    Ok(())
}

async fn sc_005_reads_are_answered_while_all_is_reconciled(backing: Backing) -> Result<()> {
    let ids = numbered("r", CHANGED);
    let node = Node::start(backing, "pool", &[])?;
    node.push(&public(&ids), true).await?.ok()?;
    let api = node.api()?;
    // The run that is under way; 0 between two of them.
    let (run, over) = (Cell::new(0), Cell::new(false));
    let reading = async {
        let (begun, mut within) = (Instant::now(), 0);
        while within < READS && begun.elapsed() < PATIENCE {
            let before = run.get();
            let answered = read(&api).await;
            if answered.is_err() {
                over.set(true);
            }
            answered?;
            within += u32::from(before > 0 && run.get() == before);
        }
        over.set(true);
        ensure!(within == READS, "{within} reads were answered within one run");
        Ok(())
    };
    let (answered, changed) = tokio::join!(reading, changing(&node, &ids, &run, &over));
    changed?;
    answered
}

/// Pushes sets in which all is new, one behind the other, until it is over.
async fn changing(node: &Node, ids: &[String], run: &Cell<u64>, over: &Cell<bool>) -> Result<()> {
    for version in 1_u64.. {
        if over.get() {
            break;
        }
        let items =
            ids.iter().map(|id| json!({"registerId": id, "isPublic": true, "latestVersion": version}));
        let items = items.collect();
        run.set(version);
        let pushed = node.push(&items, true).await;
        run.set(0);
        let taken = pushed?.ok()?;
        ensure!(taken["updated"] == CHANGED, "{taken}");
    }
    Ok(())
}

/// Reads a page.
async fn read(api: &Api) -> Result<()> {
    let page = api.get("/control/registers/available?pageSize=10").await?.ok()?;
    let registers = page["registers"].as_array().context("no list")?;
    ensure!(by_id(registers).len() == 10, "{page}");
    Ok(())
}
