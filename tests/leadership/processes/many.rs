//! A thousand scopes: who leads most of them dies, and renewing them costs what one costs.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::run::{Run, Setup, recorded};
use crate::checker::AtLeast;
use crate::process::PATIENCE;
use crate::servers::RedisServer;

const SHARDS: usize = 999;
/// How long calls are counted.
const COUNTED: Duration = Duration::from_secs(4);
/// By how many calls in that time two counts may differ: a beat more or less of each daemon, its
/// housekeeping, and a seal of its audit trail.
const SLACK: u64 = 24;
const SCRIPTS: [&str; 2] = ["eval", "evalsha"];

/// How often the daemons call scripts in a while in which nothing happens and nobody asks them, once
/// they have come to rest: a thousand elections are to be sealed in the audit trails first.
async fn calls_at_rest(run: &Run, server: &RedisServer, at_most: u64) -> Result<u64> {
    let from_us = run.recorder.now_us();
    for at in 0..run.members.len() {
        run.rest_service(at).await?;
    }
    let begun = Instant::now();
    let count = loop {
        let before = calls(server)?;
        tokio::time::sleep(COUNTED).await;
        let called = difference(&calls(server)?, &before);
        let count = SCRIPTS.iter().filter_map(|name| called.get(*name)).sum();
        if count <= at_most || begun.elapsed() > PATIENCE {
            break count;
        }
        println!("not at rest yet: {called:?}");
    };
    for at in 0..run.members.len() {
        run.wake_service(at)?;
    }
    run.until_led().await?;
    run.no_grants_since("nobody asked who leads", from_us);
    Ok(count)
}

/// How often each command was called, those in scripts included.
fn calls(server: &RedisServer) -> Result<BTreeMap<String, u64>> {
    let stats: String = server.cli(&["INFO", "commandstats"])?;
    let lines = stats.lines().filter_map(|line| line.strip_prefix("cmdstat_")?.split_once(":calls="));
    lines.map(|(name, rest)| Ok((name.to_owned(), rest.split(',').next().unwrap_or(rest).parse()?))).collect()
}

fn difference(now: &BTreeMap<String, u64>, before: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let since = |(name, count): (&String, &u64)| (name.clone(), count - before.get(name).unwrap_or(&0));
    now.iter().map(since).filter(|(_, count)| *count > 0).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_scopes_are_renewed_as_one_and_outlive_their_leader() -> Result<()> {
    let mut one = 0;
    let server = RedisServer::start(&[])?;
    let setup = Setup { shards: 0, ..Setup::of("one scope", &server.url()) };
    recorded(setup, AtLeast { grants: 1, audited: 1, ..AtLeast::default() }, async |run: &mut Run| {
        one = calls_at_rest(run, &server, u64::MAX).await?;
        Ok(())
    })
    .await?;
    let server = RedisServer::start(&[])?;
    // The answers name hundreds of leases, and cost more than all that is tested here.
    let ask_every = Duration::from_secs(1);
    let setup = Setup { shards: SHARDS, ask_every, ..Setup::of("a thousand scopes", &server.url()) };
    let at_least =
        AtLeast { grants: 1001, audited: 1001, accepted: 1000, refused: 600, ..AtLeast::default() };
    recorded(setup, at_least, async |run: &mut Run| {
        let thousand = calls_at_rest(run, &server, one + SLACK).await?;
        println!("script calls of three daemons in {COUNTED:?}: {one} with one scope, {thousand} with 1,000");
        ensure!(one.abs_diff(thousand) <= SLACK, "{one} calls with one scope, {thousand} with 1,000");
        let (leader, begun) = (run.leader(), Instant::now());
        let led = run.kill(leader).await?;
        let zombie = run.zombie(leader, led.clone());
        run.until_succeeded(&led).await?;
        println!("{} scopes of 1,000 have successors after {:?}", led.len(), begun.elapsed());
        zombie.fall(300).await?;
        run.until_led().await
    })
    .await
}
