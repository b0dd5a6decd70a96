//! Stores that forget: a failover that loses the last writes, and a flush.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::run::{Run, Setup, recorded, rounds};
use crate::checker::AtLeast;
use crate::history::Fault;
use crate::process::until;
use crate::servers::{RedisServer, Sentinels, eventually};

/// How many stale writes are refused at each gate.
const STALE: usize = 200;

/// The tokens that a daemon shows.
async fn tokens(run: &Run, at: usize) -> Result<BTreeMap<String, u64>> {
    let answer = run.asked(at).await?;
    let shown = answer["tokens"].as_array().context("no tokens")?;
    let read = |token: &Value| {
        let number = token["fenceToken"].as_str().context("no number")?.parse()?;
        Ok((token["scope"].as_str().context("no scope")?.to_owned(), number))
    };
    shown.iter().map(read).collect()
}

/// Waits until all is led under greater tokens than `before`, as all daemons say.
async fn until_greater(run: &Run, before: &BTreeMap<String, u64>) -> Result<()> {
    for at in 0..run.members.len() {
        until("all is led under greater tokens", async || {
            let now = tokens(run, at).await?;
            let greater = |(scope, token): (&String, &u64)| now.get(scope).is_some_and(|now| now > token);
            ensure!(now.len() == run.scopes.len() && before.iter().all(greater), "{before:?} {now:?}");
            Ok(true)
        })
        .await?;
    }
    run.until_led().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_rise_after_a_failover_that_loses_writes() -> Result<()> {
    for _ in 0..rounds()?.div_ceil(2) {
        fail_over().await?;
    }
    Ok(())
}

/// Kills a master whose replica lacks the newest leases.
async fn fail_over() -> Result<()> {
    let mut group = tokio::task::block_in_place(|| Sentinels::start(1))?;
    let at_least = AtLeast {
        grants: 21 * 2,
        audited: 21 * 2,
        accepted: 100,
        refused: STALE * 2,
        beliefs: 42,
        ..AtLeast::default()
    };
    // What leads here is what no replica has.
    let setup = Setup { leaders_need: Some(0), ..Setup::of("failover", &group.url()) };
    recorded(setup, at_least, async |run: &mut Run| {
        let (master, replica) = (group.announced()?, 1 - group.announced()?);
        let offset: u64 = group.servers[master].info("master_repl_offset")?.parse()?;
        eventually("the replica has it", || {
            Ok(group.servers[replica].info("slave_repl_offset")?.parse::<u64>()? >= offset)
        })?;
        // What is granted from now on never leaves the master.
        group.servers[replica].pause()?;
        group.servers[master].cli::<i64>(&["CLIENT", "KILL", "TYPE", "replica"])?;
        let leader = run.leader();
        let first = run.led_by(leader);
        let follower = (leader + 1) % run.members.len();
        run.give_all_to(follower).await?;
        until("it is seen by all", async || {
            let (one, other) = (tokens(run, leader).await?, tokens(run, follower).await?);
            Ok(one == other && one == run.led_by(follower))
        })
        .await?;
        let lost = tokens(run, follower).await?;
        let zombies = [run.zombie(leader, first), run.zombie(follower, lost.clone())];
        run.fault(Fault::Failover, None);
        group.kill_master()?;
        group.servers[replica].resume()?;
        tokio::task::block_in_place(|| group.wait_for_failover(master))?;
        until_greater(run, &lost).await?;
        for zombie in zombies {
            zombie.fall(STALE).await?;
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_rise_after_a_flush() -> Result<()> {
    let server = RedisServer::start(&[])?;
    let rounds = rounds()?;
    let grants = 21 * (1 + rounds);
    let at_least = AtLeast { grants, accepted: 100, refused: STALE * rounds * 2, ..AtLeast::default() };
    recorded(Setup::of("flush", &server.url()), at_least, async |run: &mut Run| {
        for _ in 0..rounds {
            let before = tokens(run, 0).await?;
            let leader = run.leader();
            let zombie = run.zombie(leader, run.led_by(leader));
            run.fault(Fault::Flush, None);
            server.cli::<()>(&["FLUSHALL"])?;
            until_greater(run, &before).await?;
            zombie.fall(STALE).await?;
        }
        Ok(())
    })
    .await
}
