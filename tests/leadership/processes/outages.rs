//! Leaders that lose their store: alone behind a wire, or all at once.

use std::time::Duration;

use anyhow::Result;

use super::run::{Run, Setup, recorded, rounds};
use crate::checker::AtLeast;
use crate::history::Fault;
use crate::process::until;
use crate::servers::RedisServer;
use crate::servers::proxy::{Proxy, Wire};

/// How many stale writes are refused at each gate in a round.
const STALE: usize = 200;
/// How long the store is away, in ms: longer than a session lives.
const AWAY_MS: u64 = 3000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaders_that_are_cut_off_are_succeeded() -> Result<()> {
    let server = RedisServer::start(&[])?;
    let mut proxies = Vec::new();
    for _ in 0..3 {
        proxies.push(Proxy::before(&server.address()).await?);
    }
    let mut setup = Setup::of("cut off", &server.url());
    setup.nodes = proxies.iter().map(Proxy::url).collect();
    let rounds = rounds()?;
    let refused = rounds * 2 * STALE * 2;
    let at_least = AtLeast {
        grants: 21 + rounds * 2,
        audited: 21 + rounds * 2,
        accepted: 100,
        refused,
        ..AtLeast::default()
    };
    recorded(setup, at_least, async |run: &mut Run| {
        for wire in [Wire::Silent, Wire::Cut].iter().cycle().take(rounds * 2) {
            // Its service is busy: it believes what it heard last, for as long as that may be relied on.
            // Former ones reach both gates all the time.
            let leader = run.leader();
            run.rest_service(leader).await?;
            let led = run.led_by(leader);
            run.fault(Fault::Partition, Some(leader));
            proxies[leader].set(wire.clone());
            let zombie = run.zombie(leader, led.clone());
            run.until_succeeded(&led).await?;
            zombie.fall(STALE).await?;
            until("it knows that it leads no more", async || Ok(run.led_by(leader).is_empty())).await?;
            run.fault(Fault::Heal, Some(leader));
            proxies[leader].set(Wire::Whole);
            run.wake_service(leader)?;
            run.until_led().await?;
            until("it hears its store", async || Ok(run.asked(leader).await?["stale"] != true)).await?;
        }
        Ok(())
    })
    .await
}

/// Takes the store away for longer than a session lives, and brings it back: meanwhile everybody comes
/// to know that he leads no more.
async fn away(
    run: &Run,
    take: impl FnOnce() -> Result<()>,
    bring: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let from_us = run.recorder.now_us();
    take()?;
    tokio::time::sleep(Duration::from_millis(AWAY_MS)).await;
    until("nobody believes to lead", async || Ok((0..run.members.len()).all(|at| run.led_by(at).is_empty())))
        .await?;
    bring()?;
    run.no_grants_since("the store was away", from_us);
    run.until_led().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaders_are_back_with_their_store() -> Result<()> {
    let server = RedisServer::start(&[])?;
    let rounds = rounds()?;
    let at_least = AtLeast {
        grants: 21 * (1 + 2 * rounds),
        audited: 21 * (1 + 2 * rounds),
        accepted: 100,
        refused: STALE,
        ..AtLeast::default()
    };
    recorded(Setup::of("store away", &server.url()), at_least, async |run: &mut Run| {
        let first = run.led_by(run.leader());
        let zombie = run.zombie(run.leader(), first.clone());
        for _ in 0..rounds {
            away(run, || server.pause(), || server.resume()).await?;
            let pause = || server.cli::<()>(&["CLIENT", "PAUSE", &AWAY_MS.to_string(), "ALL"]);
            away(run, pause, || Ok(())).await?;
        }
        run.until_succeeded(&first).await?;
        zombie.fall(STALE).await
    })
    .await
}
