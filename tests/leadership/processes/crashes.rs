//! Leaders that die, and leaders that are stopped and wake up.

use anyhow::{Result, ensure};

use super::run::{Run, Setup, recorded, rounds};
use super::service::own_tokens;
use crate::checker::AtLeast;
use crate::process::until;
use crate::servers::RedisServer;
use crate::servers::proxy::{Proxy, Wire};

/// How many stale writes are refused at each gate in a round.
const STALE: usize = 300;

/// What a history of so many rounds holds, in each of which one leader is succeeded.
fn rounds_of(rounds: usize) -> AtLeast {
    let refused = rounds * STALE * 2;
    AtLeast {
        grants: 21 + rounds,
        audited: 21 + rounds,
        accepted: 100,
        refused,
        beliefs: 21 + rounds,
        ..AtLeast::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_leaders_are_succeeded() -> Result<()> {
    let server = RedisServer::start(&[])?;
    let rounds = rounds()?;
    recorded(Setup::of("killed", &server.url()), rounds_of(rounds), async |run: &mut Run| {
        for _ in 0..rounds {
            let leader = run.leader();
            let led = run.kill(leader).await?;
            let zombie = run.zombie(leader, led.clone());
            run.until_succeeded(&led).await?;
            zombie.fall(STALE).await?;
            run.launch(leader)?;
            run.until_led().await?;
        }
        Ok(())
    })
    .await
}

/// The first answer of a daemon that wakes up says that it leads nothing.
async fn expect_deposed(run: &Run, at: usize) -> Result<()> {
    let answer = run.asked(at).await?;
    let own = own_tokens(&answer, &run.members[at].id, run.recorder.now_us())?;
    ensure!(own.is_empty(), "it woke up after its successors were elected and says that it leads: {own:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopped_leaders_wake_up_as_followers() -> Result<()> {
    let server = RedisServer::start(&[])?;
    let rounds = rounds()?;
    recorded(Setup::of("stopped", &server.url()), rounds_of(rounds), async |run: &mut Run| {
        for _ in 0..rounds {
            let leader = run.leader();
            let led = run.pause(leader).await?;
            let zombie = run.zombie(leader, led.clone());
            run.until_succeeded(&led).await?;
            run.wake(leader)?;
            expect_deposed(run, leader).await?;
            zombie.fall(STALE).await?;
            run.wake_service(leader)?;
            run.until_led().await?;
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_wakes_up_to_an_old_answer_of_the_store() -> Result<()> {
    let server = RedisServer::start(&[])?;
    let proxy = Proxy::before(&server.address()).await?;
    let rounds = rounds()?;
    let mut setup = Setup::of("old answer", &server.url());
    setup.nodes[0] = proxy.url();
    recorded(setup, rounds_of(0), async |run: &mut Run| {
        for _ in 0..rounds {
            run.give_all_to(0).await?;
            // A renewal is answered, and the answer is on its way while the process is stopped.
            let kept = proxy.kept();
            proxy.set(Wire::KeepsAnswerTo(b"session/n1"));
            until("the answer to a renewal is on its way", async || Ok(proxy.kept() > kept)).await?;
            let led = run.pause(0).await?;
            proxy.set(Wire::Whole);
            run.until_succeeded(&led).await?;
            run.wake(0)?;
            expect_deposed(run, 0).await?;
            run.wake_service(0)?;
            run.until_led().await?;
        }
        Ok(())
    })
    .await
}
