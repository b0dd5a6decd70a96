//! Daemons whose clocks are wrong: the store's clock decides who leads.

use anyhow::Result;

use super::run::{Run, Setup, recorded, rounds};
use crate::checker::AtLeast;
use crate::history::Fault;
use crate::servers::RedisServer;

/// How many stale writes are refused at each gate in a round.
const STALE: usize = 200;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clocks_that_are_an_hour_off_change_nothing() -> Result<()> {
    let server = RedisServer::start(&[])?;
    let rounds = rounds()?;
    let mut setup = Setup::of("clocks", &server.url());
    setup.clocks = vec!["+3600s", "-3600s", ""];
    let at_least = AtLeast {
        grants: 21 + rounds,
        audited: 21 + rounds,
        accepted: 100,
        refused: rounds * STALE * 2,
        ..AtLeast::default()
    };
    recorded(setup, at_least, async |run: &mut Run| {
        for at in 0..2 {
            run.fault(Fault::ClockJump, Some(at));
        }
        // One after the other leads all and dies, or is stopped.
        for round in 0..rounds {
            let leader = round % run.members.len();
            run.give_all_to(leader).await?;
            let led = if round % 2 == 0 { run.pause(leader).await? } else { run.kill(leader).await? };
            let zombie = run.zombie(leader, led.clone());
            run.until_succeeded(&led).await?;
            zombie.fall(STALE).await?;
            if round % 2 == 0 {
                run.wake(leader)?;
                run.wake_service(leader)?;
            } else {
                run.launch(leader)?;
            }
            run.until_led().await?;
        }
        Ok(())
    })
    .await
}
