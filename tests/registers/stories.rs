//! The user stories: what an administrator sees through restarts, changes and losses.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use omnirelay_store::{Commit, EmbeddedStore, RecordId, RecordKind, Scan, Store, Write};

use crate::on_both;
use crate::process::{until, within};
use crate::world::{BRISK, Backing, Node, Pair, number, pushing_to};

/// What the stories promise for the start of either service.
const AFTER_A_RESTART: Duration = Duration::from_secs(30);
const AFTER_A_START: Duration = Duration::from_secs(60);

on_both! {
    us1_1_five_registers_reappear_after_a_restart
    us1_2_unadvertised_register_stays_hidden_after_restart
    us1_3_register_hidden_before_the_restart_stays_hidden
    us2_1_registers_are_advertised_when_the_catalogue_starts
    us2_2_unreachable_pool_is_tried_again_until_it_answers
    us2_3_register_deleted_while_the_pool_was_down_is_withdrawn
    us2_3_last_register_deleted_while_the_pool_was_down_is_withdrawn
    us3_1_lost_advertisement_is_restored
    us3_1_record_lost_from_the_store_is_restored
    us3_2_register_that_was_hidden_is_removed_by_reconciliation
    us3_3_reconciliation_without_a_difference_changes_nothing
}

async fn us1_1_five_registers_reappear_after_a_restart(backing: Backing) -> Result<()> {
    let five = ["r1", "r2", "r3", "r4", "r5"];
    let mut pair = Pair::start(backing, &five.map(|id| (id, true))).await?;
    pair.pool.kill()?;
    ensure!(pair.pool.shown().await.is_err(), "nobody answers while it is down");
    pair.pool.up()?;
    let healthy = Instant::now();
    pair.pool.shows_within(AFTER_A_RESTART, &five).await?;
    pair.pool.until_confirmed().await?;
    ensure!(healthy.elapsed() < AFTER_A_RESTART, "confirmed after {:?}", healthy.elapsed());
    let names: Vec<_> = pair.pool.available().await?.iter().map(|shown| shown["name"].clone()).collect();
    ensure!(names == five.map(|id| format!("Register {id}")), "{names:?}");
    Ok(())
}

async fn us1_2_unadvertised_register_stays_hidden_after_restart(backing: Backing) -> Result<()> {
    let mut pair = Pair::start(backing, &[("hidden", false), ("shown", true)]).await?;
    pair.pool.restart()?;
    pair.pool.expect_shown(&["shown"]).await?;
    pair.until_synced_again().await?;
    pair.pool.expect_shown(&["shown"]).await
}

async fn us1_3_register_hidden_before_the_restart_stays_hidden(backing: Backing) -> Result<()> {
    let mut pair = Pair::start(backing, &[("kept", true), ("turned", true)]).await?;
    pair.catalogue.turn("turned", false).await?;
    pair.pool.until_shown(&["kept"]).await?;
    pair.until_written().await?;
    pair.pool.restart()?;
    pair.pool.expect_shown(&["kept"]).await?;
    pair.until_synced_again().await?;
    pair.pool.expect_shown(&["kept"]).await
}

async fn us2_1_registers_are_advertised_when_the_catalogue_starts(backing: Backing) -> Result<()> {
    let mut catalogue = Node::start(backing, "catalogue", BRISK)?;
    for (id, advertise) in [("r1", true), ("r2", true), ("r3", true), ("private", false)] {
        catalogue.create(id, advertise).await?;
    }
    catalogue.stop()?;
    let pool = Node::start(backing, "pool", BRISK)?;
    pool.expect_shown(&[]).await?;
    catalogue.set(&[BRISK, &[&pushing_to(&[&pool.url()])]].concat());
    catalogue.up()?;
    pool.shows_within(AFTER_A_START, &["r1", "r2", "r3"]).await
}

async fn us2_2_unreachable_pool_is_tried_again_until_it_answers(backing: Backing) -> Result<()> {
    let mut pair = Pair::start(backing, &[("r1", true)]).await?;
    pair.pool.kill()?;
    pair.catalogue.restart()?;
    let url = pair.pool.url();
    until("two pushes have failed", async || {
        let state = pair.catalogue.sync_state(&url).await?;
        ensure!(state["status"] == "failed" && state["error"] != "", "{state}");
        Ok(number(&state["failures"])? >= 2)
    })
    .await?;
    // What is new goes with the next try.
    pair.catalogue.create("r2", true).await?;
    pair.pool.up()?;
    pair.pool.shows_within(AFTER_A_START, &["r1", "r2"]).await?;
    let state = pair.catalogue.sync_state(&url).await?;
    ensure!(number(&state["failures"])? == 0 || state["status"] == "in_progress", "{state}");
    Ok(())
}

async fn us2_3_register_deleted_while_the_pool_was_down_is_withdrawn(backing: Backing) -> Result<()> {
    let mut pair = Pair::start(backing, &[("r1", true), ("r2", true), ("r3", true)]).await?;
    pair.pool.kill()?;
    pair.catalogue.delete("r2").await?;
    pair.pool.up()?;
    pair.pool.until_shown(&["r1", "r3"]).await?;
    let stored = pair.shown_from_the_store().await?;
    ensure!(stored == ["r1", "r3"], "{stored:?}");
    Ok(())
}

/// As above, with nothing left to push, and a catalogue that was started anew: it no longer knows from its memory what
/// it has pushed.
async fn us2_3_last_register_deleted_while_the_pool_was_down_is_withdrawn(backing: Backing) -> Result<()> {
    let mut pair = Pair::start(backing, &[("last", true)]).await?;
    pair.pool.kill()?;
    pair.catalogue.delete("last").await?;
    pair.catalogue.restart()?;
    pair.pool.up()?;
    pair.pool.until_shown(&[]).await?;
    let stored = pair.shown_from_the_store().await?;
    ensure!(stored.is_empty(), "{stored:?}");
    Ok(())
}

/// The pool has lost an entry, and does not know that it should have it.
async fn us3_1_lost_advertisement_is_restored(backing: Backing) -> Result<()> {
    let pair = Pair::start(backing, &[("lost", true), ("other", true)]).await?;
    let withdrawn = pair.pool.api()?.delete("/api/registers/lost/advertise").await?.ok()?;
    ensure!(withdrawn["changed"] == true, "{withdrawn}");
    pair.pool.until_shown(&["lost", "other"]).await
}

/// The record is removed behind the daemon's back. The file of the embedded store belongs to the process that has it
/// open, so there it is removed while the daemon is down.
async fn us3_1_record_lost_from_the_store_is_restored(backing: Backing) -> Result<()> {
    let mut node = Node::start(backing, "both", BRISK)?;
    node.create("lost", true).await?;
    node.push(&crate::world::public(&["outside"]), false).await?.ok()?;
    node.until_shown(&["lost", "outside"]).await?;
    match backing {
        Backing::Redis => {
            for record in ["both/lost/catalogue", "both/outside/http:local"] {
                let key = records_key(&mut node)?;
                let server = node.server()?;
                ensure!(server.cli::<u32>(&["HDEL", &key, record])? == 1, "{record}");
                until(&format!("{record} is there again"), async || {
                    server.cli::<bool>(&["HEXISTS", &key, record])
                })
                .await?;
            }
        }
        Backing::Embedded => {
            node.stop()?;
            remove_from_file(&node, "both/lost/catalogue").await?;
            node.up()?;
        }
    }
    node.until_shown(&["lost", "outside"]).await?;
    // And not only in memory.
    node.until_synced_again("local").await?;
    node.until_written().await?;
    node.restart()?;
    node.expect_shown(&["lost", "outside"]).await
}

/// The hash of the server that holds the advertisements.
fn records_key(node: &mut Node) -> Result<String> {
    let keys: Vec<String> = node.server()?.cli(&["KEYS", "*:records:advertisement"])?;
    keys.into_iter().next().context("there are no advertisements")
}

/// Deletes the record of an advertisement in the file of a node that does not run.
async fn remove_from_file(node: &Node, record: &str) -> Result<()> {
    let store = EmbeddedStore::open(&node.place.data_dir())?;
    let kind = RecordKind::of("advertisement");
    let scan = Scan { kind: kind.clone(), after: None, backwards: false, limit: 100 };
    let page = store.scan(scan).await?;
    ensure!(page.records.iter().any(|found| found.id.key == record), "{record}: {:?}", page.records);
    let commit = Commit {
        epoch: page.epoch,
        writes: vec![Write::Delete { id: RecordId::new(kind, record) }],
        writer: "test".into(),
        ..Commit::default()
    };
    store.commit(commit).await?;
    Ok(())
}

async fn us3_2_register_that_was_hidden_is_removed_by_reconciliation(backing: Backing) -> Result<()> {
    let mut pair = Pair::start(backing, &[("kept", true), ("turned", true)]).await?;
    pair.catalogue.turn("turned", false).await?;
    pair.pool.until_shown(&["kept"]).await?;
    // A call from before the change arrives behind it: nothing but reconciliation notices.
    pair.pool.advertise("turned", true).await?.ok()?;
    pair.pool.expect_shown(&["kept", "turned"]).await?;
    pair.pool.until_shown(&["kept"]).await?;
    let stored = pair.shown_from_the_store().await?;
    ensure!(stored == ["kept"], "{stored:?}");
    Ok(())
}

async fn us3_3_reconciliation_without_a_difference_changes_nothing(backing: Backing) -> Result<()> {
    // Nobody is elected meanwhile, which would be a commit.
    let settings = [BRISK, &["mesh.leadership.enabled=false"]].concat();
    let registers = [("r1", true), ("r2", true), ("r3", false)];
    let pair = Pair::start_with(backing, &registers, &settings).await?;
    pair.until_synced_again().await?;
    // The last commit that something else makes is the seal of what was done so far.
    for node in [&pair.catalogue, &pair.pool] {
        until("the audit trail is sealed", async || {
            Ok(number(&node.api()?.get("/control/audit:verify").await?.ok()?["unsealed"])? == 0)
        })
        .await?;
    }
    let url = pair.pool.url();
    let before = Standing::of(&pair).await?;
    let idle = async |node: &Node, target: &str| number(&node.sync_state(target).await?["runsUnchanged"]);
    let pushed = idle(&pair.catalogue, &url).await?;
    let compared = idle(&pair.pool, "local").await?;
    within(AFTER_A_RESTART, "three runs find nothing to do", async || {
        let (pushed_now, compared_now) =
            (idle(&pair.catalogue, &url).await?, idle(&pair.pool, "local").await?);
        Ok(pushed_now >= pushed + 3 && compared_now >= compared + 3)
    })
    .await?;
    let after = Standing::of(&pair).await?;
    ensure!(before == after, "{before:?}, then {after:?}");
    let counts = &pair.catalogue.sync_state(&url).await?["lastRun"];
    ensure!(counts["added"] == 0 && counts["updated"] == 0 && counts["removed"] == 0, "{counts}");
    Ok(())
}

/// What each change moves: where the registries stand, how long the logs of the servers are, and what is shown but for
/// the time when it runs out.
#[derive(Debug, PartialEq)]
struct Standing {
    cursors: Vec<String>,
    logs: Vec<u64>,
    shown: Vec<String>,
}

impl Standing {
    async fn of(pair: &Pair) -> Result<Self> {
        let mut standing = Self { cursors: Vec::new(), logs: Vec::new(), shown: Vec::new() };
        for node in [&pair.catalogue, &pair.pool] {
            standing.cursors.push(node.cursor().await?);
            for mut advertisement in node.advertisements().await? {
                advertisement.as_object_mut().context("no object")?.remove("expiresAt");
                standing.shown.push(advertisement.to_string());
            }
            if let Some(server) = &node.server {
                let keys: Vec<String> = server.cli(&["KEYS", "*:log"])?;
                standing.logs.push(server.cli(&["XLEN", keys.first().context("no log")?])?);
            }
        }
        Ok(standing)
    }
}
